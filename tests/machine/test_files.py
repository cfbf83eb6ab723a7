"""Files are written whole or not at all, and a new name is one process's own."""

import json

import pytest

from kcnn.machine.files import atomic, claimed, new_folder, scratch, write_json, write_new, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def write_half():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.keras"
    path.write_text("old")
    with atomic(path) as temporary:
        assert temporary.suffix == ".keras"
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.keras"]


def test_write_json(tmp_path):
    write_json(tmp_path / "a.json", {"ü": [1, 2.5, None]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"ü": [1, 2.5, None]}


def test_a_new_file_is_never_written_over(tmp_path):
    write_new(tmp_path / "a.txt", "first")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a.txt", "second")
    assert (tmp_path / "a.txt").read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


def test_a_file_system_without_hard_links(tmp_path, monkeypatch):
    def refused(source, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refused)
    test_a_new_file_is_never_written_over(tmp_path)


def test_a_claimed_name_is_free_again_if_nothing_was_written(tmp_path):
    path = tmp_path / "deep" / "a.csv"
    with claimed(path), pytest.raises(FileExistsError), claimed(path):
        pass
    assert names(path.parent) == []
    with claimed(path):
        write_text(path, "mine")
    assert path.read_text() == "mine"


def test_scratch_is_gone_after_the_block(tmp_path):
    with scratch() as folder:
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "c").write_text("much")
    assert not folder.exists()


def test_a_new_folder_has_its_file_from_the_first_moment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(new_folder(None, "x", "f", str(i))) for i in range(3)] == ["runs/x", "runs/x-2", "runs/x-3"]
    assert (tmp_path / "runs/x-3/f").read_text() == "2"
    (tmp_path / "runs/x-4").mkdir()
    assert str(new_folder(None, "x", "f", "")) == "runs/x-5"  # it may be another process's
    with pytest.raises(FileExistsError):
        new_folder(tmp_path / "runs/x", "x", "f", "")


def test_runs_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").touch()
    with pytest.raises(FileExistsError, match="runs"):
        new_folder(None, "x", "f", "")
