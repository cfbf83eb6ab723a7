"""The end of a run: what is missing is made, what is there stays, and a picture that fails costs nothing."""

import json
import shutil

import numpy as np
import pytest

from helpers import one_line_error
from kcnn.recipes.files import read_recipe
from kcnn.run.checkpoint import load_model, read_info, save_model
from kcnn.run.directory import FILES, RunDir
from runs import SMALL, Killed, kill_in, rows, train, weights


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the finished run."""
    return RunDir(shutil.copytree(trained[0], tmp_path / "run"))


def contents(run):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.path.iterdir()}


def test_a_finished_run_says_so_and_stays(cli, run):
    before = contents(run)
    outcome = cli("train", "--resume", run.path)
    assert outcome.exit_code == 0, outcome.output
    assert "is finished already: lenet5 on digits, 2 epochs" in outcome.stderr
    assert outcome.stdout.startswith("test accuracy ")
    assert json.loads(cli("train", "--resume", run.path, "--json").stdout) == json.loads(run.result.read_text())
    assert contents(run) == before


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("recipe.toml", "last.keras", "manifest.json")])
def test_a_file_that_is_missing_is_made_again_and_no_other(cli, run, name):
    (run.path / name).unlink()
    before = contents(run)
    outcome = cli("train", "--resume", run.path)
    if name == "best.keras" and read_info(run.last)["epoch"] != json.loads(run.result.read_text())["best_epoch"]:
        one_line_error(outcome, 1, "best.keras is gone")
        return
    assert outcome.exit_code == 0, outcome.output
    after = contents(run)
    assert set(after) == set(before) | {name}
    redrawn = {"curves.png", "confusion.png"} if name == "result.json" else set()
    assert {key for key in before if after[key][0] != before[key][0]} <= redrawn


def test_damaged_results_and_logs_are_written_anew(cli, run):
    good = json.loads(run.result.read_text()), run.log.read_text()
    for text in ("{", "[]", '{"test": {"accuracy": "high"}}', json.dumps({**good[0], "epochs": None})):
        run.result.write_text(text)
        run.log.write_text("epoch\n7\n")
        assert cli("train", "--resume", run.path).exit_code == 0
        assert (json.loads(run.result.read_text()), run.log.read_text()) == good


def no_drawing(*arguments):
    raise ValueError("no font\nfor this")


@pytest.mark.parametrize("picture", ["curves", "confusion"])
def test_a_picture_that_cannot_be_drawn_costs_nothing_else(cli, tmp_path, monkeypatch, picture):
    run = RunDir(tmp_path / "my run")
    with monkeypatch.context() as patch:
        patch.setattr(f"kcnn.plots.{picture}", no_drawing)
        outcome = cli("train", "--epochs", 1, "--limit-train", 100, "--run", run.path)
    assert outcome.exit_code == 0, outcome.output
    (line,) = [line for line in outcome.stderr.splitlines() if "could not be drawn" in line]
    assert f"{picture}.png could not be drawn (no font). To try again: kcnn train --resume '{run.path}'" in line
    assert sorted(path.name for path in run.path.iterdir()) == sorted({*FILES} - {f"{picture}.png"})
    result = run.result.read_bytes()
    assert cli("train", "--resume", run.path).exit_code == 0
    assert (run.path / f"{picture}.png").exists()
    assert run.result.read_bytes() == result


# ---- best.keras ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Runs whose best epoch is the last one, is not, and is the last one of an average."""
    folder = tmp_path_factory.mktemp("two")
    ruin = {"epochs": 3, "stages": [[2, 16, 0.05], [1, 16, 20.0]], "clip_norm": 1.0, "schedule": "constant"}
    recipes = {
        "last": SMALL.replace(validation=0, epochs=2),
        "earlier": SMALL.replace(**ruin, warmup_epochs=0),
        "average": SMALL.replace(validation=0, epochs=2, ema=0.8),
    }
    runs = {name: RunDir.create(folder / name, "x") for name in recipes}
    with pytest.MonkeyPatch.context() as patch:
        for picture in ("curves", "confusion"):
            patch.setattr(f"kcnn.plots.{picture}", lambda *arguments: None)
        for name, recipe in recipes.items():
            train(recipe, runs[name])
    return runs


def copy(two, name, tmp_path):
    run = RunDir(shutil.copytree(two[name].path, tmp_path / name))
    run.result.unlink()
    return run


@pytest.mark.usefixtures("no_pictures")
def test_last_stands_in_for_a_best_that_is_gone_if_it_is_the_best(two, tmp_path):
    run = copy(two, "last", tmp_path)
    run.best.unlink()
    found = train(read_recipe(run.recipe), run, resume=True)
    assert found["test"] == json.loads(two["last"].result.read_text())["test"]
    for a, b in zip(weights(run.best), weights(two["last"].best), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("name", ["earlier", "average"])
def test_otherwise_a_sentence(cli, two, tmp_path, name):
    run = copy(two, name, tmp_path)
    best, last = read_info(run.best)["epoch"], len(rows(run))
    run.best.unlink()
    words = (f"epoch {best} was the best", f"last.keras, of epoch {last}", f"evaluate {run.path}", "--recipe")
    one_line_error(cli("train", "--resume", run.path), 1, "best.keras is gone", *words)
    model, info = load_model(run.last)
    save_model(model, run.best, {**info, "epoch": 7})  # the file of another run
    one_line_error(cli("train", "--resume", run.path), 1, "best.keras is of epoch 7", *words)


@pytest.mark.usefixtures("no_pictures")
def test_a_run_without_its_best_epoch_trains_on_and_says_so(cli, tmp_path):
    """The rate ruins the network in epoch 3, so that epoch 4 is not the best either."""
    stages = [[2, 16, 0.05], [1, 16, 20.0], [1, 16, 0.05]]
    recipe = SMALL.replace(epochs=4, stages=stages, clip_norm=1.0, schedule="constant", warmup_epochs=0)
    run = RunDir.create(tmp_path / "run", "x")
    with pytest.MonkeyPatch.context() as patch:
        kill_in(patch, "kcnn.training.callbacks.recorder:Recorder._save_last", 5)
        with pytest.raises(Killed):
            train(recipe, run)
    run.best.unlink()
    outcome = cli("train", "--resume", run.path)
    one_line_error(outcome, 1, "best.keras is gone", "last.keras, of epoch 4")
    assert "last.keras, of epoch 3" in outcome.stderr
    assert "by training on" in outcome.stderr
    assert len(rows(run)) == 4
