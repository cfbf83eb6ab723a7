"""`kcnn data`: a picture of real images before and after augmentation."""

import numpy as np
import pytest
from PIL import Image

from helpers import one_line_error
from kcnn.data.augment.operations import AUGMENTATIONS
from kcnn.data.registry import load_dataset


def test_a_list_has_a_row_for_each_and_one_for_all(cli, tmp_path):
    file = tmp_path / "grid.png"
    result = cli("data", "digits", "--augment", "shift=2,rotation,mixup", "-o", file)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(file)
    rows = "as they are, shift = 2, rotation = 15, mixup = 0.2, all together"
    assert result.stderr.strip() == f"10 training images of digits: {rows}"
    with Image.open(file) as picture:
        assert picture.width > 1000
        assert np.asarray(picture).std() > 20


def test_without_a_list_every_one_that_the_data_can_take_is_drawn(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = cli("data", "digits")
    assert (tmp_path / "digits.png").exists()
    for name in AUGMENTATIONS:
        assert (f"{name} = " in result.stderr) == (name != "saturation")
    assert "all together" not in result.stderr


def test_the_seed_chooses_the_picture(cli, tmp_path):
    files = [tmp_path / f"{index}.png" for index in range(3)]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        cli("data", "digits", "--augment", "shift", "--seed", seed, "-o", file)
    first, again, other = (np.asarray(Image.open(file)) for file in files)
    assert (first == again).all()
    assert first.shape != other.shape or (first != other).any()


def test_the_images_are_of_as_many_classes_as_there_are():
    from kcnn.data.preview import some_images

    digits = load_dataset("digits")
    assert some_images(digits, 10, 3).labels.tolist() == list(range(10))
    assert np.bincount(some_images(digits, 15, 3).labels).max() == 2


def test_an_existing_file_is_never_written_over(cli, tmp_path):
    file = tmp_path / "grid.png"
    file.write_text("mine")
    one_line_error(cli("data", "digits", "-o", file), 2, file, "already exists")
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("digit",), ("data set", "Did you mean 'digits'")),
        (("digits", "--augment", "flip=3,blur"), ("flip", "at most 1", "blur")),
        (("digits", "--augment", "saturation,cutout=30"), ("grey", "cutout=30")),
        (("digits", "-o", "grid.bmp"), ("grid.bmp", ".png")),
    ],
)
def test_wrong_arguments_are_told_in_one_line(cli, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    one_line_error(cli("data", *arguments), 2, *words)
    assert not list(tmp_path.iterdir())
