"""What is changed after `accelerate`: weights by whatever way, settings of layers, what trains. As in stock Keras."""

import copy

import keras
import numpy as np
import pytest
import torch
from keras import layers
from twins import agree, assert_close, batches, convolutional, native, pair, small

from kcnn.native import steps

IMAGES, TARGETS = batches((8, 8, 3), steps=3, size=20)


def bump(variable):
    return variable.value.data.mul_(1.5)


def in_numpy(variable):
    array = variable.value.detach().numpy()
    array *= 1.5


def other_memory(variable):
    variable.value.data = variable.value.data * 1.5


def assigned(variable):
    variable.assign(variable.value * 1.5)


def in_place(variable):
    with torch.no_grad():
        variable.value.mul_(1.5)


WAYS = [bump, in_numpy, other_memory, assigned, in_place]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("images", [3, 20])
def test_a_prediction_never_uses_old_weights(index, way, images, monkeypatch):
    """Of a convolution with a folded batch norm: kernel, bias, gamma, beta, mean, variance."""
    monkeypatch.setattr(steps, "MANY", 4)
    stock, fast = pair(convolutional)
    for variable in (*stock.weights, *fast.weights):
        variable.assign(variable.value + 0.1)
    for model in (stock, fast):
        model.predict(IMAGES[0][:images], verbose=0)
        model.evaluate(IMAGES[0], TARGETS[0], verbose=0)
        way(model.weights[index])
    for act in (
        lambda model: model.predict(IMAGES[0][:images], verbose=0),
        lambda model: model.predict_on_batch(IMAGES[0][:images]),
        lambda model: model.evaluate(IMAGES[0], TARGETS[0], verbose=0),
        lambda model: model.train_on_batch(IMAGES[0], TARGETS[0]),
    ):
        agree(act, stock, fast)
    assert native(fast) == [True] * 3


def test_weights_that_a_callback_changes_during_a_prediction():
    class Fading(keras.callbacks.Callback):
        def on_predict_batch_begin(self, batch, logs=None):
            bump(self.model.weights[0])

    images = np.concatenate(IMAGES)
    agree(lambda model: model.predict(images, 20, verbose=0, callbacks=[Fading()]), *pair(convolutional))


def test_set_weights_in_the_middle_and_callbacks_that_set_the_rate():
    stock, fast = pair(small)
    for model in (stock, fast):
        model.train_on_batch(IMAGES[0], TARGETS[0])
        model.set_weights([w * 1.01 for w in model.get_weights()])
        model.optimizer.learning_rate = 1e-3
        model.train_on_batch(IMAGES[1], TARGETS[1])
        model.predict(IMAGES[0], verbose=0)
        model.train_on_batch(IMAGES[2], TARGETS[2])
    assert_close(stock.get_weights(), fast.get_weights())
    assert_close([stock.predict(IMAGES[0], verbose=0)], [fast.predict(IMAGES[0], verbose=0)])


def net():
    inputs = keras.Input((8, 8, 3))
    x = layers.Normalization(mean=[1.0] * 3, variance=[4.0] * 3, name="scale")(inputs)
    x = layers.Conv2D(4, 3, padding="same", kernel_regularizer="l2", name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    inner = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(4, 1, name="deep"), layers.ReLU()], name="inner")
    x = layers.Dropout(1e-9, name="drop")(layers.Flatten()(inner(x)))
    return keras.Model(inputs, layers.Dense(10, name="head")(x))


