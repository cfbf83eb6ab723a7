"""Training from end to end, on a few hundred of the bundled digits: files, resuming, stopping, and what goes wrong."""

import json
import os
import re
import signal
import subprocess
import sys
from importlib import import_module

import keras
import numpy as np
import pytest
from helpers import one_line_error

from kcnn.errors import Diverged
from kcnn.machine.backend import device_name
from kcnn.recipes.files import read_recipe
from kcnn.recipes.recipe import Recipe
from kcnn.run.checkpoint import load_model
from kcnn.run.directory import RunDir
from kcnn.run.history import COLUMNS, History

train = import_module("kcnn.training.trainer").train

SMALL = Recipe.of({"limit_train": 200, "epochs": 3, "batch_size": 32, "warmup_epochs": 1, "schedule": "cosine"})
TIMES = {"images_per_second", "seconds"}
FILES = [
    *("best.keras", "confusion.png", "curves.png", "last.keras"),
    *("log.csv", "manifest.json", "recipe.toml", "result.json"),
]


@pytest.fixture
def no_pictures(monkeypatch):
    """They take longer than the training here."""
    for name in ("curves", "confusion"):
        monkeypatch.setattr(f"kcnn.plots.{name}", lambda *arguments: None)


pytestmark = pytest.mark.usefixtures("no_pictures")


def rows(run):
    """The log without what a clock says."""
    log = History.from_csv(run.log.read_text()).rows
    return [{key: value for key, value in row.items() if key not in TIMES} for row in log]


def result(run):
    found = json.loads(run.result.read_text())
    return {key: value for key, value in found.items() if key not in TIMES}


def weights(path):
    return load_model(path)[0].get_weights()


def same_run(first, second):
    """Equal to the last bit: log, result, best and last weights."""
    assert rows(first) == rows(second)
    assert result(first) == result(second)
    for name in ("best", "last"):
        for a, b in zip(weights(getattr(first, name)), weights(getattr(second, name)), strict=True):
            np.testing.assert_array_equal(a, b)


# ---- a run ---------------------------------------------------------------------------------------------------------


def test_a_run_writes_all_its_files(trained):
    path, _ = trained
    assert sorted(file.name for file in path.iterdir()) == FILES
    for picture in ("curves.png", "confusion.png"):
        assert (path / picture).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_result_has_the_promised_keys(trained):
    found = json.loads((trained[0] / "result.json").read_text())
    assert list(found) == [
        *("test", "validation", "best_epoch", "epochs", "seconds", "images_per_second"),
        *("parameters", "backend", "device"),
    ]
    assert list(found["test"]) == list(found["validation"]) == ["accuracy", "top5", "loss"]
    assert (found["parameters"], found["epochs"], found["backend"]) == (61_706, 2, keras.backend.backend())
    assert found["device"] == device_name()


def test_result_agrees_with_the_log(trained):
    run = RunDir(trained[0])
    log = History.from_csv(run.log.read_text())
    found = json.loads(run.result.read_text())
    best = log.rows[log.best_epoch - 1]
    assert found["best_epoch"] == log.best_epoch
    assert found["validation"]["accuracy"] == pytest.approx(best["val_accuracy"], abs=1e-5)
    assert found["validation"]["loss"] == pytest.approx(best["val_loss"], abs=1e-4)
    assert found["seconds"] == pytest.approx(log.seconds, abs=0.01)


def test_the_log_is_complete(trained):
    text = (trained[0] / "log.csv").read_text()
    assert text.splitlines()[0].split(",") == list(COLUMNS)
    assert [row["epoch"] for row in History.from_csv(text).rows] == [1, 2]


def test_the_manifest_names_versions_and_seed(trained):
    found = json.loads((trained[0] / "manifest.json").read_text())
    assert found["versions"]["keras"] == keras.__version__
    assert found["seed"] == 0


def test_progress_is_one_plain_line_an_epoch_and_the_result_is_on_stdout(trained):
    _, outcome = trained
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2
    for number, line in enumerate(lines, start=1):
        assert re.match(
            rf"epoch {number}/2  loss \d\.\d{{4}}  accuracy .*val_loss .*val_accuracy .*lr .*images/s$", line
        )
    assert re.fullmatch(r"test accuracy 0\.\d{4}  \(epoch [12] of 2\)\n", outcome.stdout)
    assert "\x1b" not in outcome.output
    for command in ("evaluate", "predict", "export"):
        assert f"kcnn {command} " in outcome.stderr


