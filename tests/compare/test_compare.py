"""Comparing backends on one training, and finished runs."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from helpers import one_line_error
from kcnn.compare.backends import COLUMNS, agreement, compare_backends, parse_backends
from kcnn.compare.plot import draw_backends as draw
from kcnn.compare.runs import compare_runs, differing, short_names
from kcnn.errors import KcnnError, UsageError
from kcnn.machine import backend
from kcnn.machine.processes import environment
from kcnn.recipes.recipe import Recipe
from kcnn.run.checkpoint import load_model

SETTINGS = ("--limit-train", "300", "--batch-size", "16", "--epochs", "2", "--augment", "shift=1")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(folder, report) of AlexNet's small brother with dropout, on every backend."""
    folder = tmp_path_factory.mktemp("compare") / "out"
    recipe = Recipe.of({"limit_train": 200, "batch_size": 16, "epochs": 2, "augment": {"shift": 1}, "momentum": 0.9})
    said = []
    return folder, compare_backends(recipe, backend.BACKENDS, folder, said.append), said


def row(compared, name):
    """The numbers of a backend; one that is not installed says so, and skips."""
    found = compared[1]["backends"][name]
    if not backend.installed(name):
        assert found == {"error": backend.not_installed(name)}
        pytest.skip(found["error"])
    return found


@pytest.mark.parametrize("name", backend.BACKENDS)
def test_every_backend_gets_a_row_with_its_numbers(compared, name):
    found = row(compared, name)
    assert tuple(found) == COLUMNS
    assert found["images_per_second"] > 0
    assert found["compile_seconds"] > 0
    assert 100 < found["peak_memory_mb"] < 100_000
    assert 0.1 < found["test_accuracy"] <= 1
    assert len(found["losses"]) == 2
    assert sum(line.startswith(name) for line in compared[2]) == 2


@pytest.mark.parametrize("name", ["jax", "tensorflow"])
def test_the_training_is_the_same_on_every_backend(compared, name):
    np.testing.assert_allclose(row(compared, name)["losses"], row(compared, "torch")["losses"], rtol=1e-3)
    assert row(compared, name)["test_accuracy"] == pytest.approx(row(compared, "torch")["test_accuracy"], abs=0.01)


def test_the_backends_agree(compared):
    row(compared, "jax"), row(compared, "tensorflow")
    found = compared[1]["agreement"]
    assert found["same_batches"] is True
    assert found["logits_max_abs"] < 1e-4
    assert set(found["loss_after_steps"]) == {"1", "5", "10", "20"}
    assert all(value < 1e-3 for value in found["loss_after_steps_relative"].values())


def test_each_backend_leaves_a_run_directory(compared):
    folder, report, _ = compared
    assert json.loads((folder / "compare.json").read_text()) == report
    assert (folder / "compare.png").read_bytes().startswith(b"\x89PNG")
    for name in ("torch",):
        result = json.loads((folder / name / "result.json").read_text())
        assert result["backend"] == name
        assert result["test"]["accuracy"] == report["backends"][name]["test_accuracy"]
        assert load_model(folder / name / "best.keras")[1]["class_names"] == list("0123456789")


