"""The rewrites of the graph: where they apply, and where they must not. The numbers are those of Keras either way."""

import keras
import numpy as np
import pytest
from keras import layers
from twins import agree, assert_close, compiled, graph_of, native, twins

from kcnn.native import steps
from kcnn.native.cpu import winograd

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(16, 8, 8, 3)).astype("float32")
TARGETS = np.eye(10, dtype="float32")[RNG.integers(0, 10, 16)]


def conv(filters=4, size=3, padding="same", **more):
    return layers.Conv2D(filters, size, padding=padding, **more)


def relu(**more):
    return layers.ReLU(**more)


def pool(*arguments, **more):
    return layers.MaxPooling2D(*arguments, **more)


def model_of(body, shape=(8, 8, 3)):
    """A model of a function from images to one or several tensors, each of which has a head."""

    def build():
        inputs = keras.Input(shape)
        found = body(inputs)
        heads = [layers.Dense(10)(pooled(x)) for x in (found if isinstance(found, tuple) else (found,))]
        return keras.Model(inputs, layers.Concatenate()(heads) if len(heads) > 1 else heads[0])

    def pooled(x):
        return layers.GlobalAveragePooling2D()(x) if len(x.shape) == 4 else layers.Flatten()(x)

    return build


def parity(build):
    stock, fast = twins(build, lambda model: compiled(model, keras.optimizers.SGD(1e-3), "mse"))
    count = stock.output_shape[-1] // 10 if isinstance(stock.output_shape, tuple) else 1
    before = IMAGES.copy()
    for act in (
        lambda model: model.train_on_batch(IMAGES, np.tile(TARGETS, count)),
        lambda model: model.train_on_batch(IMAGES, np.tile(TARGETS, count)),
        lambda model: model.predict(IMAGES, verbose=0),
        lambda model: model.evaluate(IMAGES, np.tile(TARGETS, count), verbose=0),
    ):
        agree(act, stock, fast)
    np.testing.assert_array_equal(IMAGES, before)
    assert native(fast) == [True] * 3


def again(x):
    """The value, and another reader of it."""
    return x, layers.Activation("tanh")(x)


def spot(x):
    """An image of one pixel, to be added to a whole one."""
    return layers.GlobalAveragePooling2D(keepdims=True)(conv()(x))


def shared(layer, before, after, x):
    """One layer on two values."""
    return after(layer(x)), layer(before(x))


def count(kind):
    """How many nodes have a mark."""
    return {
        "in place": lambda graph: sum(node.inplace for node in graph.nodes),
        "padding": lambda graph: sum(any(node.padding) for node in graph.nodes),
        "phases": lambda graph: sum(node.phases for node in graph.nodes) // 2,
        "folded": lambda graph: sum(node.norm is not None for node in graph.nodes),
        "later": lambda graph: sum(after_pool(graph, node) for node in graph.nodes),
    }[kind]


def after_pool(graph, node):
    before = graph.producers().get(node.inputs[0])
    return before is not None and type(before.op) is layers.MaxPooling2D and type(node.op) in ACTIVATIONS


ACTIVATIONS = (layers.ReLU, layers.Activation)

