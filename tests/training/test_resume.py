"""A run that was killed or stopped goes on as if nothing had happened."""

from importlib import import_module

import pytest
from runs import MOMENTS, SMALL, Killed, kill_in, result, rows, same_run, train

from kcnn.recipes.files import read_recipe
from kcnn.run.directory import RunDir

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
