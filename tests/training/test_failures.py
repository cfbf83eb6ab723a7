"""What goes wrong in a run: a loss that is not finite, a full disk, a directory that is taken."""

from importlib import import_module

import numpy as np
import pytest

from helpers import one_line_error
from kcnn.errors import Diverged
from kcnn.run.checkpoint import load_model
from kcnn.run.directory import RunDir
from runs import SMALL, rows, train, weights

pytestmark = pytest.mark.usefixtures("no_pictures")


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
