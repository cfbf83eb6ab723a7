"""The same model twice, stock and accelerated, and what compares the two."""

from unittest import mock

import keras
import numpy as np
from keras import layers

from kcnn.native.acceleration import accelerate
from kcnn.native.program import Program, lower

FAMILIES = {
    "lenet5": ((28, 28, 1), {}),
    "simple_cnn": ((16, 16, 3), {"pooling": "average"}),
    "convnet": ((16, 16, 1), {}),
    "alexnet": ((16, 16, 3), {"dropout": 0.0}),
    "resnet18": ((16, 16, 3), {}),
    "resnet20": ((16, 16, 3), {}),
    "vgg11": ((32, 32, 3), {"dropout": 0.0}),
}


def batches(shape, classes=10, steps=20, size=16, seed=0):
    """Coarse patches: on pure noise batch norm makes training chaotic, and stock float32 leaves float64 by 1e-3."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (steps, size, 4, 4, shape[-1]))
    images = np.kron(patches, np.ones((1, 1, shape[0] // 4, shape[1] // 4, 1))).astype("uint8")
    return images, np.eye(classes, dtype="float32")[rng.integers(0, classes, (steps, size))]


def compiled(model, optimizer=None, loss=None, metrics=None, **arguments):
    model.compile(
        optimizer or keras.optimizers.SGD(1e-4, momentum=0.9),
        loss or keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=metrics or [keras.metrics.CategoricalAccuracy(name="accuracy")],
        **arguments,
    )
    return model


def twins(build, compile=compiled):
    """(stock, accelerated): two models as `build` makes them, compiled by `compile`, with the same weights."""
    keras.utils.set_random_seed(1)
    stock, fast = compile(build()), compile(build())
    fast.set_weights(stock.get_weights())
    assert accelerate(fast)
    return stock, fast


def pair(build, optimizer=lambda: None, **arguments):
    """The same with an optimizer each."""
    return twins(build, lambda model: compiled(model, optimizer(), **arguments))


def native(model):
    """Which of the three functions of a model are kcnn's."""
    functions = (model.train_function, model.test_function, model.predict_function)
    return [getattr(function, "__module__", "").startswith("kcnn.") for function in functions]


def numbers(value):
    return np.asarray(keras.ops.convert_to_numpy(value)).astype("float64")


def assert_close(stock, fast, rtol=1e-4):
    """Every variable, relative to its size, or to 0.1 an element where training has only begun to move it from zero."""
    for a, b in zip(stock, fast, strict=True):
        a, b = numbers(a), numbers(b)
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        a, b = np.nan_to_num(a), np.nan_to_num(b)
        assert np.linalg.norm(a - b) <= rtol * max(np.linalg.norm(a), 0.1 * np.sqrt(a.size))


def train_both(stock, fast, images, targets, rtol=1e-4):
    for x, y in zip(images, targets, strict=True):
        expected, got = stock.train_on_batch(x, y), fast.train_on_batch(x, y)
        np.testing.assert_allclose(got, expected, rtol=rtol)
    assert_close(stock.get_weights(), fast.get_weights(), rtol)


def parity(build, optimizer=lambda: None, steps=6, rtol=1e-4, **arguments):
    """A few steps of both, from the same weights: weights and the optimizer's state agree. Returns both models."""
    stock, fast = pair(build, optimizer, **arguments)
    images, targets = batches(stock.input_shape[1:], steps=steps)
    train_both(stock, fast, images, targets, rtol)
    assert_close(stock.optimizer.variables, fast.optimizer.variables, 10 * rtol)
    assert native(fast) == [True] * 3
    return stock, fast


def outcome(act, model):
    """What an act on a model gives, or the class of what it raises."""
    try:
        return act(model)
    except Exception as error:
        return type(error)


def same(expected, got, rtol=1e-4):
    """Dictionaries with the same keys in the same order, lists and arrays of the same form, with close values."""
    if isinstance(expected, dict):
        assert list(expected) == list(got)
        for key in expected:
            same(expected[key], got[key], rtol)
    elif isinstance(expected, list | tuple):
        assert len(expected) == len(got)
        for a, b in zip(expected, got, strict=True):
            same(a, b, rtol)
    elif expected is None or isinstance(expected, type | str):
        assert isinstance(got, type(expected))
        assert got == expected
    else:
        a, b = np.asarray(expected), np.asarray(got)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(b.astype("float64"), a.astype("float64"), rtol=rtol, atol=rtol)


def agree(act, stock, fast, rtol=1e-4):
    """The same act on both gives the same, or raises the same, and leaves the same weights and metrics."""
    expected, got = outcome(act, stock), outcome(act, fast)
    same(expected, got, rtol)
    assert_close(stock.get_weights(), fast.get_weights(), rtol)
    same([metric.name for metric in stock.metrics], [metric.name for metric in fast.metrics])
    return got


def small(**arguments):
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), dtype="uint8"),
            layers.Rescaling([1 / 128] * 3, [-1.0, -0.9, -1.1]),
            layers.Conv2D(4, 3, activation="relu", use_bias=False, **arguments),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10, **arguments),
        ]
    )


def convolutional():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(5, 3, padding="same")(x))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(layers.ReLU()(x))))


def graph_of(model, training=True):
    """The rewritten graph that a program of the model is made of."""
    graphs = []
    with mock.patch.object(Program, "__init__", lambda self, graph, *arguments: graphs.append(graph)):
        lower(model, training, derive=not training)
    return graphs[0]
