"""Precision as an axis: each policy trains, goes on to the last bit, averages, predicts, and opens in plain Keras."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from helpers import one_line_error
from kcnn.machine import backend
from kcnn.machine.keras_internals import averages
from kcnn.machine.processes import environment
from kcnn.methods.optimizers import make_optimizer
from kcnn.native.acceleration import accelerate
from kcnn.recipes.parts import load_parts
from kcnn.results.logits import predict_logits
from kcnn.results.scores import score
from kcnn.run.checkpoint import load_model
from kcnn.run.directory import RunDir
from precision import CASES, HALF, write_data
from runs import Killed, kill_in, rows, same_run, train, weights

pytestmark = pytest.mark.usefixtures("any_precision")
each = pytest.mark.parametrize(("model", "precision"), CASES, ids=map("-".join, CASES))


@each
def test_the_loss_is_finite_and_the_precision_is_in_the_files(trained_in, model, precision):
    _, run = trained_in(model, precision)
    assert all(np.isfinite(row["loss"]) and np.isfinite(row["val_loss"]) for row in rows(run))
    for path in (run.best, run.last):
        found = load_model(path)[0]
        assert found.get_layer("conv1").dtype_policy.name == precision
        assert found.layers[-1].dtype_policy.name == "float32"
        assert found.get_layer("conv1").kernel.dtype == precision if precision == "bfloat16" else "float32"


@each
def test_a_killed_run_goes_on_to_the_last_bit(trained_in, tmp_path, model, precision):
    recipe, whole = trained_in(model, precision)
    run = RunDir.create(tmp_path / "run", "x")
    backend.select("torch", precision=precision)
    with pytest.MonkeyPatch.context() as patch:
        kill_in(patch, "kcnn.training.callbacks.rules:LearningRate.on_train_batch_begin", 5)  # in epoch 2
        with pytest.raises(Killed):
            train(recipe, run)
    train(recipe, run, resume=True)
    same_run(run, whole)


@each
def test_the_average_is_what_was_validated_and_saved(trained_in, model, precision):
    recipe, run = trained_in(model, precision)
    found, info = load_model(run.best)
    validation = load_parts(recipe).validation
    accelerate(found)  # batch norms are folded into convolutions as in training's validation
    scored = score(predict_logits(found, validation.images), validation.labels)
    row = rows(run)[info["epoch"] - 1]
    assert scored["accuracy"] == pytest.approx(row["val_accuracy"], abs=1e-5)
    assert scored["loss"] == pytest.approx(row["val_loss"], rel=1e-4)
    pairs = zip(weights(run.best), weights(run.last), strict=True)
    assert max(np.abs(a.astype(np.float32) - b.astype(np.float32)).max() for a, b in pairs) > 1e-5


@pytest.mark.parametrize("precision", backend.PRECISIONS)
def test_the_average_is_that_of_the_weights(precision):
    """Keras' own has the weights' precision, and stands still in bfloat16."""
    backend.select("torch", precision=precision)
    variable = keras.Variable(np.zeros(3), dtype=keras.config.dtype_policy().variable_dtype)
    optimizer = make_optimizer("sgd", 1.0, ema=0.999)
    optimizer.build([variable])
    expected = np.zeros(3)
    for step in range(200):
        optimizer.apply([keras.ops.ones(3, variable.dtype) * -0.25])
        current = keras.ops.convert_to_numpy(variable).astype(np.float64)
        expected = current if step == 0 else 0.999 * expected + 0.001 * current
    ((_, average),) = averages(optimizer)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(average), expected, rtol=1e-3)


# ---- afterwards ------------------------------------------------------------------------------------------------------


@each
def test_commands_read_the_run(trained_in, cli, tmp_path, model, precision):
    recipe, run = trained_in(model, precision)
    found = json.loads(cli("evaluate", run.path, "--json").stdout)
    assert found["test"]["loss"] == pytest.approx(json.loads(run.result.read_text())["test"]["loss"], rel=0.02)
    np.save(tmp_path / "images.npy", load_parts(recipe).dataset.test.images)
    predicted = json.loads(cli("predict", run.path, tmp_path / "images.npy", "--json").stdout)
    assert len(predicted) == 12
    assert sum(entry["probability"] for entry in predicted[0]["top"]) == pytest.approx(1, abs=1e-3)
    outcome = cli("plot", run.path, "--kind", "filters,features,gradcam,confusion", "-o", tmp_path)
    assert outcome.exit_code == 0, outcome.output


PLAIN = """
import json, sys
import numpy as np
import keras
for path in sys.argv[1:]:
    model = keras.saving.load_model(path)
    images = np.full((2, *model.input_shape[1:]), 9, np.uint8)
    print(json.dumps([model.get_layer("conv1").dtype_policy.name, model.predict(images, verbose=0).tolist()]))
