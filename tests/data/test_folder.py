"""One's own pictures: what is read, how it becomes bytes, and each kind of damage named in one sentence."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from helpers import load_fails, one_line_error, write_pictures
from kcnn.data.picture_files import endings
from kcnn.data.registry import load_dataset, missing_files
from kcnn.recipes.files import read_recipe


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


def test_folder_splits_itself_once_and_for_all(tmp_path):
    write_pictures(tmp_path, count=10)
    first, second = (load_dataset("folder", str(tmp_path)) for _ in range(2))
    assert len(first.train) + len(first.test) == 20
    assert 0 < len(first.test) < 10
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


# ---- which files, and what if some are bad ---------------------------------------------------------------------------


def test_what_pillow_reads_is_read(tmp_path):
    write_pictures(tmp_path, count=6)
    picture = Image.open(tmp_path / "cat/0.png")
    kinds = [kind for kind in ("jfif", "jpe", "avif", "tga", "jp2", "PNM", "qoi") if f".{kind.lower()}" in endings()]
    assert len(kinds) >= 5  # an older Pillow has no AVIF and no QOI
    for ending in kinds:
        kind = {"jfif": "JPEG", "jpe": "JPEG", "PNM": "PPM"}.get(ending)
        picture.save(tmp_path / "cat" / f"x.{ending}", **({"format": kind} if kind else {}))
    for ending in ("pdf", "eps", "mpg", "ico", "psd"):
        (tmp_path / "cat" / f"y.{ending}").write_bytes(b"x")
    data = load_dataset("folder", str(tmp_path), image_size=16)
    assert len(data.train) + len(data.test) == 12 + len(kinds)


def bad_pictures(folder, count):
    for number in range(count):
        (folder / f"bad{number:02}.jpg").write_bytes(b"" if number % 2 else b"no picture")


def test_all_bad_pictures_are_named_at_once(tmp_path):
    write_pictures(tmp_path, count=6)
    bad_pictures(tmp_path / "cat", 7)
    bad_pictures(tmp_path / "dog", 6)
    names = [f"bad{number:02}.jpg" for number in range(5)]
    load_fails("folder", tmp_path, "13 bad pictures", *names, "is empty (0 bytes)", "and 3 more", "--skip-bad")


def test_bad_pictures_are_skipped(tmp_path, capsys):
    write_pictures(tmp_path, count=6)
    good = load_dataset("folder", str(tmp_path), image_size=8)
    bad_pictures(tmp_path / "cat", 3)
    data = load_dataset("folder", str(tmp_path), image_size=8, skip_bad=True)
    for part in ("train", "test"):
        np.testing.assert_array_equal(getattr(data, part).images, getattr(good, part).images)
        np.testing.assert_array_equal(getattr(data, part).labels, getattr(good, part).labels)
    said = capsys.readouterr().err
    assert "left out 3 bad pictures" in said
    assert "bad02.jpg" in said


def test_a_class_of_bad_pictures_only(tmp_path):
    write_pictures(tmp_path, count=6)
    (tmp_path / "emu").mkdir()
    bad_pictures(tmp_path / "emu", 3)
    load_fails("folder", tmp_path, "No good picture is left", "emu", skip_bad=True)


def test_training_without_the_bad_ones(cli, tmp_path):
    folder, run = write_pictures(tmp_path / "pictures", count=8), tmp_path / "run"
    bad_pictures(folder / "cat", 2)
    command = ("train", "--model", "lenet5", "--dataset", folder, "--image-size", 28, "--epochs", 1, "--run", run)
    one_line_error(cli(*command), 1, "2 bad pictures", "bad00.jpg", "bad01.jpg")
    assert not run.exists()
    outcome = cli(*command, "--skip-bad")
    assert outcome.exit_code == 0, outcome.output
    assert "left out 2 bad pictures" in outcome.stderr
    assert "skip_bad = true" in (run / "recipe.toml").read_text()
    assert cli("evaluate", run).exit_code == 0


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    write_pictures(tmp_path / "photos", count=5)
    write_pictures(tmp_path / "elsewhere", classes=("more",), count=3)
    (tmp_path / "photos/cat/link").symlink_to(tmp_path / "elsewhere/more")
    (tmp_path / "photos/cat/up").symlink_to(tmp_path / "photos/cat")
    (tmp_path / "photos/cat/all").symlink_to(tmp_path / "photos")
    data = load_dataset("folder", str(tmp_path / "photos"), image_size=8)
    labels = np.concatenate([data.train.labels, data.test.labels])
    assert np.bincount(labels).tolist() == [5 + 3 + 5, 5]  # cat/all/dog lies below cat too


# ---- a path is a data set --------------------------------------------------------------------------------------------


def test_a_path_is_a_data_set(cli, tmp_path, monkeypatch):
    write_pictures(tmp_path / "photos", count=8)
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("photos", "./photos", tmp_path / "photos")):
        run = tmp_path / f"run{number}"
        options = ("--model", "lenet5", "--image-size", 28, "--epochs", 1, "--run", run)
        assert cli("train", "--dataset", name, *options).exit_code == 0
        recipe = read_recipe(run / "recipe.toml")
        assert (recipe.dataset, recipe.data_dir) == ("folder", str(tmp_path / "photos"))
    rows = json.loads(cli("predict", run, "--dataset", "photos", "--json").stdout)
    assert {row["true"] for row in rows} <= {"cat", "dog"}
    assert cli("data", "./photos", "-o", "grid.png").exit_code == 0
    one_line_error(cli("train", "--dataset", "./photo"), 1, "photo is not there")
    one_line_error(cli("train", "--dataset", "./photos", "--data-dir", "x"), 2, "leave out --data-dir")
    one_line_error(cli("train", "--dataset", "photo"), 2, "unknown data set")


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
    (run / "result.json").unlink()  # as of a run that was stopped before its end
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    change(folder)
    for command in (("evaluate", run), ("train", "--resume", run), ("plot", run, "--kind", "mistakes")):
        one_line_error(cli(*command), 1, *words, "use data with the same classes")
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
