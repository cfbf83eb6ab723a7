"""A run goes on only as what it was begun: its recipe, its images, and the epochs that may be added."""

import json
import shutil
import zipfile

import pytest

from helpers import one_line_error, write_pictures
from kcnn.recipes.files import read_recipe
from kcnn.recipes.recipe import Recipe
from kcnn.run.checkpoint import read_info
from kcnn.run.directory import RunDir
from runs import MOMENTS, SMALL, Killed, kill_in, rows, same_run, train

pytestmark = pytest.mark.usefixtures("no_pictures")
CONSTANT = SMALL.replace(schedule="constant", warmup_epochs=0.5)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A run of three epochs with a constant rate, killed in its second."""
    run = RunDir.create(tmp_path_factory.mktemp("half") / "run", "x")
    with pytest.MonkeyPatch.context() as patch:
        kill_in(patch, *MOMENTS["in the second epoch"])
        with pytest.raises(Killed):
            train(CONSTANT, run)
    return run


@pytest.fixture
def run(half, tmp_path):
    """A copy to be changed."""
    return RunDir(shutil.copytree(half.path, tmp_path / "my run"))


def edit(run, **values):
    run.recipe.write_text(read_recipe(run.recipe).replace(**values).to_toml())


def contents(run):
    return {path.name: path.read_bytes() for path in run.path.iterdir()}


@pytest.mark.parametrize(
    "change",
    [
        {"model": "simple_cnn"},
        {"dataset": "mnist"},
        {"seed": 3},
        {"validation": 0.2},
        {"limit_train": 300},
        {"precision": "mixed_bfloat16"},
        {"image_size": 32},
        {"classes": ["1", "7"]},
        {"learning_rate": 0.01},
    ],
)
def test_a_recipe_that_no_longer_describes_the_run(cli, run, change):
    ((key, value),) = change.items()
    then = getattr(read_recipe(run.recipe), key)
    edit(run, **change)
    before = contents(run)
    outcome = cli("train", "--resume", run.path)
    one_line_error(outcome, 1, f"{key} was {then!r} and is {value!r}", f"--recipe '{run.recipe}'")
    assert "continuing" not in outcome.stderr
    assert contents(run) == before


def test_a_recipe_without_keys_is_one_of_the_defaults(cli, run):
    run.recipe.write_text("model = 'lenet5'\n")
    one_line_error(cli("train", "--resume", run.path), 1, "limit_train was 200 and is 0")
    run.recipe.write_text("")
    one_line_error(cli("train", "--resume", run.path), 1, "recipe.toml is empty")


def strip_origin(path):
    """Make a checkpoint of an older kcnn."""
    old = path.rename(path.with_suffix(".old"))
    with zipfile.ZipFile(old) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "kcnn.json":
                info = json.loads(content)
                del info["origin"]
                content = json.dumps(info)
            target.writestr(name, content)
    old.unlink()


def test_a_run_of_an_older_kcnn_goes_on_with_a_word(cli, run):
    strip_origin(run.last)
    edit(run, model="convnet")
    one_line_error(cli("train", "--resume", run.path), 1, "last.keras is a lenet5 for images of 28×28×1", "convnet")
    edit(run, model="lenet5")
    outcome = cli("train", "--resume", run.path)
    assert outcome.exit_code == 0, outcome.output
    assert "keeps no record of its settings" in outcome.stderr
    assert len(rows(run)) == 3
    assert "origin" in read_info(run.last)


# ---- images ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_pictures(tmp_path_factory):
    """(run, folder): one epoch of two on pictures with a test part of their own."""
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder / "train", count=10)
    write_pictures(folder / "test", count=3)
    recipe = {"model": "lenet5", "dataset": "folder", "data_dir": str(folder), "image_size": 28, "validation": 0.2}
    run = RunDir.create(tmp_path_factory.mktemp("of") / "run", "x")
    with pytest.MonkeyPatch.context() as patch:
        kill_in(patch, "kcnn.training.callbacks.recorder:Recorder._save_last", 3)
        with pytest.raises(Killed):
            train(Recipe.of({**recipe, "epochs": 2, "batch_size": 8}), run)
    return run, folder


@pytest.fixture
def pictures(of_pictures, tmp_path):
    """Copies of both, the run's recipe naming the copied folder."""
    run = RunDir(shutil.copytree(of_pictures[0].path, tmp_path / "run"))
    folder = shutil.copytree(of_pictures[1], tmp_path / "pictures")
    edit(run, data_dir=str(folder))
    return run, folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: (f / "train/cat/3.png").unlink(), "training had 16 images and has 15"),
        (lambda f: shutil.copy(f / "train/cat/3.png", f / "test/cat/new.png"), "test had 6 images and has 7"),
        (lambda f: shutil.copy(f / "train/cat/3.png", f / "test/cat/0.png"), "test has 6 images as before, but some"),
        (lambda f: (f / "train/cat/3.png").rename(f / "train/dog/3b.png"), "training"),
    ],
)
def test_pictures_that_changed_meanwhile(cli, pictures, change, words):
    run, folder = pictures
    change(folder)
    before = contents(run)
    one_line_error(cli("train", "--resume", run.path), 1, words, "--data-dir", f"--weights {run.path}")
    assert contents(run) == before


