"""Scores equal scikit-learn's and NumPy's, in the library and in what `kcnn evaluate` prints."""

import json

import numpy as np
import pytest
from sklearn import metrics

from helpers import one_line_error
from kcnn.data.registry import load_dataset
from kcnn.results.logits import predict_logits, softmax
from kcnn.results.scores import full_report, score
from kcnn.run.checkpoint import load_model

CLASSES = [f"class {index}" for index in range(7)]


@pytest.fixture
def scores():
    """Logits of 7 classes, right a little more often than by chance, and labels without the last class."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 200)
    logits = rng.normal(size=(200, 7)).astype(np.float32)
    logits[np.arange(200), labels] += 1
    return logits, labels


def test_score_is_scikit_learns(scores):
    logits, labels = scores
    found, classes = score(logits, labels), np.arange(7)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, logits.argmax(1)))
    assert found["top5"] == pytest.approx(metrics.top_k_accuracy_score(labels, logits, k=5, labels=classes))
    assert found["loss"] == pytest.approx(metrics.log_loss(labels, softmax(logits), labels=classes), rel=1e-5)


def test_loss_of_huge_logits_is_finite():
    logits = np.array([[1000, 0, -1000]], np.float32)
    assert score(logits, np.array([0]))["loss"] == 0
    assert score(logits, np.array([1]))["loss"] == pytest.approx(1000)


def test_softmax():
    probabilities = softmax(np.array([[1000, 1000], [0, np.log(3)]], np.float32))
    np.testing.assert_allclose(probabilities, [[0.5, 0.5], [0.25, 0.75]], rtol=1e-6)


def test_report_is_scikit_learns(scores):
    logits, labels = scores
    report, predicted, classes = full_report(logits, labels, CLASSES), logits.argmax(1), np.arange(7)
    precision = metrics.precision_score(labels, predicted, average=None, labels=classes, zero_division=0)
    recall = metrics.recall_score(labels, predicted, average=None, labels=classes, zero_division=0)
    f1 = metrics.f1_score(labels, predicted, average=None, labels=classes, zero_division=0)
    for row, name, p, r, f in zip(report["per_class"], CLASSES, precision, recall, f1, strict=True):
        assert row["class"] == name
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx((p, r, f))
    counted = np.zeros((7, 7), int)
    np.add.at(counted, (labels, predicted), 1)
    assert report["confusion"] == counted.tolist()
    assert [row["images"] for row in report["per_class"]] == counted.sum(1).tolist()
    assert report["per_class"][6]["images"] == 0
    assert json.loads(json.dumps(report)) == report


def test_evaluate_json(trained, cli):
    outcome = cli("evaluate", trained[0], "--json")
    assert outcome.exit_code == 0, outcome.output
    found = json.loads(outcome.stdout)
    assert list(found) == ["test", "per_class", "confusion"]
    saved = json.loads((trained[0] / "result.json").read_text())["test"]
    for key in ("accuracy", "top5", "loss"):
        assert found["test"][key] == pytest.approx(saved[key], abs=1e-6)
    assert [row["class"] for row in found["per_class"]] == list("0123456789")
    assert set(found["per_class"][0]) == {"class", "precision", "recall", "f1", "images"}
    confusion = np.array(found["confusion"])
    assert confusion.sum() == 359
    assert np.trace(confusion) / 359 == pytest.approx(saved["accuracy"])


def test_evaluate_is_what_the_model_says(trained):
    model, _ = load_model(trained[0] / "best.keras")
    test = load_dataset("digits").test
    logits = predict_logits(model, test.images)
    assert logits.dtype == np.float32
    saved = json.loads((trained[0] / "result.json").read_text())["test"]
    assert metrics.accuracy_score(test.labels, logits.argmax(1)) == pytest.approx(saved["accuracy"])
    assert metrics.log_loss(test.labels, softmax(logits.astype(float))) == pytest.approx(saved["loss"], abs=1e-4)


def test_evaluate_for_people(trained, cli):
    outcome = cli("evaluate", trained[0])
    assert outcome.exit_code == 0, outcome.output
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["class", "precision", "recall", "F1", "images"]
    assert len([line for line in lines if line.split() and line.split()[0] in "0123456789"]) >= 20  # and the matrix
    assert "accuracy" in lines[-1]


def test_evaluate_tells_what_is_wrong(cli, tmp_path):
    one_line_error(cli("evaluate", tmp_path / "none"), 1, "There is no run directory", tmp_path / "none")
    one_line_error(cli("evaluate", tmp_path), 1, tmp_path, "no recipe.toml")
    (tmp_path / "recipe.toml").touch()
    one_line_error(cli("evaluate", tmp_path), 1, tmp_path, "no checkpoint")
    (tmp_path / "best.keras").write_text("no model")
    one_line_error(cli("evaluate", tmp_path), 1, tmp_path / "best.keras", "not a .keras file")


def test_evaluate_leaves_the_run_alone(trained, cli):
    before = {file.name: file.read_bytes() for file in trained[0].iterdir()}
    cli("evaluate", trained[0], "--json")
    assert {file.name: file.read_bytes() for file in trained[0].iterdir()} == before
