"""A training run from end to end, on a few hundred of the bundled digits: its files, and what they say."""

import json
import re

import keras
import numpy as np
import pytest

from kcnn.machine.backend import device_name
from kcnn.run.checkpoint import load_model
from kcnn.run.directory import FILES, RunDir
from kcnn.run.history import COLUMNS, History
from runs import SMALL, rows, same_run, train, weights

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_a_run_writes_all_its_files(trained):
    path, _ = trained
    assert sorted(file.name for file in path.iterdir()) == sorted(FILES)
    for picture in ("curves.png", "confusion.png"):
        assert (path / picture).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_result_has_the_promised_keys(trained):
    found = json.loads((trained[0] / "result.json").read_text())
    assert list(found) == [
        *("test", "validation", "best_epoch", "epochs", "seconds", "images_per_second"),
        *("parameters", "pflop", "backend", "device"),
    ]
    assert list(found["test"]) == list(found["validation"]) == ["accuracy", "interval", "top5", "loss"]
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
    assert re.fullmatch(
        r"test accuracy 0\.\d{4}  95 % interval 0\.\d{4} to 0\.\d{4}  \(epoch [12] of 2\)\n", outcome.stdout
    )
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
