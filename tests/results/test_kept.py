"""Predictions that a run keeps, and test images that are augmented before they are scored."""

import json

import numpy as np
import pytest

from helpers import one_line_error, random_images
from kcnn.errors import KcnnError, UsageError
from kcnn.models.flops import training_pflop
from kcnn.models.registry import build_model
from kcnn.results.kept import keep_predictions, read_predictions
from kcnn.results.logits import softmax
from kcnn.results.views import augmented_images


def test_predictions_come_back(tmp_path):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 7)).astype(np.float32), rng.integers(0, 7, 50)
    logits[0, :2] = 5, 5.0001  # equal in float16
    keep_predictions(tmp_path / "x.npz", logits, labels)
    found = read_predictions(tmp_path / "x.npz")
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.predicted, logits.argmax(1))
    np.testing.assert_allclose(found.probabilities, softmax(logits), atol=5e-4)
    assert [file.name for file in tmp_path.iterdir()] == ["x.npz"]


def test_a_run_keeps_them(trained):
    found = read_predictions(trained[0] / "predictions.npz")
    result = json.loads((trained[0] / "result.json").read_text())
    assert (found.labels == found.predicted).mean() == pytest.approx(result["test"]["accuracy"])
    # 2 epochs of 270 images: 300 without the tenth for validation.
    assert result["pflop"] == pytest.approx(training_pflop(build_model("lenet5", (28, 28, 1)), 540), rel=0.02)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 100, None])
def test_damaged_files_are_told(tmp_path, content):
    path = tmp_path / "x.npz"
    if content is None:
        np.savez(path, labels=np.arange(3), predicted=np.arange(3), probabilities=np.zeros((3, 2)))
    else:
        path.write_bytes(content)
    with pytest.raises(KcnnError, match=r"x\.npz is damaged"):
        read_predictions(path)


def test_no_file_says_how_to_get_one(tmp_path):
    with pytest.raises(KcnnError, match="evaluate RUN --predictions"):
        read_predictions(tmp_path / "none.npz")


def test_augmented_test_images_follow_the_seed():
    images = random_images(1500, 8, 8, 1)
    first, again, other = (augmented_images(images, {"shift": 1, "flip": 0.5}, seed, 10) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert first.shape == images.shape
    assert (first != images).any((1, 2, 3)).mean() > 0.8
    assert (first != other).any((1, 2, 3)).mean() > 0.8
    flipped = augmented_images(images, {"flip": 1.0}, 0, 10)
    np.testing.assert_array_equal(flipped, images[:, :, ::-1])


def test_what_test_images_cannot_take():
    images = random_images(3, 8, 8, 1)
    with pytest.raises(UsageError, match="mixup would give a test image two classes"):
        augmented_images(images, {"mixup": 0.2}, 0, 10)
    with pytest.raises(UsageError, match="as large as the images"):
        augmented_images(images, {"crop": 8}, 0, 10)


def test_evaluate_augmented_and_kept(trained, cli, tmp_path):
    kept = tmp_path / "new" / "kept.npz"
    plain = json.loads(cli("evaluate", trained[0], "--json").stdout)["test"]["accuracy"]
    outcome = cli("evaluate", trained[0], "--augment", "rotation=180", "--predictions", kept, "--json")
    turned = json.loads(outcome.stdout)["test"]["accuracy"]
    found = read_predictions(kept)
    assert (found.labels == found.predicted).mean() == pytest.approx(turned)
    assert turned < plain
    one_line_error(cli("evaluate", trained[0], "--predictions", kept), 2, "already exists")
    one_line_error(cli("evaluate", trained[0], "--augment", "flop"), 2, "Did you mean 'flip'?")
