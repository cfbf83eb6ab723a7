"""The parts of a run: what a data set's own validation part changes."""

import numpy as np
import pytest

from helpers import write_pictures
from kcnn.errors import KcnnError
from kcnn.recipes.parts import load_parts
from kcnn.recipes.recipe import Recipe
from kcnn.results.scores import run_split
from kcnn.run.directory import RunDir


@pytest.fixture
def photos(tmp_path):
    """Three classes; 6 pictures of each for training, 2 for validation, 1 for testing."""
    for part, count in (("train", 6), ("valid", 2), ("test", 1)):
        write_pictures(tmp_path / "photos" / part, ("cat", "dog", "emu"), count)
    return tmp_path / "photos"


def recipe(photos, **values):
    return Recipe.of({"model": "lenet5", "dataset": "folder", "data_dir": str(photos), "image_size": 28, **values})


def test_a_validation_folder_is_the_validation_part(photos, capsys):
    parts = load_parts(recipe(photos, validation=0.5))
    assert parts.train.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert parts.validation.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert parts.dataset.test.labels.tolist() == [0, 1, 2]
    assert "own part of 6 images; none is drawn" in capsys.readouterr().err


def test_no_validation_means_none(photos, capsys):
    parts = load_parts(recipe(photos, validation=0.0))
    assert (len(parts.train), len(parts.validation)) == (18, 0)
    assert "6 images is not used" in capsys.readouterr().err


def test_some_of_the_classes_and_images(photos):
    parts = load_parts(recipe(photos, classes=["emu", "cat"], limit_train=6))
    assert np.bincount(parts.train.labels).tolist() == [3, 3]
    assert sorted(parts.validation.labels.tolist()) == [0, 0, 1, 1]
    # Labels are places in the recipe's list: the first class written is red, the third blue.
    colours = parts.validation.images.mean((1, 2)).argmax(-1)
    np.testing.assert_array_equal(colours == 2, parts.validation.labels == 0)


def test_a_validation_part_without_images_is_refused(photos):
    for path in (photos / "valid").glob("*/*.png"):
        path.write_bytes(b"")
    with pytest.raises(KcnnError, match="validation part of this data set has no images"):
        load_parts(recipe(photos, skip_bad=True))


def test_a_run_on_three_parts(cli, photos, tmp_path):
    run = tmp_path / "run"
    options = ("--model", "lenet5", "--image-size", 28, "--epochs", 1, "--run", run)
    outcome = cli("train", "--dataset", photos, *options)
    assert outcome.exit_code == 0, outcome.output
    assert "none is drawn" in outcome.stderr
    for split, count in (("validation", 6), ("test", 3)):
        assert len(run_split(RunDir.open(run), split)[0]) == count
