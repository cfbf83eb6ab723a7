"""Which images names, folders and patterns mean."""

import shutil

import pytest

from helpers import write_pictures
from kcnn.errors import KcnnError
from kcnn.results.selection import find_images


@pytest.fixture
def photos(tmp_path, monkeypatch):
    write_pictures(tmp_path / "photos", count=2)
    for name in ("Thumbs.db", "cat/x.heic", "cat/.hidden.png"):
        (tmp_path / "photos" / name).write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


ALL = ["photos/cat/0.png", "photos/cat/1.png", "photos/dog/0.png", "photos/dog/1.png"]


@pytest.mark.parametrize(
    "name", ["photos", "photos/", "./photos", "photos/*", "photos/*/*", "photos/**", "photos/**/*"]
)
def test_folders_and_patterns_find_the_same(photos, name):
    assert [str(path) for path in find_images([name]).pictures] == ALL


def test_other_files_are_counted(photos):
    assert [path.name for path in find_images(["photos"]).others] == ["Thumbs.db", "x.heic"]
    assert [path.name for path in find_images(["photos/*/*"]).others] == ["x.heic"]
    assert [path.name for path in find_images(["photos/**/*"]).others] == ["Thumbs.db", "x.heic"]


def test_an_absolute_pattern(photos):
    assert len(find_images([f"{photos}/c*/*.png"]).pictures) == 2


def test_a_name_with_the_signs_of_a_pattern(photos):
    shutil.copy(photos / "cat/0.png", photos / "a[1]*.png")
    assert [path.name for path in find_images(["photos/a[1]*.png"]).pictures] == ["a[1]*.png"]


def test_links_to_folders_are_followed_but_not_in_circles(photos, tmp_path):
    write_pictures(tmp_path / "elsewhere", classes=("more",), count=2)
    (photos / "link").symlink_to(tmp_path / "elsewhere/more")
    for name in ("photos/up", "photos/again", "photos/dog/up", "photos/dog/self"):
        (tmp_path / name).symlink_to(photos)
    (photos / "dog/self2").symlink_to(photos / "dog")
    found = [str(path) for path in find_images(["photos"]).pictures]
    assert sorted(found[:2] + found[-4:]) == sorted({*found})  # each once
    assert {path.rsplit("/", 1)[0].rsplit("/", 1)[-1] for path in found} == {"cat", "dog", "link"}
    assert len(found) == 6
    assert len(find_images(["photos/**/*.png"]).pictures) == 4  # `**` goes through no links


def test_runs_are_no_pictures(photos):
    for run in ("runs/a", "runs/b"):
        (photos / run).mkdir(parents=True)
        (photos / run / "recipe.toml").write_text("")
        shutil.copy(photos / "cat/0.png", photos / run / "curves.png")
    for name in ("photos", "photos/*"):
        assert [str(path) for path in find_images([name]).pictures] == ALL


@pytest.mark.parametrize("name", ["none.png", "none/*.png", "", "a**b", "photos/*.db", "\0"])
def test_names_that_match_nothing(photos, name):
    with pytest.raises(KcnnError, match="no pattern that matches any") as caught:
        find_images(["photos", name])
    assert ("Passed over: 1 file that is no picture (1 .db)" in str(caught.value)) == name.endswith("db")
