"""Every precision × every family of networks × every special path, against stock Keras: two steps and a prediction."""

import keras
import numpy as np
import pytest
from keras import layers
from twins import FAMILIES, assert_close, batches, graph_of, native, pair

from kcnn.models.registry import build_model
from kcnn.native import steps
from kcnn.native.cpu import winograd

# Dtype policy → how far results may be apart, relative to their size: some units in the last place of what they are in.
PRECISIONS = {
    "float32": 1e-4,
    "float64": 1e-5,  # kcnn's own networks end in float32
    "mixed_bfloat16": 3e-2,
    "bfloat16": 3e-2,
    "mixed_float16": 4e-3,
    "float16": 4e-3,
}


@pytest.fixture(params=PRECISIONS)
def precision(request, monkeypatch):
    monkeypatch.setattr(steps, "MANY", 8)  # images, for which norms are folded
    keras.config.set_floatx("float64" if request.param == "float64" else "float32")
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def two_steps_and_a_prediction(build, tolerance, shape, classes=10):
    stock, fast = pair(build, lambda: keras.optimizers.SGD(1e-3, momentum=0.9))
    images, targets = batches(shape, classes, steps=3, size=8)
    for x, y in zip(images[:2], targets[:2], strict=True):
        np.testing.assert_allclose(fast.train_on_batch(x, y)[0], stock.train_on_batch(x, y)[0], rtol=tolerance)
    assert_close(stock.get_weights(), fast.get_weights(), tolerance)
    fast.set_weights(stock.get_weights())
    expected, got = (model.predict(images[2], verbose=0) for model in (stock, fast))
    assert got.dtype == expected.dtype
    assert_close([expected], [got], tolerance)
    assert [v.dtype for v in fast.variables] == [v.dtype for v in stock.variables]
    assert native(fast) == [True] * 3


SMALL, HALVES = ("lenet5", "simple_cnn", "convnet", "resnet20"), ("mixed_float16", "float16")


def families():
    """Each in each precision; what takes seconds, as large networks do and float16 on a CPU, is marked as slow."""
    for name in FAMILIES:
        for precision in PRECISIONS:
            slow = name not in SMALL or (precision in HALVES and name in ("convnet", "resnet20"))
            yield pytest.param(name, precision, marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize(("name", "precision"), families(), indirect=["precision"])
def test_families(name, precision):
    shape, options = FAMILIES[name]
    two_steps_and_a_prediction(lambda: build_model(name, shape, 10, **options), PRECISIONS[precision], shape)


def before_head(*makers):
    """A model of the layers, or functions of a tensor, that these make, and a dense layer."""

    def build():
        x = inputs = keras.Input((8, 8, 4))
        for make in makers:
            x = make()(x)
        x = layers.GlobalAveragePooling2D()(x) if len(x.shape) == 4 else x
        return keras.Model(inputs, layers.Dense(10)(x))

    return build


def normed(make):
    return lambda: lambda x: layers.ReLU()(layers.BatchNormalization()(make()(x)))


def branches(x):
    y, z = layers.Conv2D(6, 3, padding="same")(x), layers.BatchNormalization()(layers.Conv2D(6, 1)(x))
    return layers.ReLU()(layers.Add()([y, z]))


def conv(*arguments, **more):
    return lambda: layers.Conv2D(*arguments, **more)


def phases(graph):
    return sum(node.phases for node in graph.nodes) == 2


def folded(graph):
    return any(node.norm for node in graph.nodes)


# Path → the model, and whether a graph takes it.
PATHS = {
    "phases": (before_head(conv(6, 5, padding="same", activation="relu"), layers.MaxPooling2D), phases),
    "phases without bias": (before_head(conv(3, 3, use_bias=False), layers.MaxPooling2D), phases),
    "winograd": (before_head(conv(6, 3, padding="same", activation="relu")), None),
    "folded into a convolution": (before_head(normed(conv(6, 3, use_bias=False))), folded),
    "folded into a separable convolution": (
        before_head(normed(lambda: layers.SeparableConv2D(6, 3, strides=2, padding="same"))),
        folded,
    ),
    "folded into a depthwise convolution": (
        before_head(normed(lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"))),
        folded,
    ),
    "folded into a dense layer": (before_head(layers.Flatten, normed(lambda: layers.Dense(8))), folded),
    "in place": (before_head(lambda: branches), lambda graph: sum(node.inplace for node in graph.nodes) == 2),
    "pooling first": (
        before_head(conv(12, 3, activation="relu"), lambda: layers.MaxPooling2D(3, 2, "same")),
        lambda graph: [type(node.op) for node in graph.nodes[1:3]] == [layers.MaxPooling2D, layers.Activation],
    ),
    "padding of a convolution": (
        before_head(lambda: layers.ZeroPadding2D(((1, 0), (2, 1))), conv(6, 3, strides=2)),
        lambda graph: graph.nodes[0].padding == (1, 0, 2, 1),
    ),
    "layer norm": (before_head(conv(6, 1), layers.LayerNormalization), None),
    "a norm alone": (before_head(layers.BatchNormalization, layers.ReLU), None),
}


@pytest.mark.parametrize("path", PATHS)
def test_paths(path, precision, monkeypatch):
    if path == "winograd":
        monkeypatch.setattr(winograd, "LEAST_GAIN", 0)
    build, taken = PATHS[path]
    two_steps_and_a_prediction(build, PRECISIONS[precision], (8, 8, 4))
    model = build()
    assert taken is None or any(taken(graph_of(model, training)) for training in (True, False))
