"""A run that was killed or stopped goes on as if nothing had happened."""

import json
import re
import zipfile
from importlib import import_module

import pytest

from helpers import one_line_error
from kcnn.recipes.files import read_recipe
from kcnn.run.directory import FILES, RunDir
from runs import MOMENTS, SMALL, Killed, kill_in, result, rows, same_run, train

pytestmark = pytest.mark.usefixtures("no_pictures")

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


# ---- on the command line ---------------------------------------------------------------------------------------------


@pytest.fixture
def killed(tmp_path):
    run = RunDir.create(tmp_path / "my run", "x")
    with pytest.MonkeyPatch.context() as patch:
        kill_in(patch, *MOMENTS["in the second epoch"])
        with pytest.raises(Killed):
            train(SMALL, run)
    return run


@pytest.mark.parametrize("file", ["", "last.keras", "log.csv"])
def test_resume_on_the_command_line(cli, killed, file):
    outcome = cli("train", "--resume", killed.path / file)
    assert outcome.exit_code == 0, outcome.output
    assert re.findall(r"^epoch (\d)/3", outcome.stderr, re.M) == ["2", "3"]
    assert [row["epoch"] for row in rows(killed)] == [1, 2, 3]


@pytest.mark.parametrize("option", [("--model", "vgg16"), ("--set", "seed=1"), ("--run", "x"), ("--batch-size", "64")])
def test_options_that_would_make_it_another_run(cli, trained, option):
    outcome = cli("train", "--resume", trained[0], *option, "--epochs", 5)
    one_line_error(outcome, 2, "--resume continues a run", f"leave out {option[0]},", "--data-dir")


def test_resume_of_what_is_no_run(cli, tmp_path):
    one_line_error(cli("train", "--resume", tmp_path / "none"), 1, "There is no run directory", tmp_path / "none")
    one_line_error(cli("train", "--resume", tmp_path), 1, "no recipe.toml")
    (tmp_path / "recipe.toml").write_text(SMALL.to_toml())
    (tmp_path / "last.keras").write_text("no model")
    one_line_error(cli("train", "--resume", tmp_path), 1, tmp_path / "last.keras", "not a .keras file")


def test_resume_of_a_model_that_is_no_checkpoint(cli, trained, tmp_path):
    (tmp_path / "recipe.toml").write_text(SMALL.to_toml())
    (tmp_path / "last.keras").write_bytes((trained[0] / "best.keras").read_bytes())
    one_line_error(cli("train", "--resume", tmp_path), 1, tmp_path / "last.keras", "no log in it")


def test_a_run_whose_last_checkpoint_is_gone_is_not_begun_again(cli, killed):
    killed.last.unlink()
    before = killed.best.read_bytes()
    one_line_error(cli("train", "--resume", killed.path), 1, "no last.keras", f"--recipe '{killed.recipe}'")
    assert killed.best.read_bytes() == before


def damage(run, change):
    """Change `kcnn.json` of last.keras."""
    with zipfile.ZipFile(run.last) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    info = json.loads(members["kcnn.json"])
    members["kcnn.json"] = json.dumps(change(info) or info)
    with zipfile.ZipFile(run.last, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    "change",
    [
        lambda info: [1],
        lambda info: info.update(history=3),
        lambda info: info.update(history=[{"epoch": 2}]),
        lambda info: info.update(history=["x"]),
        lambda info: info.update(epoch=2),
        lambda info: info.update(class_names=7),
        lambda info: info.update(origin={}),
        lambda info: info.update(origin={"recipe": {}, "images": 3}),
    ],
)
def test_a_checkpoint_that_contradicts_itself(cli, killed, change):
    damage(killed, change)
    before = killed.last.read_bytes()
    one_line_error(cli("train", "--resume", killed.path), 1, "last.keras is damaged: ")
    assert killed.last.read_bytes() == before


# ---- never begun -----------------------------------------------------------------------------------------------------

BEFORE = {
    "before the images": "kcnn.recipes.parts:load_dataset",
    "before the manifest": "kcnn.training.trainer:write_json",
    "before the first checkpoint": "kcnn.training.callbacks.recorder:Recorder._save_last",
}


@pytest.mark.parametrize("moment", BEFORE)
def test_a_run_killed_before_its_first_checkpoint_is_begun(cli, tmp_path, uninterrupted, moment):
    recipe = RECIPES["lenet5"]
    run = RunDir.create(tmp_path / "run", "x", recipe.to_toml())
    with pytest.MonkeyPatch.context() as patch:
        kill_in(patch, BEFORE[moment], 1)
        with pytest.raises(Killed):
            train(recipe, run)
    (run.path / ".last.keras.4194305.keras").touch()
    one_line_error(cli("train", "--run", run.path), 2, "already exists", "Begin its run", f"train --resume {run.path}")
    outcome = cli("train", "--resume", run.path, "--device", "auto")
    assert outcome.exit_code == 0, outcome.output
    assert "none of them trained yet" in outcome.stderr
    same_run(run, uninterrupted("lenet5"))


def test_only_leftovers_are_no_run(cli, tmp_path):
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    (run.path / ".recipe.toml.4194305.toml").touch()
    assert cli("train", "--epochs", 1, "--limit-train", 100, "--run", run.path).exit_code == 0
    assert sorted(path.name for path in run.path.iterdir() if path.suffix != ".png") == sorted(
        name for name in FILES if not name.endswith(".png")
    )