def test_recipe_toml_reproduces_the_run(trained, cli, tmp_path):
    again = RunDir(tmp_path / "again")
    outcome = cli("train", "--recipe", trained[0] / "recipe.toml", "--run", again.path)
    assert outcome.exit_code == 0, outcome.output
    assert (trained[0] / "recipe.toml").read_text() == again.recipe.read_text()
    same_run(RunDir(trained[0]), again)


def test_another_seed_is_another_run(tmp_path):
    runs = [RunDir.create(tmp_path / str(seed), "x") for seed in (0, 1)]
    for seed, run in enumerate(runs):
        train(SMALL.replace(epochs=1, warmup_epochs=0, seed=seed, limit_train=100), run)
    assert rows(runs[0]) != rows(runs[1])


def test_the_best_epoch_is_kept_and_scored(tmp_path):
    """A rate that ruins the network in epoch 4: the best is an earlier one, and it is the one that is scored."""
    run = RunDir.create(tmp_path / "run", "x")
    ruin = {"stages": [[3, 16, 0.05], [1, 16, 20.0]], "clip_norm": 1.0, "schedule": "constant", "warmup_epochs": 0}
    found = train(SMALL.replace(epochs=4, **ruin), run)
    accuracies = [row["val_accuracy"] for row in rows(run)]
    assert found["best_epoch"] == 1 + int(np.argmax(accuracies)) < 4
    assert accuracies[3] < found["validation"]["accuracy"] == pytest.approx(max(accuracies), abs=1e-5)
    (_, best), (_, last) = load_model(run.best), load_model(run.last)
    assert (best["epoch"], last["epoch"]) == (found["best_epoch"], 4)
    assert best["class_names"] == last["class_names"] == list("0123456789")


