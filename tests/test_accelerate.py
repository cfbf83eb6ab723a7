"""The lowered model against Keras' own: the same mathematics, and nothing else of the model changed."""

import kcnn  # noqa: F401  sets the backend before keras is imported

import keras
import numpy as np
import pytest
import torch
from keras import layers

from kcnn.accelerate import accelerate
from kcnn.models import build_model
from kcnn.optimizers import OPTIMIZERS, coupled

STEPS = 20


def batches(shape, classes=10, steps=STEPS, size=16, seed=0):
    """Coarse patches: on pure noise batch norm makes training chaotic, and stock float32 leaves float64 by 1e-3."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (steps, size, 4, 4, shape[-1]))
    images = np.kron(patches, np.ones((1, 1, shape[0] // 4, shape[1] // 4, 1))).astype("uint8")
    return images, np.eye(classes, dtype="float32")[rng.integers(0, classes, (steps, size))]


def compiled(model, optimizer=None, loss=None, metrics=None):
    model.compile(
        optimizer or keras.optimizers.SGD(1e-4, momentum=0.9),
        loss or keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=metrics or [keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    return model


def pair(build, optimizer=lambda: None, **kwargs):
    """The same compiled model twice: stock, and accelerated."""
    stock, fast = compiled(build(), optimizer(), **kwargs), compiled(build(), optimizer(), **kwargs)
    fast.set_weights(stock.get_weights())
    assert accelerate(fast)
    assert fast.train_function and fast.test_function and fast.predict_function
    return stock, fast


def assert_close(stock, fast, rtol=1e-4):
    """Every variable, relative to its size; what is nothing but rounding (a bias before a batch norm) is let be."""
    for a, b in zip(stock, fast, strict=True):
        a, b = (keras.ops.convert_to_numpy(w).astype("float64") for w in (a, b))
        assert np.linalg.norm(a - b) <= rtol * max(np.linalg.norm(a), 0.01 * np.sqrt(a.size))


def train_both(stock, fast, images, targets):
    for x, y in zip(images, targets, strict=True):
        expected, got = stock.train_on_batch(x, y), fast.train_on_batch(x, y)
        np.testing.assert_allclose(got, expected, rtol=1e-4)
    assert_close(stock.get_weights(), fast.get_weights())


def small(**kwargs):
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), dtype="uint8"),
            layers.Rescaling([1 / 128] * 3, [-1.0, -0.9, -1.1]),
            layers.Conv2D(4, 3, activation="relu", **kwargs),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10, **kwargs),
        ]
    )


FAMILIES = {
    "lenet5": ((28, 28, 1), {}),
    "simple_cnn": ((16, 16, 3), {"pooling": "average"}),
    "convnet": ((16, 16, 1), {}),
    "alexnet": ((16, 16, 3), {"dropout": 0.0}),
    "resnet18": ((16, 16, 3), {}),
    "resnet20": ((16, 16, 3), {}),
    "vgg11": ((32, 32, 3), {"dropout": 0.0}),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_twenty_steps_are_those_of_keras(name):
    shape, options = FAMILIES[name]
    keras.utils.set_random_seed(1)
    stock, fast = pair(lambda: build_model(name, shape, 10, **options))
    images, targets = batches(shape, steps=STEPS if name != "vgg11" else 3)
    train_both(stock, fast, images, targets)
    np.testing.assert_allclose(
        fast.evaluate(images[0], targets[0], verbose=0), stock.evaluate(images[0], targets[0], verbose=0), rtol=1e-4
    )
    expected = stock.predict(images[0], verbose=0)
    assert_close([expected], [fast.predict(images[0], verbose=0)])


@pytest.mark.parametrize("options", [{}, {"coupled": 5e-2}, {"weight_decay": 0.1, "global_clipnorm": 0.5}])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_that_of_keras(name, options):
    options = dict(options)
    decay = options.pop("coupled", 0.0)

    def optimizer():
        base = getattr(keras.optimizers, OPTIMIZERS[name])
        made = coupled(base)(1e-2, **options) if decay else base(1e-2, **options)
        made.coupled_weight_decay = decay
        return made

    parity(small, optimizer)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"momentum": 0.9}),
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("SGD", {"momentum": 0.9, "clipnorm": 0.1}),
        ("SGD", {"momentum": 0.9, "clipvalue": 0.01}),
        ("Adam", {"amsgrad": True}),
        ("RMSprop", {"momentum": 0.9, "centered": True}),
        ("SGD", {"momentum": 0.9, "use_ema": True, "ema_overwrite_frequency": 3}),
        ("Adam", {"gradient_accumulation_steps": 2}),
    ],
)
def test_options_of_optimizers(name, options):
    parity(small, lambda: getattr(keras.optimizers, name)(1e-2, **options))


def parity(build, optimizer=lambda: None, steps=6, **kwargs):
    """A few steps of both, from the same weights: weights and the optimizer's state agree. Returns both models."""
    keras.utils.set_random_seed(1)
    stock, fast = pair(build, optimizer, **kwargs)
    images, targets = batches(stock.input_shape[1:], steps=steps)
    train_both(stock, fast, images, targets)
    assert_close(stock.optimizer.variables, fast.optimizer.variables, 1e-3)
    return stock, fast