def broken(monkeypatch, folder, name):
    """An installed package that does not start comes first on the path, here and in child processes."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("raise OSError('lib is damaged')")
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_a_backend_that_fails_is_a_row_that_says_why(cli, monkeypatch, tmp_path):
    broken(monkeypatch, tmp_path, "jax")
    monkeypatch.setattr("kcnn.compare.backends.installed", lambda name: name == "jax")
    result = cli("compare", "--backends", "jax,tensorflow", *SETTINGS, "-o", tmp_path / "out")
    one_line_error(result, 1, "No backend could train")
    assert "jax         " in result.stdout
    assert "does not start (lib is damaged)" in result.stdout
    assert "pip install 'kcnn[tensorflow]'" in result.stdout


def fake(losses, batches=1):
    return {"step_losses": losses, "batches": batches, "losses": [1.0], "images_per_second": 10.0,
            "compile_seconds": 0.5, "peak_memory_mb": 100}  # fmt: skip


def test_agreement_is_the_largest_difference_of_any_two():
    rows = {"torch": fake([2.0, 1.0]), "jax": fake([2.0, 1.5]), "tensorflow": fake([2.0, 0.9], batches=2)}
    found = agreement(rows, [np.zeros((2, 3)), np.full((2, 3), 0.5), np.full((2, 3), -0.25)])
    assert found["logits_max_abs"] == 0.75
    assert found["loss_after_steps"] == {"1": pytest.approx(0.6)}
    assert found["loss_after_steps_relative"] == {"1": pytest.approx(0.6 / (3.4 / 3))}
    assert found["same_batches"] is False


def test_one_backend_has_nobody_to_agree_with(tmp_path):
    found = agreement({"torch": fake([2.0, 1.0])}, [np.zeros((2, 3))])
    expected = {"logits_max_abs": None, "loss_after_steps": {"1": None}, "loss_after_steps_relative": {"1": None}}
    assert found == {**expected, "same_batches": None}
    assert agreement({}, [])["logits_max_abs"] is None
    draw({"torch": fake([2.0, 1.0])}, "alone", tmp_path / "alone.png")


def test_backends_are_named_once_and_known():
    assert parse_backends("torch, jax,torch") == ["torch", "jax"]
    for text in ("numpy", "", "torch,theano"):
        with pytest.raises(UsageError, match="unknown backend"):
            parse_backends(text)


# ---- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(trained, tmp_path):
    """The trained run and a copy of it with other settings that is not finished."""
    first, second = tmp_path / "a" / "one", tmp_path / "b" / "one"
    for path in (first, second):
        shutil.copytree(trained[0], path)
    recipe = (second / "recipe.toml").read_text().replace("augment = {", 'augment = {"flip" = 0.5, ')
    (second / "recipe.toml").write_text(recipe.replace("batch_size = 32", "batch_size = 8"))
    (second / "result.json").unlink()
    return first, second


def test_runs_are_compared_by_settings_scores_and_curves(runs, cli, tmp_path):
    picture = tmp_path / "both.png"
    report = json.loads(cli("compare", *runs, "-o", picture, "--json").stdout)
    assert set(report["runs"]) == {"a/one", "b/one"}
    assert set(report["settings"]) == {"batch_size", "augment.flip"}
    assert report["settings"]["augment.flip"] == {"a/one": None, "b/one": 0.5}
    result = json.loads((runs[0] / "result.json").read_text())
    assert report["runs"]["a/one"]["test_accuracy"] == result["test"]["accuracy"]
    assert report["runs"]["b/one"]["test_accuracy"] is None
    assert report["runs"]["b/one"]["epochs"] == 2
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = cli("compare", *runs, "-o", tmp_path / "again.png").stdout
    assert "batch_size" in text
    assert "a/one" in text


def test_runs_are_compared_without_keras(runs, tmp_path):
    program = (
        "import sys; from kcnn.cli import main; main(sys.argv[1:], standalone_mode=False); "
        "sys.exit(str([name for name in ('keras', 'torch', 'jax', 'tensorflow') if name in sys.modules] or ''))"
    )
    command = [sys.executable, "-c", program, "compare", *map(str, runs), "-o", str(tmp_path / "x.png")]
    child = subprocess.run(command, env=environment("torch"), capture_output=True, text=True)
    assert child.stderr.splitlines()[1:] in ([], [""]), child.stderr


def test_names_are_as_short_as_they_can_be(tmp_path):
    assert short_names([tmp_path / "x", tmp_path / "y"]) == ["x", "y"]
    assert short_names([tmp_path / "a" / "x", tmp_path / "x"]) == ["a/x", "x"]
    with pytest.raises(KcnnError, match="twice"):
        short_names([tmp_path / "x", tmp_path / "y" / ".." / "x"])


def test_equal_settings_do_not_differ():
    assert differing({"a": Recipe(), "b": Recipe()}) == {}


def test_mistakes_are_one_line(runs, cli, tmp_path):
    out = ("-o", tmp_path / "x.png")
    one_line_error(cli("compare", runs[0], *out), 2, "at least two runs")
    one_line_error(cli("compare", *runs, "--backends", "torch"), 2, "leave out --backends")
    one_line_error(cli("compare", *runs, "--epochs", "3"), 2, "options of a training")
    one_line_error(cli("compare", "--backends", "torch,jaxx"), 2, "Did you mean 'jax'?")
    one_line_error(cli("compare", "--backends", "torch", "--backend", "jax"), 2, "leave out --backend")
    one_line_error(cli("compare", runs[0], tmp_path / "none", *out), 1, "There is no run directory")
    (runs[0] / "result.json").write_text("{")
    one_line_error(cli("compare", *runs, *out), 1, "result.json is not JSON")
    (runs[0] / "log.csv").unlink()
    with pytest.raises(KcnnError, match="no finished epoch"):
        compare_runs(runs, tmp_path / "y.png")