CHANGES = {
    "freeze a layer": lambda m: setattr(m.get_layer("conv"), "trainable", False),
    "freeze a norm": lambda m: setattr(m.get_layer("norm"), "trainable", False),
    "freeze a variable": lambda m: setattr(m.get_layer("conv").kernel, "trainable", False),
    "freeze a model inside": lambda m: setattr(m.get_layer("inner"), "trainable", False),
    "freeze all but the head": lambda m: [setattr(layer, "trainable", False) for layer in m.layers[:-1]],
    "freeze everything": lambda m: setattr(m, "trainable", False),
    "another momentum": lambda m: setattr(m.get_layer("norm"), "momentum", 0.5),
    "another epsilon": lambda m: setattr(m.get_layer("norm"), "epsilon", 0.5),
    "another activation": lambda m: setattr(m.get_layer("head"), "activation", keras.activations.tanh),
    "another rate": lambda m: setattr(m.get_layer("drop"), "rate", 0.999999),
    "another mean": lambda m: m.get_layer("scale").adapt(IMAGES[0]),
    "no regularizer": lambda m: setattr(m.get_layer("conv").kernel, "regularizer", None),
    "a constraint": lambda m: setattr(m.get_layer("conv").kernel, "constraint", keras.constraints.MaxNorm(0.1)),
    "clipping": lambda m: setattr(m.optimizer, "clipnorm", 0.01),
    "a schedule": lambda m: setattr(m.optimizer, "learning_rate", keras.optimizers.schedules.CosineDecay(0.1, 10)),
    "a decay": lambda m: setattr(m.optimizer, "weight_decay", 0.1),
    "another optimizer": lambda m: setattr(m, "optimizer", keras.optimizers.SGD(1e-2, nesterov=True, momentum=0.5)),
    "LoRA": lambda m: m.get_layer("head").enable_lora(2),
}


@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_settings_count_at_once(change, steps_before):
    stock, fast = pair(net, lambda: keras.optimizers.SGD(1e-3, momentum=0.9))

    def act(model):
        keras.utils.set_random_seed(5)
        x, y = np.concatenate(IMAGES).astype("float32") / 255, np.concatenate(TARGETS)
        first = [model.train_on_batch(x[:20], y[:20]) for _ in range(steps_before)]
        model.predict(x, verbose=0)
        CHANGES[change](model)
        if change == "LoRA":  # from a random start
            for variable in model.get_layer("head").lora_kernel_a, model.get_layer("head").lora_kernel_b:
                variable.assign(np.linspace(0, 1, np.prod(variable.shape)).reshape(variable.shape))
        then = [model.train_on_batch(x[:20], y[:20]) for _ in range(3)]
        return first, then, model.evaluate(x, y, verbose=0), model.predict(x, verbose=0)

    agree(act, stock, fast)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_freezing_and_thawing_while_it_trains():
    class Freeze(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.get_layer("conv").trainable = epoch % 2 == 0

    stock, fast = pair(net)
    x, y = np.concatenate(IMAGES).astype("float32") / 255, np.concatenate(TARGETS)
    act = lambda model: model.fit(x, y, 20, 4, shuffle=False, verbose=0, callbacks=[Freeze()]).history  # noqa: E731
    agree(act, stock, fast)
    assert native(fast) == [True] * 3


def test_layers_that_are_added_and_taken_away():
    stock, fast = pair(small)

    def act(model):
        first = model.predict(IMAGES[0], verbose=0)
        model.pop()
        model.add(layers.Dense(10, kernel_initializer="ones"))
        return first, model.predict(IMAGES[0], verbose=0), model.evaluate(IMAGES[0], TARGETS[0], verbose=0)

    agree(act, stock, fast)


def test_weights_of_a_file(tmp_path):
    stock, fast = pair(small)
    stock.train_on_batch(IMAGES[0], TARGETS[0])
    stock.save_weights(tmp_path / "w.weights.h5")
    fast.predict(IMAGES[0], verbose=0)
    fast.load_weights(tmp_path / "w.weights.h5")
    assert_close([stock.predict(IMAGES[0], verbose=0)], [fast.predict(IMAGES[0], verbose=0)])


def test_copies_of_an_accelerated_model_are_their_own():
    _, fast = pair(small)
    for other in (copy.deepcopy(fast), keras.models.clone_model(fast)):
        other.set_weights([0 * w for w in fast.get_weights()])
        assert np.abs(fast.predict(IMAGES[0], verbose=0)).sum() > 0
        assert np.abs(other.predict(IMAGES[0], verbose=0)).sum() == 0
