"""Lookahead: the weights of a plain loop that meets its slow average, what is validated, and how it resumes."""

import keras
import numpy as np
import pytest
from keras import ops

from kcnn.errors import UsageError
from kcnn.recipes.parts import load_parts
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.stages import plan_stages
from kcnn.results.logits import predict_logits
from kcnn.results.scores import score
from kcnn.run.checkpoint import load_model
from kcnn.run.directory import RunDir
from kcnn.run.history import read_history
from kcnn.training.construct import compile_model, new_model, training_batches
from kcnn.training.trainer import train

RECIPE = Recipe.of(
    {
        "model": "resnet20",
        "limit_train": 200,
        "validation": 0.3,
        "epochs": 3,
        "batch_size": 32,
        "learning_rate": 0.02,
        "lookahead": 3,
        "lookahead_decay": 0.8,
        "lookahead_power": 2,
    }
)
STEPS = 5  # an epoch


def plainly(recipe, epochs):
    """The weights after so many epochs of a loop that is written out, in the order of the Keras model's."""
    keras.utils.set_random_seed(recipe.seed)
    parts = load_parts(recipe)
    model = new_model(recipe, parts.dataset)
    compile_model(model, recipe)
    (stage,) = plan_stages(recipe)
    batches = training_batches(recipe, stage, parts, 0)
    assert batches.steps_per_epoch == STEPS
    slow = model.get_weights()
    for done in range(1, epochs * STEPS + 1):
        model.train_on_batch(*batches[done - 1])
        if done % 3 == 0:
            share = 0.8 * (done / (recipe.epochs * STEPS)) ** 2
            slow = [share * a + (1 - share) * b for a, b in zip(slow, model.get_weights(), strict=True)]
            model.set_weights(slow)
        if done % STEPS == 0:
            model.set_weights(slow)
    return model.get_weights()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = RunDir.create(tmp_path_factory.mktemp("lookahead") / "run", "x")
    train(RECIPE, run)
    return run


def test_the_weights_are_those_of_a_plain_loop(run):
    for ours, plain in zip(load_model(run.last)[0].get_weights(), plainly(RECIPE, 3), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=2e-3, atol=2e-4)


def test_what_is_validated_is_the_slow_average(run):
    model, _ = load_model(run.last)
    validation = load_parts(RECIPE).validation
    found = score(predict_logits(model, validation.images), validation.labels)
    assert found["loss"] == pytest.approx(read_history(run).rows[-1]["val_loss"], rel=1e-4)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_resumed_run_goes_on_exactly(run, tmp_path, epochs, monkeypatch):
    """Killed after so many epochs: the share depends on all of them."""
    half = RunDir.create(tmp_path / "run", "x")
    stop_after(epochs, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(RECIPE, half)
    monkeypatch.undo()
    train(RECIPE, half, resume=True)
    for ours, whole in zip(*(load_model(each.last)[0].get_weights() for each in (half, run)), strict=True):
        np.testing.assert_array_equal(ours, whole)


def stop_after(epochs, monkeypatch):
    from kcnn.training.callbacks.recorder import Recorder

    original = Recorder.on_epoch_begin

    def begin(self, epoch, logs=None):
        if epoch == epochs:
            raise KeyboardInterrupt
        original(self, epoch, logs)

    monkeypatch.setattr(Recorder, "on_epoch_begin", begin)


def test_without_a_share_the_average_only_ends_the_epochs(tmp_path):
    """Steps that end with an epoch: with a share of 0 nothing happens at all."""
    runs = [RunDir.create(tmp_path / name, "x") for name in ("with", "without")]
    for run, keys in zip(runs, ({"lookahead": 5, "lookahead_decay": 0.0}, {"lookahead": 0}), strict=True):
        train(RECIPE.replace(epochs=2, **keys), run)
    for ours, plain in zip(*(load_model(run.last)[0].get_weights() for run in runs), strict=True):
        np.testing.assert_array_equal(ours, plain)


def test_it_goes_together_with_the_moving_average(tmp_path):
    run = RunDir.create(tmp_path / "run", "x")
    result = train(RECIPE.replace(epochs=2, ema=0.8), run)
    assert np.isfinite(result["test"]["loss"])
    best, last = (ops.convert_to_numpy(load_model(path)[0].weights[0]) for path in (run.best, run.last))
    assert (best != last).any()


def test_wrong_numbers_are_told():
    with pytest.raises(UsageError, match="lookahead_decay must be from 0 to 1; received 2"):
        Recipe.of({"lookahead_decay": 2})
