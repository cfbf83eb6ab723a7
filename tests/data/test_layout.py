"""Parts and classes of a folder: every layout that people have, and one sentence for those that make no sense."""

import shutil

import pytest

from helpers import one_line_error, write_pictures
from kcnn.data.layout import draw_test, list_pictures
from kcnn.errors import KcnnError


def sizes(root):
    listing = list_pictures(root)
    return {
        part: None if (samples := getattr(listing, part)) is None else len(samples)
        for part in ("train", "validation", "test")
    }


def refused(root, *words):
    with pytest.raises(KcnnError) as caught:
        list_pictures(root)
    assert "\n" not in str(caught.value)
    for word in words:
        assert str(word) in str(caught.value), str(caught.value)


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize("validation", ["", "val", "VALID", "Validation"])
@pytest.mark.parametrize("test", ["", "Test"])
def test_parts_in_any_combination_and_letter_case(tmp_path, train, validation, test):
    for name, count in ((train, 10), (validation, 3), (test, 2)):
        if name:
            write_pictures(tmp_path / name, count=count)
    found = sizes(tmp_path)
    assert list_pictures(tmp_path).class_names == ["cat", "dog"]
    assert found["validation"] == (6 if validation else None)
    assert found["test"] == 4 if test else 0 < found["test"] < 10
    assert found["train"] + (0 if test else found["test"]) == 20


def test_a_class_may_be_called_train(tmp_path):
    write_pictures(tmp_path, classes=("bus", "car", "train"))
    assert list_pictures(tmp_path).class_names == ["bus", "car", "train"]
    assert any("train is taken for a class" in note for note in list_pictures(tmp_path).notes)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("test",), ("only test", "nothing to train on")),
        (("val", "test"), ("only test, val", "nothing to train on")),
        (("train", "val", "valid"), ("val and valid", "both mean the validation part")),
        (("train", "Train", "test"), ("Train and train", "both mean the train part")),
    ],
)
def test_parts_that_do_not_go_together(tmp_path, parts, words):
    for part in parts:
        write_pictures(tmp_path / part)
    refused(tmp_path, tmp_path, *words)


def test_an_empty_train_folder(tmp_path):
    write_pictures(tmp_path / "val")
    (tmp_path / "train").mkdir()
    refused(tmp_path, tmp_path / "train", "no folders in it", "Each class is a folder")


def test_classes_that_differ_between_parts_are_all_named(tmp_path):
    write_pictures(tmp_path / "train", classes=("cat", "dog", "emu"))
    write_pictures(tmp_path / "val", classes=("cat", "dog"))
    write_pictures(tmp_path / "test", classes=("cat", "dog", "emu", "fox"))
    refused(tmp_path, "same class folders", "val lacks emu", "test also has fox")


def test_numbers_are_in_the_order_of_numbers(tmp_path):
    write_pictures(tmp_path / "a", classes=("10", "2", "1"), count=1)
    write_pictures(tmp_path / "b", classes=("10", "2", "x1"), count=1)
    for name, order in (("a", ["1", "2", "10"]), ("b", ["10", "2", "x1"])):
        write_pictures(tmp_path / f"{name}2/test", classes=order, count=1)
        shutil.copytree(tmp_path / name, tmp_path / f"{name}2/train")
        assert list_pictures(tmp_path / f"{name}2").class_names == order


def test_other_files_and_folders_are_told(tmp_path):
    write_pictures(tmp_path / "train", count=10)
    write_pictures(tmp_path / "val")
    write_pictures(tmp_path / "more", classes=("x",))
    for name in ("a.HEIC", "b.heic", "Thumbs.db", "README", ".DS_Store"):
        (tmp_path / "train/cat" / name).write_text("x")
    shutil.copy(tmp_path / "val/cat/0.png", tmp_path / "val/loose.png")
    (note,) = list_pictures(tmp_path).notes
    kinds = ("4 files that are no pictures", "2 .heic", "1 .db", "1 without an ending")
    for words in (*kinds, "1 picture in no class folder", "the folder more"):
        assert words in note


def test_nothing_passed_over_is_nothing_said(tmp_path):
    write_pictures(tmp_path, count=10)
    assert list_pictures(tmp_path).notes == []


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_no_folder(tmp_path, kind):
    path = tmp_path / "photos"
    if kind == "file":
        path.write_text("x")
    refused(path, path, "--data-dir", "is a file" if kind == "file" else "is not there")
    with pytest.raises(KcnnError) as caught:
        list_pictures(path)
    assert str(caught.value).count(str(path)) == 1
    assert "Errno" not in str(caught.value)


# ---- the test part that no folder names ------------------------------------------------------------------------------


