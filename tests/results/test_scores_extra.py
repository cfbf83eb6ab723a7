"""Calibration, top-k, the part that is scored, and the table by class."""

import csv
import json

import numpy as np
import pytest

from helpers import one_line_error
from kcnn.errors import UsageError
from kcnn.recipes.recipe import Recipe
from kcnn.results.logits import softmax
from kcnn.results.scores import calibration, run_split, top_accuracy, wilson
from kcnn.run.directory import RunDir


@pytest.fixture
def scores() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(0, 2, (500, 7)).astype(np.float32), rng.integers(0, 7, 500)


@pytest.mark.parametrize("right", [0, 1, 340, 359])
def test_the_interval_is_wilsons(right):
    """It is where a proportion p is 1.96 of its own standard errors away from what was found."""
    images, found = 359, right / 359
    for p in wilson(right, images):
        if 0.001 < p < 0.999:
            assert abs(found - p) == pytest.approx(1.959964 * np.sqrt(p * (1 - p) / images), abs=1e-5)
    low, high = wilson(right, images)
    assert 0 <= low <= found <= high <= 1
    assert low < high


def test_the_interval_shrinks_with_the_root_of_the_images():
    widths = [np.ptp(wilson(images * 9 // 10, images)) for images in (1_000, 100_000)]
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.01)
    assert wilson(1, 1)[1] == 1.0


def test_calibration_error_is_that_of_guo_et_al(scores):
    logits, labels = scores
    probabilities = softmax(logits)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    found = calibration(logits, labels)
    assert found["ece"] == pytest.approx(expected, abs=1e-6)
    assert sum(row["images"] for row in found["bins"]) == 500
    assert len(found["bins"]) == 15


@pytest.mark.parametrize(("right", "ece"), [(1.0, 0.0), (0.25, 0.75)])
def test_calibration_error_of_a_model_that_is_certain(right, ece):
    labels = np.where(np.arange(100) < 100 * right, 0, 1)
    logits = np.tile(np.asarray([[100.0, -100.0]]), (100, 1))
    assert calibration(logits, labels)["ece"] == pytest.approx(ece)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_top_accuracy_counts_the_k_largest(scores, k):
    logits, labels = scores
    best = np.argsort(-logits, 1)[:, :k]
    assert top_accuracy(logits, labels, k) == pytest.approx((best == labels[:, None]).any(1).mean())


def test_of_equal_logits_the_first_count_as_the_accuracy_does():
    logits, labels = np.zeros((10, 10)), np.arange(10)
    assert [top_accuracy(logits, labels, k) for k in (1, 5)] == [0.1, 0.5]
    assert top_accuracy(np.full((10, 10), np.nan), labels, 5) == 0.5


def test_validation_is_what_the_run_kept_out_of_training(trained):
    from kcnn.recipes.files import read_recipe
    from kcnn.recipes.parts import load_parts

    run = RunDir(trained[0])
    parts = load_parts(read_recipe(run.recipe))
    training, validation = parts.train, parts.validation
    images, names = run_split(run, "validation")
    np.testing.assert_array_equal(images.images, validation.images)
    assert len(training) > len(images) > 0
    assert len(names) == 10


def test_validation_of_a_run_without_any(tmp_path):
    run = RunDir(tmp_path)
    run.recipe.write_text(Recipe.of({"validation": 0.0}).to_toml())
    with pytest.raises(UsageError, match="--split test"):
        run_split(run, "validation")


def test_evaluate_on_validation_with_top_and_csv(trained, tmp_path, cli):
    table = tmp_path / "tables" / "classes.csv"
    options = ("--split", "validation", "--top", 2, "--csv", table, "--json")
    report = json.loads(cli("evaluate", trained[0], *options).stdout)
    assert set(report) == {"validation", "per_class", "confusion"}
    assert set(report["validation"]) == {"accuracy", "interval", "top5", "loss", "ece", "top2"}
    rows = list(csv.DictReader(table.open()))
    assert list(rows[0]) == ["class", "precision", "recall", "f1", "images"]
    assert [float(row["recall"]) for row in rows] == [row["recall"] for row in report["per_class"]]
    one_line_error(cli("evaluate", trained[0], "--csv", table), 2, table, "delete it")


def test_an_unknown_split_is_told_at_once(trained, cli):
    one_line_error(cli("evaluate", trained[0], "--split", "valid"), 2, "Did you mean 'validation'")