IN_PLACE = {
    "a convolution's ReLU": (lambda x: relu()(conv()(x)), 1),
    "its own ReLU": (lambda x: conv(activation="relu")(x), 1),
    "a sum": (lambda x: layers.Add()([conv()(x), conv()(x)]), 1),
    "a sum, the second of whose inputs is free": (lambda x: layers.Add()([relu()(x), conv(3)(x)]), 1),
    "two readers": (lambda x: (lambda y: (relu()(y), *again(y)))(conv()(x)), 0),
    "a sum with what is read again": (lambda x: (lambda y: layers.Add()([y, conv()(y)]))(conv()(x)), 1),
    "the images": (lambda x: relu()(x), 0),
    "the images by way of a dropout of nothing": (lambda x: relu()(layers.Dropout(0.0)(x)), 0),
    "the images by way of an identity": (lambda x: relu()(layers.Identity()(layers.Activation("linear")(x))), 0),
    "the same tensor twice": (lambda x: (lambda y: layers.Add()([y, y]))(conv()(x)), 0),
    "a smaller one": (lambda x: layers.Add()([spot(x), conv()(relu()(x))]), 1),
    "a smaller one alone": (lambda x: layers.Add()([spot(x), relu()(conv(4)(x))]), 1),
    "three": (lambda x: layers.Add()([conv()(x), conv()(x), conv()(x)]), 0),
    "a reshaped view": (lambda x: relu()(layers.Reshape((64, 4))(conv()(x))), 0),
    "a flattened view": (lambda x: relu()(layers.Flatten()(conv()(x))), 0),
    "a part": (lambda x: relu()(layers.Cropping2D(1)(conv()(x))), 0),
    "turned axes": (lambda x: relu()(layers.Permute((2, 1, 3))(conv()(x))), 0),
    "a slice": (lambda x: relu()(conv()(x)[:, ::2]), 0),
    "a dense layer's view": (lambda x: layers.Dense(5, activation="relu")(layers.Reshape((64, 3))(x)), 0),
    "what its producer needs": (lambda x: relu()(layers.Activation("tanh")(conv()(x))), 0),
    "what another sum needs": (lambda x: layers.Add()([layers.Activation("sigmoid")(conv(3)(x)), x]), 0),
    "a ReLU of a ReLU": (lambda x: relu()(relu()(conv()(x))), 1),
    "a leaky one": (lambda x: relu(negative_slope=0.1)(conv()(x)), 0),
    "another dtype": (lambda x: relu(dtype="float64")(conv()(x)), 0),
    "a sum in another dtype": (lambda x: layers.Add(dtype="float64")([conv()(x), conv()(x)]), 0),
    "a shared layer": (lambda x: shared(conv(3), relu(), relu(), x), 1),
}

PADDING = {
    "before a convolution": (lambda x: conv(padding="valid")(layers.ZeroPadding2D(1)(x)), 1),
    "before a depthwise one": (lambda x: layers.DepthwiseConv2D(3)(layers.ZeroPadding2D(((0, 1), (2, 0)))(x)), 1),
    "read twice": (lambda x: (lambda y: (conv(padding="valid")(y), *again(y)))(layers.ZeroPadding2D(1)(x)), 0),
    "before padding of its own": (lambda x: conv(padding="same")(layers.ZeroPadding2D(1)(x)), 0),
    "before a separable one": (lambda x: layers.SeparableConv2D(4, 3)(layers.ZeroPadding2D(1)(x)), 0),
    "before a pooling": (lambda x: pool()(layers.ZeroPadding2D(1)(x)), 0),
    "in another dtype": (lambda x: conv(padding="valid")(layers.ZeroPadding2D(1, dtype="float16")(x)), 0),
}

LATER = {
    "ReLU": (lambda x: pool()(relu()(conv(9)(x))), 1),
    "a convolution's own": (lambda x: pool(3, 2, "same")(conv(9, activation="relu")(x)), 1),
    "read twice": (lambda x: (lambda y: (pool()(y), *again(y)))(relu()(conv(9)(x))), 0),
    "of a mean": (lambda x: layers.AveragePooling2D(2)(relu()(conv(9)(x))), 0),
    "ReLU6": (lambda x: pool()(relu(max_value=6.0)(conv(9)(x))), 0),
    "threshold": (lambda x: pool()(relu(threshold=0.5)(conv(9)(x))), 0),
    "in another dtype": (lambda x: pool()(relu(dtype="float16")(conv(9)(x))), 0),
    "a pooling in another dtype": (lambda x: pool(dtype="float16")(relu()(conv(9)(x))), 0),
}

