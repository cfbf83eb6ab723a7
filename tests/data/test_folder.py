"""One's own pictures: what is read, how it becomes bytes, and each kind of damage named in one sentence."""

import shutil

import numpy as np
import pytest
from PIL import Image

from helpers import load_fails, one_line_error, write_pictures
from kcnn.data.images import read_image
from kcnn.data.registry import load_dataset, missing_files
from kcnn.errors import KcnnError


def test_pictures_of_every_kind(tmp_path):
    """Different sizes, grey, palette, transparent, a photo on its side: each becomes size × size × 3."""
    write_pictures(tmp_path, count=3)
    cat = tmp_path / "cat"
    Image.new("L", (7, 50), 200).save(cat / "grey.png")
    Image.new("RGB", (30, 9), (255, 0, 0)).convert("P").save(cat / "palette.gif")
    Image.new("RGBA", (64, 64), (0, 255, 0, 255)).save(cat / "transparent.PNG")
    data = load_dataset("folder", str(tmp_path), image_size=16)
    images = np.concatenate([data.train.images, data.test.images])
    assert images.shape == (9, 16, 16, 3)
    colours = {tuple(image[8, 8]) for image in images if image.std(axis=(0, 1)).max() == 0}
    assert colours == {(200, 200, 200), (255, 0, 0), (0, 255, 0)}
    assert data.class_names == ["cat", "dog"]