def test_pictures_added_later_move_none(tmp_path):
    root = write_pictures(tmp_path, count=40, size=(4, 4))
    before = list_pictures(root)
    assert 8 < len(before.test) < 25
    for number in range(40, 80):
        for name in ("cat", "dog"):
            shutil.copy(root / name / "0.png", root / name / f"{number}.png")
    after = list_pictures(root)
    assert set(before.test) <= set(after.test)
    assert set(before.train) <= set(after.train)


def test_a_train_folder_draws_the_same_as_classes_alone(tmp_path):
    write_pictures(tmp_path / "a", count=20, size=(4, 4))
    write_pictures(tmp_path / "b/train", count=20, size=(4, 4))
    alone, within = ([path.parts[-2:] for path, _ in list_pictures(tmp_path / name).test] for name in "ab")
    assert alone == within


@pytest.mark.parametrize("count", [2, 3, 5])
def test_few_pictures_leave_something_for_both_parts(tmp_path, count):
    root = write_pictures(tmp_path, classes=[f"class {index}" for index in range(4)], count=count, size=(4, 4))
    listing = list_pictures(root)
    assert {name for _, name in listing.train} == set(listing.class_names)
    assert listing.test
    untested = set(listing.class_names) - {name for _, name in listing.test}
    assert all(any(name in note for note in listing.notes) for name in untested)


def test_one_picture_a_class_has_advice(tmp_path):
    refused(write_pictures(tmp_path, count=1), "one picture a class", "add pictures", "train and test")


def test_the_part_depends_on_the_name_alone(tmp_path):
    samples = [(tmp_path / f"cat/{number}.png", "cat") for number in range(50)]
    _, test = draw_test(samples, tmp_path)
    _, other = draw_test(
        [(tmp_path / "x" / path.relative_to(tmp_path), name) for path, name in samples[::-1]], tmp_path / "x"
    )
    assert sorted(path.name for path, _ in test) == sorted(path.name for path, _ in other)


# ---- kcnn's own folders ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "own", ["runs/", "runs/lenet5-folder/", "runs/a/recipe.toml", "x/y/z/recipe.toml", "runs/c/torch/recipe.toml"]
)
def test_runs_are_no_class(tmp_path, own):
    root = write_pictures(tmp_path, count=10)
    path = root / own
    (path if own.endswith("/") else path.parent).mkdir(parents=True)
    if not own.endswith("/"):
        path.write_text("")
        shutil.copy(root / "cat/0.png", path.parent / "curves.png")
    if "torch" in own:
        (root / "runs/c/compare.toml").write_text("")
        shutil.copy(root / "cat/0.png", root / "runs/c/compare.png")
    assert list_pictures(root).class_names == ["cat", "dog"]


@pytest.mark.parametrize("deeper", ["", "2026"])
def test_a_run_in_a_class_is_left_out_of_it(tmp_path, deeper):
    root = write_pictures(tmp_path, count=10)
    if deeper:
        shutil.move(root / "cat", root / deeper)
        (root / "cat").mkdir()
        shutil.move(root / deeper, root / "cat")
    (root / "cat/run").mkdir()
    (root / "cat/run/recipe.toml").write_text("")
    shutil.copy(root / "dog/0.png", root / "cat/run/curves.png")
    listing = list_pictures(root)
    assert listing.class_names == ["cat", "dog"]
    assert len(listing.train) + len(listing.test) == 20


def test_training_where_the_pictures_are(cli, tmp_path, monkeypatch):
    """`kcnn train --data-dir .`: a failure leaves nothing, the second run does not learn the first."""
    monkeypatch.chdir(write_pictures(tmp_path / "photos", count=10))
    command = (
        "train",
        "--model",
        "lenet5",
        "--dataset",
        "folder",
        "--data-dir",
        ".",
        "--image-size",
        28,
        "--epochs",
        1,
    )
    (tmp_path / "photos/cat/bad.png").write_text("x")
    one_line_error(cli(*command), 1, "bad.png")
    one_line_error(cli(*command, "--run", "deep/er"), 1, "bad.png")
    assert sorted(path.name for path in (tmp_path / "photos").iterdir()) == ["cat", "dog"]
    (tmp_path / "photos/cat/bad.png").unlink()
    for options in ((), (), ("--run", "here")):
        outcome = cli(*command, *options)
        assert outcome.exit_code == 0, outcome.output
        assert "passed over" not in outcome.stderr
    for run in ("runs/lenet5-folder", "runs/lenet5-folder-2", "here"):
        assert cli("evaluate", run).stdout.count("\ncat") == 2  # scores and confusion
        assert "here" not in cli("evaluate", run).stdout