PHASES = {
    "a narrow convolution": (lambda x: pool()(conv(6, 5)(x)), 1),
    "with its ReLU": (lambda x: pool()(conv(6, 5, activation="relu")(x)), 1),
    "with tanh": (lambda x: pool()(conv(6, 5, activation="tanh")(x)), 0),
    "read twice": (lambda x: (lambda y: (pool()(y), *again(y)))(conv(6)(x)), 0),
    "a shared one": (lambda x: shared(conv(3), relu(), pool(), x), 0),
    "a wide one": (lambda x: pool()(conv(9)(x)), 0),
    "pooling of three": (lambda x: pool(3, 2)(conv(6)(x)), 0),
    "pooling that overlaps": (lambda x: pool(2, 1)(conv(6)(x)), 0),
    "pooling with padding": (lambda x: pool(2, 2, "same")(conv(6)(x)), 0),
    "odd sides": (lambda x: pool()(conv(6, 4, "valid")(x)), 0),
    "strides": (lambda x: pool()(conv(6, strides=2)(x)), 0),
    "an even kernel": (lambda x: pool()(conv(6, 4)(x)), 0),
    "in another dtype": (lambda x: pool(dtype="float64")(conv(6)(x)), 0),
    "a mean": (lambda x: layers.AveragePooling2D(2)(conv(6)(x)), 0),
}


def norm(**more):
    return layers.BatchNormalization(moving_mean_initializer="ones", **more)


FOLDED = {
    "a convolution": (lambda x: norm()(conv()(x)), 1),
    "a dense layer": (lambda x: norm()(layers.Dense(4)(x)), 1),
    "without scale and shift": (lambda x: norm(scale=False, center=False)(conv(use_bias=False)(x)), 1),
    "two": (lambda x: norm()(norm()(conv()(x))), 1),
    "after an activation": (lambda x: norm()(conv(activation="relu")(x)), 0),
    "read twice": (lambda x: (lambda y: (norm()(y), *again(y)))(conv()(x)), 0),
    "a shared convolution": (lambda x: shared(conv(3), relu(), norm(), x), 0),
    "a shared norm": (lambda x: (lambda n: layers.Add()([n(conv()(x)), n(conv()(x))]))(norm()), 2),
    "after a pooling": (lambda x: norm()(pool()(conv(9)(x))), 0),
    "in another dtype": (lambda x: norm(dtype="float64")(conv()(x)), 0),
    "a large kernel": (lambda x: norm()(layers.Dense(2**16)(layers.Dense(17)(layers.Flatten()(x)))), 0),
}


def check(kind, body, expected, training=True):
    build = model_of(body)
    assert count(kind)(graph_of(build(), training)) == expected
    parity(build)


@pytest.mark.parametrize("case", IN_PLACE)
@pytest.mark.parametrize("gain", [0, winograd.LEAST_GAIN])
def test_in_place(case, gain, monkeypatch):
    """With convolutions by Winograd's method, whose gradient is kcnn's own, and without."""
    monkeypatch.setattr(winograd, "LEAST_GAIN", gain)
    check("in place", *IN_PLACE[case])


def test_in_place_never_of_an_output():
    inputs = keras.Input((8, 8, 3))
    x = conv(3)(inputs)
    model = keras.Model(inputs, [x, relu()(x), layers.Add()([x, x])])
    assert count("in place")(graph_of(model)) == 0
    expected = model.predict(IMAGES, verbose=0)
    assert_close(expected, compiled_fast(model).predict(IMAGES, verbose=0))


def test_in_place_never_of_unknown_sizes():
    """Which may turn out to be one, and are then stretched."""
    first, second = keras.Input((None, None, 3)), keras.Input((None, None, 3))
    model = keras.Model([first, second], layers.Add()([conv(3, 1)(first), conv(3, 1)(second)]))
    assert count("in place")(graph_of(model)) == 0
    expected = model.predict([IMAGES[:, :1, :1], IMAGES], verbose=0)
    assert_close([expected], [compiled_fast(model).predict([IMAGES[:, :1, :1], IMAGES], verbose=0)])


def compiled_fast(model):
    from kcnn.native.acceleration import accelerate

    assert accelerate(model)
    return model


@pytest.mark.parametrize("case", PADDING)
def test_merged_padding(case):
    check("padding", *PADDING[case])


@pytest.mark.parametrize("case", LATER)
def test_relu_after_pooling(case):
    check("later", *LATER[case])


@pytest.mark.parametrize("case", PHASES)
def test_phases(case):
    check("phases", *PHASES[case])


@pytest.mark.parametrize("case", FOLDED)
def test_folded_norms(case, monkeypatch):
    monkeypatch.setattr(steps, "MANY", 8)
    check("folded", *FOLDED[case], training=False)
    assert count("folded")(graph_of(model_of(FOLDED[case][0])(), training=True)) == 0
