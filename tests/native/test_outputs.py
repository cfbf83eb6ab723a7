"""Models with several inputs or outputs, in every structure that Keras has for them, against stock Keras."""

import keras
import numpy as np
import pytest
from keras import layers, losses
from twins import agree, native, twins

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 8, 8, 3)).astype("float32") / 255
LABELS = RNG.integers(0, 10, 20)
HEIGHTS = RNG.normal(size=(20, 1)).astype("float32")
WEIGHTS = np.linspace(0, 2, 20, dtype="float32")


def heads(structure):
    """A model with outputs named c (10 logits) and r (a number), in a list, a dictionary, nested, or c alone."""

    def build():
        inputs = keras.Input((8, 8, 3))
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(inputs))
        return keras.Model(inputs, structure(layers.Dense(10, name="c")(x), layers.Dense(1, name="r")(x)))

    return build


SPARSE = losses.SparseCategoricalCrossentropy(from_logits=True)
LISTED, NAMED = heads(lambda c, r: [c, r]), heads(lambda c, r: {"c": c, "r": r})
BOTH = {"c": LABELS, "r": HEIGHTS}


@pytest.mark.parametrize(
    ("build", "arguments"),
    [
        (LISTED, {"loss": [SPARSE, "mse"]}),
        (LISTED, {"loss": {"c": SPARSE, "r": "mse"}}),
        (LISTED, {"loss": [SPARSE, "mse"], "loss_weights": [0.3, 2.0]}),
        (LISTED, {"loss": {"c": SPARSE, "r": "mse"}, "loss_weights": {"c": 0.3, "r": 2.0}}),
        (LISTED, {"loss": [SPARSE, "mse"], "metrics": [["accuracy"], ["mae", "mse"]]}),
        (LISTED, {"loss": [SPARSE, "mse"], "metrics": {"r": ["mae"]}, "weighted_metrics": {"c": ["accuracy"]}}),
        (LISTED, {"loss": [SPARSE, None]}),
        (LISTED, {"loss": [None, None]}),
        (LISTED, {"loss": "mse"}),
        (LISTED, {"loss": [SPARSE]}),
        (NAMED, {"loss": {"c": SPARSE, "r": "mse"}, "metrics": {"c": "accuracy", "r": "mae"}}),
        (NAMED, {"loss": {"c": SPARSE}}),
        (NAMED, {"loss": {"c": SPARSE, "other": "mse"}}),
        (heads(lambda c, r: (c, r)), {"loss": (SPARSE, "mse"), "metrics": (["accuracy"], ["mae"])}),
        (heads(lambda c, r: {"c": c, "rest": [r]}), {"loss": {"c": SPARSE, "rest": ["mse"]}}),
    ],
)
@pytest.mark.parametrize("weights", [None, WEIGHTS, [WEIGHTS, WEIGHTS[::-1]], {"c": WEIGHTS, "r": WEIGHTS}])
def test_several_outputs(build, arguments, weights):
    stock, fast = twins(build, lambda model: compiled(model, arguments))
    y = [LABELS, HEIGHTS] if build is LISTED else (LABELS, HEIGHTS) if build is not NAMED else BOTH
    if isinstance(stock.output, dict) and "rest" in stock.output:
        y = {"c": LABELS, "rest": [HEIGHTS]}
    for act in acts(IMAGES, y, weights):
        agree(act, stock, fast)


def compiled(model, arguments):
    model.compile("sgd", **arguments)
    return model


def acts(x, y, weights):
    yield lambda model: model.fit(x, y, 8, 2, shuffle=False, verbose=0, sample_weight=weights).history
    yield lambda model: model.evaluate(x, y, 8, verbose=0, return_dict=True)
    yield lambda model: model.evaluate(x, y, 8, verbose=0, sample_weight=weights)
    yield lambda model: model.train_on_batch(x, y, sample_weight=weights)
    yield lambda model: model.test_on_batch(x, y, return_dict=True)
    yield lambda model: model.predict(x, 8, verbose=0)
    yield lambda model: model.predict_on_batch(x)


def test_losses_by_output_are_in_the_history():
    _, fast = twins(LISTED, lambda model: compiled(model, {"loss": [SPARSE, "mse"]}))
    history = fast.fit(IMAGES, [LABELS, HEIGHTS], verbose=0, validation_data=(IMAGES, [LABELS, HEIGHTS])).history
    assert list(history) == ["c_loss", "loss", "r_loss", "val_c_loss", "val_loss", "val_r_loss"]
    assert native(fast) == [True] * 3


@pytest.mark.parametrize("structure", [lambda c, r: [c], lambda c, r: {"c": c}, lambda c, r: [[c]], lambda c, r: (c,)])
def test_one_output_in_a_structure(structure):
    """Keras takes it out of a list, and leaves it in a dictionary."""
    stock, fast = twins(heads(structure), lambda model: compiled(model, {"loss": SPARSE, "metrics": ["accuracy"]}))
    wrap = {"c": LABELS} if isinstance(stock.output, dict) else LABELS
    for act in acts(IMAGES, wrap, None):
        agree(act, stock, fast)


def two_inputs(structure):
    def build():
        big, small = keras.Input((8, 8, 3), name="z"), keras.Input((8, 8, 3), name="a")
        x = layers.Concatenate()([layers.Conv2D(4, 3)(big), layers.Conv2D(4, 3, activation="relu")(small)])
        return keras.Model(structure(big, small), layers.Dense(10)(layers.GlobalMaxPooling2D()(x)))

    return build


FLIPPED = IMAGES[:, ::-1]


@pytest.mark.parametrize(
    "structure",
    [lambda z, a: [z, a], lambda z, a: (z, a), lambda z, a: {"a": a, "z": z}, lambda z, a: {"z": z, "a": a}],
)
@pytest.mark.parametrize(
    "x",
    [
        [IMAGES, FLIPPED],
        (IMAGES, FLIPPED),
        {"z": IMAGES, "a": FLIPPED},
        {"a": FLIPPED, "z": IMAGES},
        {"a": FLIPPED, "z": IMAGES, "more": IMAGES},
        {"a": FLIPPED},
        [IMAGES],
        IMAGES,
    ],
)
def test_several_inputs(structure, x):
    """Names decide, not the order in a dictionary."""
    stock, fast = twins(two_inputs(structure), lambda model: compiled(model, {"loss": SPARSE}))
    for act in acts(x, LABELS, None):
        agree(act, stock, fast)
