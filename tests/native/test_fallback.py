"""A native step that fails: Keras' own takes that batch over, and the model; nothing is half applied."""

import keras
import numpy as np
import pytest
import torch
from keras import layers, losses
from twins import agree, assert_close, batches, compiled, native, numbers, pair, small, twins

from kcnn.native import metrics, optimizers, program, training
from kcnn.native.losses import Loss
from kcnn.native.program import Program
from kcnn.native.weights import Weights

IMAGES, TARGETS = batches((8, 8, 3), steps=4)


class Broken(Exception):
    pass


def failing(original, after):
    """The function, but from call number `after` on it raises."""
    calls = []

    def run(*arguments, **more):
        calls.append(1)
        if len(calls) > after:
            raise Broken("out of order\nand more lines")
        return original(*arguments, **more)

    return run


# Where a step breaks → what to replace, and how often it works before.
PLACES = {
    "forward": (Program, "__call__", 2),
    "a layer": (torch, "native_batch_norm", 2),
    "the loss": (Loss, "__call__", 2),
    "backward": (torch.autograd, "grad", 2),
    "counting": (metrics.Metrics, "count", 2),
    "the optimizer": (torch, "_fused_sgd_", 2),
    "its rate": (optimizers, "_learning_rate", 2),
    "the inputs": (training.Training, "__call__", 2),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_step_that_fails_is_taken_by_keras(place, monkeypatch, caplog):
    stock, fast = pair(small, lambda: keras.optimizers.SGD(1e-2, momentum=0.9, weight_decay=0.0))
    owner, name, after = PLACES[place]
    monkeypatch.setattr(owner, name, failing(getattr(owner, name), after))
    x, y = np.concatenate(IMAGES), np.concatenate(TARGETS)
    act = lambda model: model.fit(x, y, 16, 2, shuffle=False, verbose=0).history  # noqa: E731
    agree(act, stock, fast)
    assert native(fast) == [False] * 3
    assert len(caplog.records) == 1
    assert caplog.records[0].levelname == "WARNING"
    assert f"{fast.name} goes on on Keras' own path" in caplog.text
    assert "Broken: out of order" in caplog.text
    assert "and more lines" not in caplog.text
    assert_close(stock.optimizer.variables, fast.optimizer.variables)


def test_the_line_names_the_layer(monkeypatch, caplog):
    _, fast = pair(small)
    monkeypatch.setattr(torch, "native_batch_norm", failing(torch.native_batch_norm, 0))
    fast.train_on_batch(IMAGES[0], TARGETS[0])
    assert "BatchNormalization 'batch_normalization" in caplog.text


@pytest.mark.parametrize("kind", ["test", "predict"])
def test_evaluation_and_prediction_that_fail(kind, monkeypatch, caplog):
    stock, fast = pair(small)
    monkeypatch.setattr(Program, "in_parts", failing(Program.in_parts, 1))
    x, y = np.concatenate(IMAGES), np.concatenate(TARGETS)
    act = (lambda m: m.evaluate(x, y, 16, verbose=0)) if kind == "test" else (lambda m: m.predict(x, 16, verbose=0))
    agree(act, stock, fast)
    assert native(fast) == [False] * 3
    assert len(caplog.records) == 1


def test_validation_that_fails_in_the_middle_of_fit(monkeypatch):
    stock, fast = pair(small)
    monkeypatch.setattr(Program, "in_parts", failing(Program.in_parts, 1))
    x, y = np.concatenate(IMAGES), np.concatenate(TARGETS)
    act = lambda m: m.fit(x, y, 16, 3, validation_data=(x, y), shuffle=False, verbose=0).history  # noqa: E731
    agree(act, stock, fast)


def test_lowering_again_that_fails(monkeypatch):
    stock, fast = pair(small)
    monkeypatch.setattr(program, "_lower", failing(program._lower, 0))
    for model in (stock, fast):
        model.layers[1].trainable = False
    agree(lambda model: model.train_on_batch(IMAGES[0], TARGETS[0]), stock, fast)


def test_a_failed_step_has_changed_nothing(monkeypatch):
    """Also where Keras' own step fails after it."""
    _, fast = pair(two_losses, loss=["mse", "mae"], metrics=[["mse"], ["mae"]])
    fast.train_on_batch(IMAGES[0], [TARGETS[0], TARGETS[0]])
    state = [*fast.variables, *fast.optimizer.variables, *fast.metrics_variables]
    before = [numbers(variable) for variable in state]
    monkeypatch.setattr(torch.autograd, "grad", failing(torch.autograd.grad, 0))
    monkeypatch.setattr(fast, "compute_loss", failing(fast.compute_loss, 0))
    with pytest.raises(Broken):
        fast.train_function([(IMAGES[1], [TARGETS[1], TARGETS[1]])])
    after = [numbers(variable) for variable in state]
    changed = [v.path for v, a, b in zip(state, before, after, strict=True) if not np.array_equal(a, b)]
    assert all("moving_" in path for path in changed)  # by Keras' own step
    assert native(fast) == [True] * 3


def two_losses():
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs)))
    return keras.Model(inputs, [layers.Dense(10, name="a")(x), layers.Dense(10, name="b")(x)])


def test_losses_by_output_are_counted_once(monkeypatch):
    stock, fast = pair(two_losses, loss=["mse", "mae"], metrics=[["mse"], ["mae"]])
    monkeypatch.setattr(torch.autograd, "grad", failing(torch.autograd.grad, 1))
    x, y = np.concatenate(IMAGES).astype("float32"), np.concatenate(TARGETS)
    agree(lambda model: model.fit(x, [y, 2 * y], 16, shuffle=False, verbose=0).history, stock, fast)


def test_what_is_half_applied_is_not_applied_twice(monkeypatch):
    """Weights have changed already: there is no way back, and the error says so."""
    _, fast = pair(small)
    monkeypatch.setattr(Weights, "keep_statistics", failing(Weights.keep_statistics, 0))
    with pytest.raises(Broken):
        fast.train_on_batch(IMAGES[0], TARGETS[0])


class Picky(losses.Loss):
    """A user's own loss, which refuses what it does not like."""

    def call(self, y, output):
        if y.shape[0] < 16:
            raise ValueError("a batch of less than 16")
        return keras.ops.mean((y - output) ** 2, axis=-1)


def test_a_users_own_error_is_raised_as_keras_raises_it(caplog):
    stock, fast = twins(small, lambda model: compiled(model, loss=Picky(), metrics=["mae"]))
    agree(lambda model: model.train_on_batch(IMAGES[0], TARGETS[0]), stock, fast)
    assert agree(lambda model: model.train_on_batch(IMAGES[0][:8], TARGETS[0][:8]), stock, fast) is ValueError
    agree(lambda model: model.train_on_batch(IMAGES[1], TARGETS[1]), stock, fast)
    assert native(fast) == [True] * 3
    assert not caplog.records


def test_an_error_in_a_callback_passes_through():
    class Stops(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise Broken

    stock, fast = pair(small)
    agree(lambda m: m.fit(IMAGES[0], TARGETS[0], verbose=0, callbacks=[Stops()]), stock, fast)
    assert native(fast) == [True] * 3


def test_a_keyboard_interrupt_passes_through(monkeypatch):
    _, fast = pair(small)

    def interrupted(self, *inputs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Program, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fast.train_on_batch(IMAGES[0], TARGETS[0])
    assert native(fast) == [True] * 3
