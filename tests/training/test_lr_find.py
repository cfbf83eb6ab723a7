"""The learning-rate range test, and the drawing of a schedule."""

import json
import math

import numpy as np
import pytest

from helpers import one_line_error
from kcnn.errors import KcnnError
from kcnn.plots.figure import may_redraw
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.stages import planned_rates
from kcnn.training.lr_find import RangeTest, sweep


class Optimizer:
    learning_rate = 0.0


class Quadratic:
    """Gradient descent on w² / 2 with a batch's noise: it falls up to a rate of 1, and breaks out above 2."""

    def __init__(self):
        self.w, self.optimizer = 3.0, Optimizer()

    def reset_metrics(self):
        pass

    def train_on_batch(self, images, targets, return_dict):
        loss = self.w**2 / 2 if abs(self.w) < 1e6 else math.nan
        self.w -= float(self.optimizer.learning_rate) * self.w
        return {"loss": loss}


class Batches:
    def __getitem__(self, index):
        return None, None


def test_the_sweep_ends_when_the_loss_breaks_out():
    test = sweep(Quadratic(), Batches(), np.geomspace(1e-3, 1e3, 120))
    assert 20 < len(test.rates) == len(test.losses) < 120
    assert np.isfinite(test.smoothed).all()
    assert 0.5 < test.minimum < 20
    assert test.steepest < test.minimum
    assert test.suggestion == float(f"{test.minimum / 10:.2g}")


def test_smoothing_keeps_a_constant_and_does_not_lag():
    rates = np.geomspace(1e-4, 1, 101)
    assert RangeTest(rates, np.full(101, 2.0)).smoothed == pytest.approx(2.0)
    valley = np.abs(np.arange(101) - 50.0)
    assert RangeTest(rates, valley).minimum == pytest.approx(rates[50])


def test_steepest_descent_by_the_logarithm_of_the_rate():
    rates = np.geomspace(1e-4, 1, 41)
    losses = 2 - 1 / (1 + np.exp(-4 * (np.log10(rates) + 2)))  # steepest at 0.01
    assert RangeTest(rates, losses).steepest == pytest.approx(0.01, rel=0.1)
    with pytest.raises(KcnnError, match="never fell"):
        _ = RangeTest(rates, losses[::-1]).steepest


def test_a_loss_that_is_never_finite():
    model = Quadratic()
    model.w = math.inf
    with pytest.raises(KcnnError, match="--low"):
        sweep(model, Batches(), np.geomspace(1, 2, 5))


def test_lr_find_on_real_images(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = cli("lr-find", "--limit-train", 300, "--steps", 40, "--low", 1e-4, "--json")
    found = json.loads(result.stdout)
    assert 1e-4 < found["steepest"] <= found["minimum"] <= 10
    assert found["suggestion"] == pytest.approx(found["minimum"] / 10, rel=0.05)
    assert found["steps"] <= 40
    assert may_redraw(tmp_path / "lr-lenet5-digits.png")
    assert not list(tmp_path.glob("runs*"))
    one_line_error(cli("lr-find", "--low", 1, "--high", 0.1), 2, "--low")


def test_planned_rates_are_those_of_the_stages_and_the_schedule():
    recipe = Recipe.of({"epochs": 3, "stages": [[2, 32, 0.1], [1, 128, 0.01]], "schedule": "cosine"})
    points = planned_rates(recipe, 4)
    assert [size for _, _, size in points] == [32] * 8 + [128] * 4
    for step, (time, rate, size) in enumerate(points):
        base = 0.1 if size == 32 else 0.01
        assert time == step / 4
        assert rate == pytest.approx(base * (1 + math.cos(math.pi * step / 12)) / 2)


def test_kcnn_schedule(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = cli("schedule", "lenet5-digits", "--set", "schedule=step", "--set", "step_epochs=2", "--set", "epochs=4",
                 "--set", "warmup_epochs=0", "--set", "learning_rate=0.1", "--json")  # fmt: skip
    rows = json.loads(result.stdout)
    assert [row["first_rate"] for row in rows] == pytest.approx([0.1, 0.1, 0.01, 0.01])
    assert (tmp_path / "lenet5-digits-schedule.png").stat().st_size > 1000
    one_line_error(cli("schedule", "lenet5-digit"), 2, "Did you mean 'lenet5-digits'")


def test_a_picture_that_is_not_ours_stays(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "lenet5-digits-schedule.png"
    mine.write_bytes(b"mine")
    one_line_error(cli("schedule", "lenet5-digits"), 2, "not drawn by kcnn")
    one_line_error(cli("schedule", "lenet5-digits", "-o", mine), 2, "already exists")
    one_line_error(cli("schedule", "lenet5-digits", "-o", "rate.jpg"), 2, ".png")
    assert mine.read_bytes() == b"mine"


def test_drawing_a_schedule_imports_no_keras():
    import subprocess
    import sys

    names = "kcnn.recipes.stages, kcnn.plots, kcnn.cli"
    code = f"import sys, {names}; sys.exit(not {{'keras', 'torch'}}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
