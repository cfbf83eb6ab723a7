"""Every layer with a native form, and those that are called as they are, against stock Keras."""

import keras
import numpy as np
import pytest
import torch
from keras import layers
from twins import agree, assert_close, batches, compiled, native, parity, small

from kcnn.native import program
from kcnn.native.acceleration import accelerate


def layer_zoo():
    """One call of each kind of layer that has a native form, or is called as it is."""
    x = images = keras.Input((16, 16, 4))
    x = layers.Normalization(mean=[0.1] * 4, variance=[2.0] * 4)(x)
    x = layers.ZeroPadding2D(((1, 0), (2, 1)))(x)
    x = layers.Conv2D(8, 3, strides=2, groups=2)(x)
    x = layers.Conv2D(8, 3, dilation_rate=2, padding="same", activation="silu")(x)
    y = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    y = layers.BatchNormalization(scale=False)(y)
    z = layers.DepthwiseConv2D(3, strides=2, padding="same")(x)
    z = layers.BatchNormalization(center=False)(z)
    x = layers.Activation("relu")(layers.Add()([y, z]))
    x = layers.SeparableConv2D(12, 3, padding="same", depth_multiplier=2)(x)
    x = layers.BatchNormalization()(x)
    gate = layers.Dense(12, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, gate])
    x = layers.LayerNormalization()(x)
    x = layers.Concatenate()([layers.MaxPooling2D(3, 1, "same")(x), layers.AveragePooling2D(2, 1, "same")(x)])
    x = layers.LeakyReLU()(keras.ops.pad(x, [[0, 0], [0, 0], [0, 0], [1, 2]])[:, ::2])
    x = keras.Sequential([keras.Input(x.shape[1:]), layers.Conv2D(6, 1), layers.ReLU(6.0)])(x)
    x = layers.Softmax()(layers.Subtract()([layers.UpSampling2D()(x), layers.Resizing(4, 4)(x)[:, :, :1]]))
    pooled = layers.GlobalMaxPooling2D()(x)
    x = layers.Reshape((-1, 4))(layers.Flatten()(x))
    x = layers.Dense(6, activation="tanh")(layers.LayerNormalization()(x))
    x = layers.BatchNormalization()(layers.Dense(10)(layers.Concatenate()([layers.Flatten()(x), pooled])))
    return keras.Model(images, layers.Dropout(0.0)(x))


def test_every_layer_is_that_of_keras():
    stock, fast = parity(layer_zoo, steps=3)
    images, _ = batches((16, 16, 4), steps=1)
    assert_close([stock.predict(images[0], verbose=0)], [fast.predict(images[0], verbose=0)])


def test_frozen_layers_stay_as_they_are():
    def frozen():
        model = small()
        model.layers[1].trainable = model.layers[2].trainable = False
        return model

    before, fast = parity(frozen, steps=2)
    assert len(fast.trainable_variables) == 2
    np.testing.assert_array_equal(before.get_weights()[3], fast.get_weights()[3])


def test_regularizers_and_constraints():
    regularizer, constraint = keras.regularizers.L1L2(1e-3, 1e-2), keras.constraints.MaxNorm(0.5)
    parity(lambda: small(kernel_regularizer=regularizer), steps=3)
    parity(lambda: small(kernel_constraint=constraint), steps=3)


def test_dropout_follows_torchs_seed_and_leaves_evaluation_alone():
    def build():
        return keras.Sequential([keras.Input((50,)), layers.Dropout(0.5), layers.Dense(10)])

    results = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        model = compiled(build())
        assert accelerate(model)
        torch.manual_seed(7)
        results.append(model.train_on_batch(np.ones((8, 50)), np.eye(10)[:8])[0])
        first, second = (model.predict(np.ones((8, 50)), verbose=0) for _ in range(2))
        np.testing.assert_array_equal(first, second)
    assert results[0] == results[1]


def test_prediction_in_parts_is_that_of_the_whole_batch(monkeypatch):
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.ReLU()(x)))
    images = np.random.default_rng(0).normal(size=(37, 8, 8, 3)).astype("float32")
    expected = model.predict(images, batch_size=37, verbose=0)
    monkeypatch.setattr(program, "CACHE", 10 * 6 * 6 * 4)
    assert accelerate(model)
    sizes = []
    monkeypatch.setattr(program.Program, "__call__", counted(sizes))
    assert_close([expected], [model.predict(images, batch_size=37, verbose=0)])
    assert sizes == [10, 9, 9, 9]


def counted(sizes):
    original = program.Program.__call__

    def call(self, *inputs):
        sizes.append(len(inputs[0]))
        return original(self, *inputs)

    return call


def normed(x, training):
    return layers.BatchNormalization()(layers.Conv2D(4, 3)(x), training=training)


def nested(x, training):
    inner = keras.Sequential([keras.Input(x.shape[1:]), layers.Conv2D(4, 3), layers.BatchNormalization()])
    return inner(x, training=training)


def dropped(x, training):
    return layers.Dropout(1e-9)(normed(x, None), training=training)


def own(x, training):
    scaled = layers.Lambda(lambda x, training=None: 2 * x if training else x, output_shape=x.shape[1:])
    return scaled(normed(x, None), training=training)


@pytest.mark.parametrize("training", [None, True, False])
@pytest.mark.parametrize("body", [normed, nested, dropped, own])
def test_a_call_that_says_whether_it_trains(body, training):
    """Until Keras 3.15 the model's own fit and predict overrule it; since then they do not, and it is left to Keras."""

    def build():
        inputs = keras.Input((8, 8, 3))
        return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(body(inputs, training))))

    keras.utils.set_random_seed(1)
    stock, fast = compiled(build()), compiled(build())
    fast.set_weights(stock.get_weights())
    accelerate(fast)
    images, targets = batches((8, 8, 3), steps=2)
    for x, y in zip(images, targets, strict=True):
        agree(lambda model, x=x, y=y: model.train_on_batch(x, y), stock, fast)
    agree(lambda model: model.predict(images[0], verbose=0), stock, fast)
    assert native(fast) == [tuple(map(int, keras.__version__.split(".")[:2])) <= (3, 15)] * 3