def test_a_picture_is_turned_upright_and_cut_in_the_middle(tmp_path):
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = (255, 0, 0)  # the middle third
    pixels[:10, 20:40] = (0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    wide = read_image(tmp_path / "wide.png", (20, 20, 3))
    np.testing.assert_array_equal(wide, pixels[:, 20:40])
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: the camera was turned, show it a quarter turn clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png", (20, 20, 3)), np.rot90(pixels[:, 20:40], -1))


def test_a_colour_picture_for_a_grey_model(tmp_path):
    Image.new("RGB", (28, 28), (100, 100, 100)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", (14, 14, 1))
    assert image.shape == (14, 14, 1)
    assert (image == 100).all()


def test_folder_splits_itself_once_and_for_all(tmp_path):
    write_pictures(tmp_path, count=10)
    first, second = (load_dataset("folder", str(tmp_path)) for _ in range(2))
    assert (len(first.train), len(first.test)) == (16, 4)
    assert np.bincount(first.test.labels).tolist() == [2, 2]
    np.testing.assert_array_equal(first.test.images, second.test.images)
    assert first.train.images.shape[1:] == (64, 64, 3)


def test_folder_with_its_own_test_part(tmp_path):
    write_pictures(tmp_path / "train", count=4)
    write_pictures(tmp_path / "test", count=2)
    data = load_dataset("folder", str(tmp_path), image_size=8)
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4
    assert data.test.labels.tolist() == [0, 0, 1, 1]
    # The first class is red, the second green.
    assert (data.test.images.mean((1, 2)).argmax(-1) == data.test.labels).all()


def test_parts_with_different_classes(tmp_path):
    write_pictures(tmp_path / "train")
    write_pictures(tmp_path / "test", classes=("cat", "dog", "emu"))
    load_fails("folder", tmp_path, tmp_path, "same class folders", "emu")


def test_undecodable_pictures_are_named(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "dog/x.jpg").write_text("no picture")
    load_fails("folder", tmp_path, tmp_path / "dog/x.jpg", "does not decode", "delete or replace")


def test_truncated_picture_is_named(tmp_path):
    write_pictures(tmp_path)
    path = tmp_path / "dog/0.png"
    path.write_bytes(path.read_bytes()[:400])
    load_fails("folder", tmp_path, path, "does not decode")


def test_class_folder_without_pictures_is_named(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("no picture")
    load_fails("folder", tmp_path, tmp_path, "empty", ".png")


def test_one_class_only(tmp_path):
    write_pictures(tmp_path, classes=("cat",))
    load_fails("folder", tmp_path, tmp_path, "one class folder, 'cat'")


def test_folder_that_is_not_there(tmp_path):
    load_fails("folder", tmp_path / "nowhere", tmp_path / "nowhere")
    assert missing_files("folder", str(tmp_path / "nowhere")) == [tmp_path / "nowhere"]


def test_folder_without_folders(tmp_path):
    load_fails("folder", tmp_path, tmp_path, "Each class is a folder")


def test_folder_leaves_out_what_systems_and_tools_hide_there(tmp_path):
    write_pictures(tmp_path, classes=(".ipynb_checkpoints", "__MACOSX", "cat", "dog"))
    (tmp_path / "cat/._0.png").write_bytes(b"not a picture")
    data = load_dataset("folder", str(tmp_path), image_size=8)
    assert data.class_names == ["cat", "dog"]


def test_a_class_with_one_picture_leaves_it_for_training(tmp_path):
    write_pictures(tmp_path, classes=("cat", "dog"), count=5)
    (tmp_path / "emu").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "emu/one.png")
    data = load_dataset("folder", str(tmp_path))
    assert 2 in data.train.labels
    assert 2 not in data.test.labels


def test_a_hidden_folder_within_a_class_is_left_out(tmp_path):
    write_pictures(tmp_path, classes=("cat", "dog"), count=5)
    shutil.copytree(tmp_path / "cat", tmp_path / "cat/.ipynb_checkpoints")
    data = load_dataset("folder", str(tmp_path), image_size=8)
    assert len(data.train) + len(data.test) == 10


# ---- pixels of other kinds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_become_eight(tmp_path, kind, channels):
    levels = (np.arange(28 * 28).reshape(28, 28) * 83).astype(kind)
    Image.fromarray(levels).save(tmp_path / "deep.tif")
    found = read_image(tmp_path / "deep.tif", (28, 28, channels))
    np.testing.assert_array_equal(found, np.rint(levels / 257)[..., None].repeat(channels, -1))


def test_eight_bits_kept_in_sixteen_stay_as_they_are(tmp_path):
    levels = np.tile(np.array([0, 100, 200, 255], np.uint16), (8, 2))
    Image.fromarray(levels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", (8, 8, 1))[..., 0], levels)


@pytest.mark.parametrize("levels", [np.int32([[2**20]]), np.int32([[-5]]), np.float32([[0.5]])])
def test_pixels_without_a_known_white_are_refused(tmp_path, levels):
    Image.fromarray(np.tile(levels, (8, 8))).save(tmp_path / "a.tif")
    with pytest.raises(KcnnError, match="0 to 65535"):
        read_image(tmp_path / "a.tif", (8, 8, 1))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_is_white(tmp_path, mode):
    picture = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (5, 5, 15, 15))
    picture.convert(mode.replace("PA", "P")).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png", (20, 20, 1))[..., 0]
    expected = np.full((20, 20), 255)
    expected[5:15, 5:15] = 0
    np.testing.assert_array_equal(found, expected)


def test_white_on_a_transparent_ground_is_refused(tmp_path):
    picture = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    picture.paste((255, 255, 255, 255), (5, 5, 15, 15))
    picture.save(tmp_path / "a.png")
    with pytest.raises(KcnnError, match="white on a transparent ground"):
        read_image(tmp_path / "a.png", (20, 20, 1))


@pytest.mark.parametrize("alpha", [0, 255])
def test_an_empty_page_is_white(tmp_path, alpha):
    Image.new("RGBA", (20, 20), (255, 255, 255, alpha)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", (20, 20, 1)) == 255).all()


# ---- classes that change after training ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "cat").rename(folder / "zebra"), ("without cat and with zebra",)),
        (lambda folder: shutil.copytree(folder / "dog", folder / "emu"), ("2 classes", "have 3", "with emu")),
    ],
)
def test_other_classes_than_the_run_learned_are_refused(cli, tmp_path, change, words):
    folder, run = write_pictures(tmp_path / "pictures", count=8), tmp_path / "run"
    options = ("--model", "lenet5", "--dataset", "folder", "--data-dir", folder, "--image-size", 28)
    assert cli("train", *options, "--epochs", 1, "--run", run).exit_code == 0
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    change(folder)
    for command in (("evaluate", run), ("train", "--resume", run), ("plot", run, "--kind", "mistakes")):
        one_line_error(cli(*command), 1, *words, "use data with the same classes")
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
