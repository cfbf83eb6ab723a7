"""The averaged weights of a network with batch norms, which must be evaluated with statistics of their own."""

import keras
import numpy as np
import pytest
from keras import ops

from kcnn.recipes.parts import load_parts
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.stages import plan_stages
from kcnn.results.logits import predict_logits
from kcnn.results.scores import score
from kcnn.run.checkpoint import load_model
from kcnn.run.directory import RunDir
from kcnn.run.history import History
from kcnn.training.construct import training_batches
from kcnn.training.trainer import train

RECIPE = Recipe.of(
    {
        "model": "resnet20",
        "limit_train": 200,
        "validation": 0.3,
        "epochs": 2,
        "batch_size": 32,
        "learning_rate": 0.1,
        "augment": {"shift": 2},
        "ema": 0.8,
    }
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run with the average, and the same one without."""
    folder = tmp_path_factory.mktemp("ema")
    with_average, without = RunDir.create(folder / "with", "x"), RunDir.create(folder / "without", "x")
    train(RECIPE, with_average)
    train(RECIPE.replace(ema=0.0), without)
    return with_average, without


def norms(path):
    return [layer for layer in load_model(path)[0].layers if type(layer).__name__ == "BatchNormalization"]


def test_what_is_saved_is_what_was_validated(runs):
    model, info = load_model(runs[0].best)
    row = History.from_csv(runs[0].log.read_text()).rows[info["epoch"] - 1]
    validation = load_parts(RECIPE).validation
    found = score(predict_logits(model, validation.images), validation.labels)
    assert found["accuracy"] == pytest.approx(row["val_accuracy"], abs=1e-6)
    assert found["loss"] == pytest.approx(row["val_loss"], rel=1e-4)


def test_the_statistics_are_those_of_the_averaged_weights(runs):
    """The first norm's: mean and variance of what the first convolution makes of the epoch's batches."""
    model, info = load_model(runs[0].best)
    parts = load_parts(RECIPE)
    batches = training_batches(RECIPE, plan_stages(RECIPE)[0], parts, info["epoch"] - 1)
    norm = norms(runs[0].best)[0]
    before = keras.Model(model.input, model.get_layer(norm.name).input)
    values = [ops.convert_to_numpy(before(batches[step][0])) for step in range(batches.steps_per_epoch)]
    means, variances = (np.mean([part(value, (0, 1, 2)) for value in values], 0) for part in (np.mean, np.var))
    np.testing.assert_allclose(norm.moving_mean, means, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, variances, rtol=1e-3)


def test_training_goes_on_as_without_the_average(runs):
    for first, second in zip(norms(runs[0].last), norms(runs[1].last), strict=True):
        np.testing.assert_array_equal(first.moving_mean, second.moving_mean)
        np.testing.assert_array_equal(first.moving_variance, second.moving_variance)
    losses = [[row["loss"] for row in History.from_csv(run.log.read_text()).rows] for run in runs]
    assert losses[0] == losses[1]


def test_a_resumed_run_measures_the_same(runs, tmp_path):
    run = RunDir.create(tmp_path / "run", "x")
    train(RECIPE.replace(epochs=1), run)
    train(RECIPE, run, resume=True)
    for name in ("best", "last"):
        ours, whole = (load_model(getattr(each, name))[0].get_weights() for each in (run, runs[0]))
        for first, second in zip(ours, whole, strict=True):
            np.testing.assert_array_equal(first, second)
