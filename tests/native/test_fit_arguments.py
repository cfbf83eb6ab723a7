"""Every argument of `fit`, `evaluate` and `predict`, and every kind of data, one by one, against stock Keras."""

import importlib.util

import keras
import numpy as np
import pytest
import torch
from twins import agree, compiled, native, pair, small

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 10, 20)
ONE_HOT = np.eye(10, dtype="float32")[LABELS]
WEIGHTS = np.linspace(0, 2, 20, dtype="float32")


class Batches(keras.utils.PyDataset):
    def __init__(self, weighted):
        super().__init__()
        self.weighted = weighted

    def __len__(self):
        return 3

    def __getitem__(self, index):
        part = slice(8 * index, 8 * index + 8)
        return (IMAGES[part], ONE_HOT[part], WEIGHTS[part])[: 2 + self.weighted]


def generator(weighted):
    dataset = Batches(weighted)
    while True:
        for index in range(3):
            yield dataset[index]


def loader(weighted):
    arrays = (IMAGES, ONE_HOT, WEIGHTS)[: 2 + weighted]
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*map(torch.as_tensor, arrays)), batch_size=8)


def tf_dataset(weighted):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((IMAGES, ONE_HOT, WEIGHTS)[: 2 + weighted]).batch(8)


KINDS = [Batches, generator, loader]
if importlib.util.find_spec("tensorflow"):
    KINDS.append(tf_dataset)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_data_that_comes_in_batches(kind, weighted):
    stock, fast = pair(small)

    def act(model):
        keras.utils.set_random_seed(3)  # of the order
        history = model.fit(kind(weighted), epochs=2, steps_per_epoch=3 if kind is generator else None, verbose=0)
        scores = model.evaluate(kind(weighted), steps=2, verbose=0)
        return history.history, scores, model.predict(kind(weighted), steps=2, verbose=0)

    agree(act, stock, fast)
    assert native(fast) == [True] * 3


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"batch_size": 7},
        {"batch_size": 20},
        {"sample_weight": WEIGHTS},
        {"sample_weight": WEIGHTS[:, None]},
        {"class_weight": {n: n / 4 for n in range(10)}},
        {"sample_weight": WEIGHTS, "class_weight": dict.fromkeys(range(10), 1.0)},
        {"validation_split": 0.3},
        {"validation_data": (IMAGES, ONE_HOT)},
        {"validation_data": (IMAGES, ONE_HOT, WEIGHTS)},
        {"validation_data": Batches(True), "validation_steps": 2},
        {"validation_data": loader(False), "validation_freq": 2},
        {"validation_data": (IMAGES, ONE_HOT), "validation_batch_size": 3, "validation_freq": [1]},
        {"initial_epoch": 1},
        {"initial_epoch": 5},
        {"epochs": 0},
        {"steps_per_epoch": 2},
        {"shuffle": True},
        {"no_such_argument": 1},
    ],
)
def test_arguments_of_fit(arguments):
    stock, fast = pair(small)

    def act(model):
        keras.utils.set_random_seed(3)  # of the order
        return model.fit(IMAGES, ONE_HOT, **{"epochs": 2, "shuffle": False, "verbose": 0, **arguments}).history

    agree(act, stock, fast)


@pytest.mark.parametrize(
    "arguments", [{"batch_size": 7}, {"steps": 1, "batch_size": 8}, {"sample_weight": WEIGHTS}, {"return_dict": True}]
)
def test_arguments_of_evaluate(arguments):
    agree(lambda model: model.evaluate(IMAGES, ONE_HOT, verbose=0, **arguments), *pair(small))


@pytest.mark.parametrize("arguments", [{"batch_size": 7}, {"batch_size": 1}, {"steps": 1, "batch_size": 8}, {}])
@pytest.mark.parametrize("count", [1, 20, 33])
def test_arguments_of_predict(arguments, count):
    images = np.resize(IMAGES, (count, 8, 8, 3))
    stock, fast = pair(small)
    agree(lambda model: model.predict(images, verbose=0, **arguments), stock, fast)
    agree(lambda model: model.predict_on_batch(images), stock, fast)


class Watching(keras.callbacks.Callback):
    """Notes what it is told, and stops the training in the second epoch."""

    def __init__(self):
        super().__init__()
        self.told = []

    def set_params(self, params):
        self.told.append(params)

    def on_train_batch_end(self, batch, logs=None):
        self.told.append((batch, {key: float(value) for key, value in logs.items()}))

    def on_test_batch_end(self, batch, logs=None):
        self.told.append((batch, {key: float(value) for key, value in logs.items()}))

    def on_epoch_end(self, epoch, logs=None):
        self.told.append((epoch, logs, {metric.name: metric.result() for metric in self.model.metrics}["loss"]))
        if epoch == 1:
            self.model.stop_training = True


def test_callbacks_are_told_the_same_and_can_stop_it():
    def act(model):
        watching = Watching()
        validation = (IMAGES[:9], ONE_HOT[:9])
        model.fit(IMAGES, ONE_HOT, 8, 5, validation_data=validation, shuffle=False, verbose=0, callbacks=[watching])
        return watching.told

    stock, fast = pair(small)
    agree(act, stock, fast)


def test_callbacks_of_keras(tmp_path):
    """They save, restore and change the rate while it trains."""

    def act(model):
        path = tmp_path / f"{model.name}.weights.h5"
        callbacks = [
            keras.callbacks.ModelCheckpoint(path, monitor="loss", save_weights_only=True),
            keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)),
            keras.callbacks.EarlyStopping(monitor="loss", patience=0, restore_best_weights=True),
            keras.callbacks.TerminateOnNaN(),
        ]
        history = model.fit(IMAGES, ONE_HOT, 8, 4, shuffle=False, verbose=0, callbacks=callbacks).history
        model.load_weights(path)
        return history, model.predict(IMAGES, verbose=0)

    stock, fast = pair(small, lambda: keras.optimizers.SGD(0.1))
    agree(act, stock, fast, rtol=1e-3)


def test_a_model_that_is_not_compiled_refuses_to_fit():
    stock, fast = small(), small()
    fast.set_weights(stock.get_weights())
    from kcnn.native.acceleration import accelerate

    assert accelerate(fast)
    for act in (
        lambda model: model.fit(IMAGES, ONE_HOT, verbose=0),
        lambda model: model.train_on_batch(IMAGES, ONE_HOT),
        lambda model: model.predict(IMAGES, verbose=0),
    ):
        agree(act, stock, fast)


def test_a_schedule_of_keras():
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-2, 2, 0.5)
    stock, fast = pair(small, lambda: keras.optimizers.SGD(schedule))
    agree(lambda model: model.fit(IMAGES, ONE_HOT, 8, 2, shuffle=False, verbose=0).history, stock, fast)


def test_fitting_several_times_goes_on():
    stock, fast = pair(small, lambda: keras.optimizers.Adam(1e-3))
    for _ in range(2):
        agree(lambda model: model.fit(IMAGES, ONE_HOT, 8, shuffle=False, verbose=0).history, stock, fast)
        agree(lambda model: model.evaluate(IMAGES, ONE_HOT, verbose=0), stock, fast)
    compiled(stock), compiled(fast)
    agree(lambda model: model.fit(IMAGES, ONE_HOT, 8, shuffle=False, verbose=0).history, stock, fast)
