"""`train_on_batch`, `test_on_batch`, `predict_on_batch` and every form of inputs and targets, against stock Keras."""

import keras
import numpy as np
import pytest
import torch
from keras import layers, losses
from twins import agree, compiled, native, twins

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
LABELS = RNG.integers(0, 10, 12)
ONE_HOT = np.eye(10, dtype="float32")[LABELS]
WEIGHTS = np.linspace(0, 2, 12, dtype="float32")

SPARSE = losses.SparseCategoricalCrossentropy(from_logits=True)
CATEGORICAL = losses.CategoricalCrossentropy(from_logits=True)


def model_of(dtype="uint8", pool=layers.Flatten, shape=(8, 8, 1)):
    def build():
        inputs = keras.Input(shape, dtype=dtype)
        x = layers.Conv2D(4, 3, activation="relu")(layers.Rescaling(1 / 255)(inputs))
        return keras.Model(inputs, layers.Dense(10)(pool()(layers.BatchNormalization()(x))))

    return build


def sequential():
    pool = layers.GlobalAveragePooling2D()
    return keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="relu"), pool, layers.Dense(10)])


def both(build=None, loss=SPARSE):
    return twins(build or model_of(), lambda model: compiled(model, loss=loss, metrics=["accuracy"]))


ON_BATCH = [
    lambda model, x, y, **more: model.train_on_batch(x, y, **more),
    lambda model, x, y, **more: model.train_on_batch(x, y, return_dict=True, **more),
    lambda model, x, y, **more: model.test_on_batch(x, y, **more),
    lambda model, x, y, **more: model.test_on_batch(x, y, return_dict=True, **more),
    lambda model, x, y, **more: model.predict_on_batch(x),
    lambda model, x, y, **more: model.fit(x, y, 5, verbose=0, shuffle=False, **more).history,
    lambda model, x, y, **more: model.evaluate(x, y, 5, verbose=0, **more),
    lambda model, x, y, **more: model.predict(x, 5, verbose=0),
]


def all_agree(stock, fast, x, y, **more):
    for act in ON_BATCH:
        agree(lambda model, act=act: act(model, x, y, **more), stock, fast)


@pytest.mark.parametrize(
    "x",
    [
        IMAGES,
        torch.as_tensor(IMAGES),
        IMAGES.astype("float32"),
        IMAGES.astype("float64"),
        IMAGES.astype("int64"),
        torch.as_tensor(IMAGES).half(),
        IMAGES > 100,
        IMAGES[::-1],
        np.asfortranarray(IMAGES),
        torch.as_tensor(IMAGES).permute(0, 2, 1, 3),
        IMAGES[..., 0],
        IMAGES[:1],
        IMAGES[:0],
        [IMAGES],
        (IMAGES,),
        IMAGES.tolist(),
        IMAGES[:, :6],
        IMAGES[:, :6, :6],
        IMAGES[..., None],
        IMAGES.reshape(12, -1),
        np.repeat(IMAGES, 3, -1),
        {"wrong": IMAGES},
        "images",
        None,
    ],
    ids=lambda x: type(x).__name__,
)
@pytest.mark.parametrize("build", [model_of(), model_of("float32", layers.GlobalMaxPooling2D), sequential])
def test_inputs(build, x):
    all_agree(*both(build), x, LABELS[: len(x)] if isinstance(x, np.ndarray) else LABELS)


def test_images_of_any_size():
    stock, fast = both(model_of("float32", layers.GlobalAveragePooling2D, (None, None, 1)))
    for size in (8, 6, 11):
        images = RNG.normal(size=(12, size, size + 1, 1)).astype("float32")
        all_agree(stock, fast, images, LABELS)
    assert native(fast) == [True] * 3


@pytest.mark.parametrize(
    "y",
    [
        LABELS,
        LABELS.astype("uint8"),
        LABELS.astype("int32"),
        LABELS.astype("float32"),
        LABELS + 0.5,
        LABELS[:, None],
        LABELS[None],
        torch.as_tensor(LABELS),
        torch.as_tensor(LABELS)[:, None].to(torch.uint8),
        LABELS.tolist(),
        [LABELS],
        LABELS[::-1],
        LABELS[:5],
        LABELS - 1,
        LABELS + 1,
        LABELS.astype(str),
        ONE_HOT,
        ONE_HOT.astype("uint8"),
        ONE_HOT.astype("float64"),
        ONE_HOT > 0,
        torch.as_tensor(ONE_HOT).bfloat16(),
        ONE_HOT[:, ::-1],
        ONE_HOT * 0.9 + 0.01,
        ONE_HOT * 2,
        ONE_HOT[:, :9],
        ONE_HOT[:, :1],
        ONE_HOT[..., None],
        ONE_HOT.tolist(),
        [ONE_HOT],
        {"y": LABELS},
        None,
    ],
    ids=lambda y: type(y).__name__,
)
@pytest.mark.parametrize("loss", [SPARSE, CATEGORICAL, "mse"])
def test_targets(loss, y):
    all_agree(*both(loss=loss), IMAGES, y)


@pytest.mark.parametrize(
    "more",
    [
        {"sample_weight": WEIGHTS},
        {"sample_weight": WEIGHTS.astype("float64")},
        {"sample_weight": WEIGHTS[:, None]},
        {"sample_weight": torch.as_tensor(WEIGHTS)},
        {"sample_weight": WEIGHTS.tolist()},
        {"sample_weight": [WEIGHTS]},
        {"sample_weight": WEIGHTS[:5]},
        {"sample_weight": 2.0},
        {"class_weight": {n: n / 4 for n in range(10)}},
        {"class_weight": {0: 1.0}},
        {"class_weight": dict.fromkeys(range(10), 1.0), "sample_weight": WEIGHTS},
    ],
)
def test_weights_of_samples(more):
    all_agree(*both(), IMAGES, LABELS, **more)


def test_a_mistake_leaves_the_model_native():
    stock, fast = both()
    for x, y in ((IMAGES, LABELS[:5]), (IMAGES, LABELS + 1), (np.repeat(IMAGES, 3, -1), LABELS)):
        assert isinstance(agree(lambda model, x=x, y=y: model.train_on_batch(x, y), stock, fast), type)
    assert native(fast) == [True] * 3
    all_agree(stock, fast, IMAGES, LABELS)