def test_without_validation_the_last_epoch_is_scored(tmp_path):
    run = RunDir.create(tmp_path / "run", "x")
    found = train(SMALL.replace(validation=0, epochs=2), run)
    assert found["validation"] is None
    assert found["best_epoch"] == 2
    assert "val_loss" not in rows(run)[0]
    for a, b in zip(weights(run.best), weights(run.last), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_loss_falls(tmp_path):
    run = RunDir.create(tmp_path / "run", "x")
    train(SMALL.replace(optimizer="adam", learning_rate=2e-3, epochs=8), run)
    losses = [row["loss"] for row in rows(run)]
    assert losses[-1] < 0.6 * losses[0]


# ---- resuming ------------------------------------------------------------------------------------------------------

TINY_ALEXNET = SMALL.replace(
    model="alexnet", optimizer="adam", learning_rate=1e-3, patience=3, weight_decay=1e-4, augment={"shift": 2}
)
RECIPES = {
    "lenet5": SMALL.replace(momentum=0.9, nesterov=True, weight_decay=5e-4, augment={"crop": 2}, clip_norm=1.0),
    "alexnet": TINY_ALEXNET,  # dropout and batch norm
    "stages": SMALL.replace(momentum=0.9, ema=0.8, stages=[[1, 32], [2, 64]]),  # a moving average over two fits
}


@pytest.fixture
def tiny_alexnet(monkeypatch):
    monkeypatch.setattr(import_module("kcnn.models.alexnet"), "CONVOLUTIONS", ((4, 3, 1, (2, 2)), (6, 3, 1, (2, 2))))


class Killed(BaseException):
    """Ends a run at once, as a kill would."""


def kill_in(monkeypatch, function, call):
    """Raise `Killed` in place of the given call (counted from 1) of a method or function "module:name"."""
    module, name = function.split(":")
    owner = import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    original, calls = getattr(owner, last), []

    def counted(*arguments, **options):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return original(*arguments, **options)

    monkeypatch.setattr(owner, last, counted)


# 180 training images are 6 steps; last.keras is written before the first epoch and after each.
MOMENTS = {
    "before the first step": ("kcnn.training.callbacks.rules:LearningRate.on_train_batch_begin", 1),
    "in the second epoch": ("kcnn.training.callbacks.rules:LearningRate.on_train_batch_begin", 9),
    "before the second last.keras": ("kcnn.training.callbacks.recorder:Recorder._save_last", 3),
    "before the last log.csv": ("kcnn.training.callbacks.recorder:write_text", 3),
    "before the result": ("kcnn.training.trainer:write_json", 2),
}


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        *(("lenet5", moment) for moment in MOMENTS if "epoch" not in moment),
        ("alexnet", "in the second epoch"),
        ("stages", "in the second epoch"),
    ],
)
def test_a_killed_run_resumes_exactly(name, moment, tmp_path, tiny_alexnet, uninterrupted):
    run = RunDir.create(tmp_path / "run", "x")
    with pytest.MonkeyPatch.context() as patch:
        kill_in(patch, *MOMENTS[moment])
        with pytest.raises(Killed):
            train(RECIPES[name], run)
    assert not run.result.exists()
    train(read_recipe(run.recipe), run, resume=True)
    assert [row["epoch"] for row in rows(run)] == [1, 2, 3]
    same_run(run, uninterrupted(name))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The run of a recipe that nothing disturbs, trained once."""
    runs = {}

    def get(name):
        if name not in runs:
            runs[name] = RunDir.create(tmp_path_factory.mktemp(name) / "run", "x")
            train(RECIPES[name], runs[name])
        return runs[name]

    return get


def test_a_finished_run_is_scored_again_and_not_trained(tmp_path, uninterrupted):
    run = uninterrupted("lenet5")
    before = run.last.read_bytes(), run.log.read_text(), result(run)
    train(read_recipe(run.recipe), run, resume=True)
    assert (run.last.read_bytes(), run.log.read_text(), result(run)) == before


STILL = SMALL.replace(epochs=9, learning_rate=1e-12, schedule="constant", warmup_epochs=0, patience=2, limit_train=100)


def test_early_stopping(tmp_path):
    """Nothing is learned at this rate: epoch 1 stays the best, and two more are waited for."""
    run = RunDir.create(tmp_path / "run", "x")
    found = train(STILL, run)
    assert (found["epochs"], found["best_epoch"]) == (3, 1)
    train(read_recipe(run.recipe), run, resume=True)
    assert len(rows(run)) == 3


def test_early_stopping_goes_on_counting_after_a_resume(tmp_path, monkeypatch):
    run = RunDir.create(tmp_path / "run", "x")
    with pytest.MonkeyPatch.context() as patch:
        kill_in(patch, "kcnn.training.callbacks.recorder:Recorder._save_last", 4)  # in epoch 3
        with pytest.raises(Killed):
            train(STILL, run)
    found = train(read_recipe(run.recipe), run, resume=True)
    assert (found["epochs"], found["best_epoch"]) == (3, 1)
    assert [row["epoch"] for row in rows(run)] == [1, 2, 3]


def test_resume_on_the_command_line(cli, tmp_path):
    run = RunDir.create(tmp_path / "run", "x")
    with pytest.MonkeyPatch.context() as patch:
        kill_in(patch, *MOMENTS["in the second epoch"])
        with pytest.raises(Killed):
            train(SMALL, run)
    outcome = cli("train", "--resume", run.path)
    assert outcome.exit_code == 0, outcome.output
    assert re.findall(r"^epoch (\d)/3", outcome.stderr, re.M) == ["2", "3"]
    assert [row["epoch"] for row in rows(run)] == [1, 2, 3]


def test_resume_takes_no_other_option(cli, trained):
    one_line_error(cli("train", "--resume", trained[0], "--epochs", "5"), 2, "--resume continues a run")


def test_resume_of_what_is_no_run(cli, tmp_path):
    one_line_error(cli("train", "--resume", tmp_path / "none"), 1, "There is no run directory", tmp_path / "none")
    (tmp_path / "recipe.toml").write_text(SMALL.to_toml())
    one_line_error(cli("train", "--resume", tmp_path), 1, "no last.keras", "--recipe")
    (tmp_path / "last.keras").write_text("no model")
    one_line_error(cli("train", "--resume", tmp_path), 1, tmp_path / "last.keras", "not a .keras file")


def test_resume_of_a_model_that_is_no_checkpoint(cli, trained, tmp_path):
    (tmp_path / "recipe.toml").write_text(SMALL.to_toml())
    (tmp_path / "last.keras").write_bytes((trained[0] / "best.keras").read_bytes())
    one_line_error(cli("train", "--resume", tmp_path), 1, tmp_path / "last.keras", "no log in it")


# ---- what goes wrong -----------------------------------------------------------------------------------------------


def test_nan_ends_the_run_and_keeps_the_last_good_checkpoint(cli, tmp_path):
    run = RunDir(tmp_path / "run")
    stages = "stages=[[1,32,0.05],[2,32,1000]]"
    options = ("--epochs", 3, "--limit-train", 200, "--schedule", "constant", "--set", stages, "--augment", "none")
    outcome = cli("train", *options, "--set", "warmup_epochs=0", "--run", run.path)
    one_line_error(outcome, 1, "NaN or infinite in epoch 2, step ", "lower --learning-rate", run.best)
    assert [row["epoch"] for row in rows(run)] == [1]
    for path in (run.best, run.last):
        assert load_model(path)[1]["epoch"] == 1
        assert all(np.isfinite(array).all() for array in weights(path))
    assert not run.result.exists()


# 1e38 makes weights with which the validation loss overflows, 1e39 is infinite itself.
@pytest.mark.parametrize(("rate", "validation"), [(1e38, 0.5), (1e39, 0)])
def test_nan_in_the_last_step_of_an_epoch_is_not_saved(tmp_path, monkeypatch, rate, validation):
    """One step an epoch: its loss is finite, what it makes of the weights is not."""
    run = RunDir.create(tmp_path / "run", "x")
    recipe = SMALL.replace(limit_train=60, batch_size=64, schedule="constant", warmup_epochs=0, validation=validation)
    rates = import_module("kcnn.training.callbacks.rules").LearningRate

    def ruin(self, epoch, logs=None):
        self.epoch, self.base = epoch, rate if epoch else 0.05

    monkeypatch.setattr(rates, "on_epoch_begin", ruin)
    with pytest.raises(Diverged, match="epoch 2, step 1"):
        train(recipe, run)
    assert [row["epoch"] for row in rows(run)] == [1]
    assert all(np.isfinite(array).all() for array in weights(run.last))
    assert load_model(run.best)[1]["epoch"] == 1


def test_ctrl_c_keeps_the_epoch_and_says_how_to_go_on(cli, tmp_path, monkeypatch):
    run = RunDir(tmp_path / "run")
    module = import_module("kcnn.training.callbacks.rules")
    original = module.LearningRate.on_train_batch_begin

    def interrupted(self, batch, logs=None):
        if self.epoch == 1 and batch == 2:
            raise KeyboardInterrupt
        original(self, batch, logs)

    monkeypatch.setattr(module.LearningRate, "on_train_batch_begin", interrupted)
    outcome = cli("train", "--epochs", 3, "--limit-train", 200, "--run", run.path)
    assert outcome.exit_code == 130
    assert f"train --resume {run.path}" in outcome.stderr.splitlines()[-1]
    assert load_model(run.last)[1]["epoch"] == 1
    assert [row["epoch"] for row in rows(run)] == [1]


def test_ctrl_c_before_training_leaves_nothing(cli, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("kcnn.recipes.parts.load_dataset", interrupted)
    outcome = cli("train", "--run", tmp_path / "run")
    assert outcome.exit_code == 130
    assert "Interrupted" in outcome.stderr
    assert "--resume" not in outcome.stderr
    assert not (tmp_path / "run").exists()


def test_a_real_sigint(tmp_path):
    """In a process of its own, as a terminal would send it."""
    run = RunDir(tmp_path / "run")
    command = [sys.executable, "-m", "kcnn", "train", "--epochs", "300", "--limit-train", "200", "--run", str(run.path)]
    # A shell's background job, and so this test in one, ignores the signal.
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        # Where TensorFlow is installed Keras imports it, and its C++ greets on stderr whatever it is told.
        ours = (line for line in process.stderr if not line.startswith(("WARNING: All log messages before absl", "I0")))
        before = [next(ours) for _ in range(3)]  # what is trained, and two epochs
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert [line.split()[0] for line in before] == ["lenet5", "epoch", "epoch"]  # and no warning
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    assert f"kcnn train --resume {run.path}" in rest
    epochs = [row["epoch"] for row in rows(run)]
    assert epochs == list(range(1, len(epochs) + 1))
    assert load_model(run.last)[1]["epoch"] == len(epochs) >= 2


def test_an_earlier_run_is_not_overwritten(cli, trained):
    before = {file.name: file.read_bytes() for file in trained[0].iterdir()}
    one_line_error(cli("train", "--run", trained[0]), 2, trained[0], "already exists", "--resume")
    assert {file.name: file.read_bytes() for file in trained[0].iterdir()} == before


def test_no_space_left(cli, tmp_path, monkeypatch):
    run = RunDir(tmp_path / "run")
    module = import_module("kcnn.training.callbacks.recorder")
    original = module.save_model

    def full(model, path, info, optimizer=None):
        if info["epoch"] == 2:
            raise OSError(28, "No space left on device", str(path))
        original(model, path, info, optimizer)

    monkeypatch.setattr(module, "save_model", full)
    outcome = cli("train", "--epochs", 3, "--limit-train", 200, "--run", run.path)
    one_line_error(outcome, 1, run.path, "No space left on device", "Free some space")
    assert load_model(run.last)[1]["epoch"] == 1
    assert [row["epoch"] for row in rows(run)] == [1]


def test_no_permission(cli, tmp_path, monkeypatch):
    def refused(self, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", refused)
    outcome = cli("train", "--run", tmp_path / "run")
    one_line_error(outcome, 1, tmp_path / "run", "Permission denied", "where you may write")