def test_pictures_of_a_finished_run(cli, pictures):
    run, folder = pictures
    assert cli("train", "--resume", run.path).exit_code == 0
    run.curves.touch(), run.confusion.touch()
    (folder / "train/cat/3.png").unlink()
    before = contents(run)
    one_line_error(cli("train", "--resume", run.path), 1, "training had 16 images and has 15")
    assert contents(run) == before


def test_pictures_that_moved(cli, pictures, tmp_path):
    run, folder = pictures
    folder.rename(tmp_path / "moved")
    one_line_error(cli("train", "--resume", run.path), 1, "pictures")
    outcome = cli("train", "--resume", run.path, "--data-dir", tmp_path / "moved", "--device", "cpu")
    assert outcome.exit_code == 0, outcome.output
    assert "since it began: data_dir was " in outcome.stderr
    assert len(rows(run)) == 2
    recipe = read_recipe(run.recipe)
    assert (recipe.data_dir, recipe.device) == (str(tmp_path / "moved"), "cpu")


def test_evaluate_tells_that_a_run_may_have_learned_from_these_images(cli, pictures):
    run, folder = pictures
    assert "may have learned" not in cli("evaluate", run.path).stderr
    shutil.copy(folder / "train/cat/3.png", folder / "test/cat/new.png")
    assert "test had 6 images and has 7): it may have learned" in cli("evaluate", run.path).stderr
    assert "may have learned" not in cli("evaluate", run.path, "--split", "validation").stderr


# ---- epochs ----------------------------------------------------------------------------------------------------------


def test_a_finished_run_can_be_prolonged(cli, run, tmp_path):
    """To the same result as if it had been so long from the beginning."""
    whole = RunDir.create(tmp_path / "whole", "x")
    train(CONSTANT.replace(epochs=4), whole)
    assert cli("train", "--resume", run.path).exit_code == 0
    assert len(rows(run)) == 3
    outcome = cli("train", "--resume", run.path, "--epochs", 4)
    assert outcome.exit_code == 0, outcome.output
    assert "epochs was 3 and is 4" in outcome.stderr
    same_run(run, whole)
    assert read_recipe(run.recipe).epochs == 4


def test_a_run_that_goes_on_has_no_result_until_it_ends(cli, run, monkeypatch):
    assert cli("train", "--resume", run.path).exit_code == 0
    run.confusion.touch()
    with pytest.MonkeyPatch.context() as patch:
        kill_in(patch, "kcnn.training.callbacks.rules:LearningRate.on_train_batch_begin", 1)
        with pytest.raises(Killed):
            train(CONSTANT.replace(epochs=4), run, resume=True)
    assert not run.result.exists()
    assert not run.confusion.exists()
    assert cli("train", "--resume", run.path).exit_code == 0
    assert json.loads(run.result.read_text())["epochs"] == 4


def test_epochs_that_cannot_change(cli, run, trained, tmp_path):
    one_line_error(cli("train", "--resume", trained[0], "--epochs", 5), 2, "schedule cosine", "--weights", "constant")
    cli("train", "--resume", run.path)
    one_line_error(cli("train", "--resume", run.path, "--epochs", 2), 2, "has trained 3 epochs")
    one_line_error(cli("train", "--resume", run.path, "--epochs", 0), 2, "epochs must be from 1")
    staged = RunDir.create(tmp_path / "staged", "x")
    train(CONSTANT.replace(epochs=1, warmup_epochs=0, stages=[[1, 32]]), staged)
    one_line_error(cli("train", "--resume", staged.path, "--epochs", 2), 2, "stages", "--weights")


def test_a_run_can_be_ended_early(cli, run):
    """After epoch 1 of 3, with an end at 1: what is there is scored."""
    outcome = cli("train", "--resume", run.path, "--epochs", 1, "--json")
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.stdout)["epochs"] == 1
    assert "completing" in outcome.stderr