assert "kcnn" not in sys.modules
"""


def test_all_open_in_plain_keras_in_another_process(trained_in):
    paths = [trained_in(*case)[1].best for case in CASES]
    command = [sys.executable, "-c", PLAIN, *map(str, paths)]
    done = subprocess.run(command, env=environment("torch"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for (_, precision), path, line in zip(CASES, paths, done.stdout.splitlines(), strict=True):
        policy, logits = json.loads(line)
        assert policy == precision
        found = load_model(path)[0]
        ours = predict_logits(found, np.full((2, *found.input_shape[1:]), 9, np.uint8))
        np.testing.assert_allclose(logits, ours, rtol=0.05, atol=0.05)


# ---- other commands --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", HALF)
def test_lr_find(cli, tmp_path, precision):
    data = write_data(tmp_path / "data", 16)
    options = ("--model", "lenet5", "--dataset", "tensors", "--data-dir", data, "--low", 1e-3, "--steps", 30)
    outcome = cli("lr-find", *options, "--precision", precision, "-o", tmp_path / "lr.png", "--json")
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.stdout)["minimum"] > 1e-3


@pytest.mark.parametrize("precision", HALF)
def test_bench(cli, precision):
    outcome = cli("bench", "--model", "lenet5", "--batch-size", 4, "--precision", precision, "--rounds", 1,
                  "--engines", "kcnn,pytorch", "--seconds", 0.01, "--json")  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    report = json.loads(outcome.stdout)
    assert report["precision"] == precision
    assert report["ratio_to_pytorch"] > 0


def test_an_unknown_precision(cli, tmp_path):
    outcome = cli("train", "--precision", "mixed_bfloat", "--run", tmp_path / "run")
    one_line_error(outcome, 2, "unknown precision 'mixed_bfloat'. Did you mean 'mixed_bfloat16'")


# ---- the other backends ----------------------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from kcnn.machine import backend
name, folder = sys.argv[1], Path(sys.argv[2])
backend.select(name, "cpu")
from precision import recipe_of
from kcnn.run.directory import RunDir
from runs import same_run, train
for precision in backend.PRECISIONS:
    backend.select(name, precision=precision)
    whole, cut = (RunDir.create(folder / precision / kind, "x") for kind in ("whole", "cut"))
    recipe = recipe_of("lenet5", precision, folder / "data", name)
    train(recipe, whole)
    train(recipe.replace(epochs=1), cut)
    train(recipe, cut, resume=True)
    same_run(whole, cut)
print("well")
"""


@pytest.mark.parametrize("name", ["jax", "tensorflow"])
def test_each_trains_and_goes_on_to_the_last_bit_on_other_backends(name, tmp_path):
    if not backend.installed(name):
        pytest.skip(f"{name} is not installed")
    write_data(tmp_path / "data", 16)
    command = [sys.executable, "-c", CHILD, name, tmp_path, Path(__file__).parents[1]]
    done = subprocess.run(command, env=environment(name), capture_output=True, text=True)
    assert done.stdout.endswith("well\n"), done.stderr[-3000:]
