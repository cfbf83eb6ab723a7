"""Learning rates: the first 200 values are torch's, step by step, and the callback sets them."""

import keras
import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from kcnn.methods.schedules import SCHEDULES, make_schedule
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.stages import plan_schedule
from kcnn.training.callbacks.rules import LearningRate

EPOCHS, STEPS, BASE = 20, 10, 0.3  # 200 steps
NUMBERS = {"step_epochs": 3, "milestones": [4, 11, 12], "gamma": 0.7, "steps_per_epoch": STEPS, "rows": []}

# Name → (torch's scheduler, whether it is stepped after every step or every epoch).
BY_EPOCH = {
    "constant": lambda optimizer: lr_scheduler.ConstantLR(optimizer, factor=1),
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, 3, gamma=0.7),
    "multistep": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [4, 11, 12], gamma=0.7),
    "exponential": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, gamma=0.7),
}
BY_STEP = {
    "cosine": lambda optimizer, steps: lr_scheduler.CosineAnnealingLR(optimizer, steps),
    "linear": lambda optimizer, steps: lr_scheduler.LinearLR(optimizer, 1, 0, total_iters=steps),
    "one_cycle": lambda optimizer, steps: lr_scheduler.OneCycleLR(optimizer, BASE, total_steps=steps),
}


def sgd():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)


def torch_rates(optimizer, scheduler, count):
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def our_rates(name, warmup_epochs=0.0):
    schedule = make_schedule(name, EPOCHS, warmup_epochs, **NUMBERS)
    return [BASE * schedule(epoch + step / STEPS) for epoch in range(EPOCHS) for step in range(STEPS)]


@pytest.mark.parametrize("name", BY_EPOCH)
def test_schedules_by_epoch(name):
    optimizer = sgd()
    expected = np.repeat(torch_rates(optimizer, BY_EPOCH[name](optimizer), EPOCHS), STEPS)
    np.testing.assert_allclose(our_rates(name), expected, atol=1e-6)


@pytest.mark.parametrize("name", BY_STEP)
def test_schedules_by_step(name):
    optimizer = sgd()
    expected = torch_rates(optimizer, BY_STEP[name](optimizer, EPOCHS * STEPS), EPOCHS * STEPS)
    np.testing.assert_allclose(our_rates(name), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["constant", "cosine", "linear"])
def test_warm_up_before_schedules_by_step(name):
    optimizer, warmup = sgd(), 2
    builder = BY_STEP.get(name, lambda optimizer, steps: BY_EPOCH[name](optimizer))
    parts = [
        lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=warmup * STEPS),
        builder(optimizer, (EPOCHS - warmup) * STEPS),
    ]
    both = lr_scheduler.SequentialLR(optimizer, parts, [warmup * STEPS])
    expected = torch_rates(optimizer, both, EPOCHS * STEPS)
    np.testing.assert_allclose(our_rates(name, warmup), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["step", "multistep", "exponential"])
def test_warm_up_before_schedules_by_epoch(name):
    """By step during the warm-up, by epoch after it, counted from its end."""
    optimizer, warmup = sgd(), 2
    rise = lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=warmup * STEPS)
    expected = torch_rates(optimizer, rise, warmup * STEPS)
    optimizer = sgd()
    expected += np.repeat(torch_rates(optimizer, BY_EPOCH[name](optimizer), EPOCHS - warmup), STEPS).tolist()
    np.testing.assert_allclose(our_rates(name, warmup), expected, atol=1e-6)


def test_a_warm_up_may_end_within_an_epoch():
    rates = our_rates("constant", warmup_epochs=0.5)
    np.testing.assert_allclose(rates[:6], BASE * np.array([0.01, 0.208, 0.406, 0.604, 0.802, 1]), atol=1e-9)
    assert set(rates[5:]) == {BASE}


def test_plateau_is_torchs():
    losses = [
        1.0,
        0.9,
        0.91,
        0.92,
        0.93,
        0.94,
        0.95,
        0.5,
        0.5,
        0.5,
        0.5,
        0.5,
        0.49999,
        0.3,
        0.4,
        0.4,
        0.4,
        0.4,
        0.4,
        0.4,
    ]
    optimizer = sgd()
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.7, patience=3)
    expected, rows = [], []
    schedule = make_schedule("plateau", EPOCHS, **{**NUMBERS, "rows": rows})
    for epoch, loss in enumerate(losses):
        assert BASE * schedule(epoch + 0.5) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-6)
        expected.append(optimizer.param_groups[0]["lr"])
        rows.append({"loss": 1.0, "val_loss": loss})
        scheduler.step(loss)
    assert len(set(expected)) > 2


@pytest.mark.parametrize("warmup_epochs", [0.5, 5])
def test_plateau_after_a_warm_up_knows_every_later_epoch(warmup_epochs):
    """At the start of an epoch the one before it counts, and those of the warm-up do not."""
    rows: list[dict[str, float]] = []
    schedule = make_schedule("plateau", 20, warmup_epochs, **{**NUMBERS, "step_epochs": 2, "gamma": 0.5, "rows": rows})
    first, factors = int(np.ceil(warmup_epochs)), []
    for epoch in range(20):
        factors.append(schedule(epoch))
        rows.append({"loss": 0.0 if epoch < first else 1.0})
    after = factors[first:]
    assert after[:4] == [1] * 4  # one best epoch and two of patience are over before the third bad one
    assert after[4:7] == [0.5] * 3


def test_every_schedule_is_tested_here():
    assert set(SCHEDULES) == {*BY_EPOCH, *BY_STEP, "plateau", "triangle"}


@pytest.mark.parametrize("numbers", [(0.2, 0.23, 0.07), (0.0, 0.5, 0.0), (0.3, 0.0, 0.1), (0.3, 1.0, 0.1)])
def test_triangle_is_two_straight_lines(numbers):
    start, peak, end = numbers
    schedule = make_schedule("triangle", 10, start_factor=start, peak_time=peak, end_factor=end)
    times = np.arange(0, 10, 0.01)
    expected = np.interp(times, [0, 10 * peak, 10], [start, 1, end])
    expected[times < 1e-9] = start if peak else 1
    np.testing.assert_allclose([schedule(time) for time in times], expected, atol=1e-9)
    assert schedule(10) == pytest.approx(end if peak < 1 else 1)


def test_a_recipe_has_the_triangles_numbers():
    recipe = Recipe.of({"schedule": "triangle", "epochs": 10, "start_factor": 0.5, "peak_time": 0.4, "end_factor": 0.1})
    schedule = plan_schedule(recipe, 7)
    assert [schedule(time) for time in (0, 4, 10)] == pytest.approx([0.5, 1, 0.1])


class Watch(keras.callbacks.Callback):
    """Notes the optimizer's rate before each step; comes after the callback under test."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_begin(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


@pytest.mark.parametrize(("name", "first"), [("cosine", 0), ("cosine", 3), ("step", 0)])
def test_the_callback_sets_the_rate_of_every_step(name, first):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.9), "mse")
    schedule = make_schedule(name, 5, 1, **{**NUMBERS, "step_epochs": 1})
    watch = Watch()
    model.fit(
        np.zeros((7, 2), np.float32),
        np.zeros((7, 1), np.float32),
        batch_size=2,
        epochs=5,
        initial_epoch=first,
        callbacks=[LearningRate(BASE, schedule), watch],
        verbose=0,
    )
    expected = [BASE * schedule(epoch + step / 4) for epoch in range(first, 5) for step in range(4)]
    np.testing.assert_allclose(watch.rates, expected, rtol=1e-6)
