"""The run directory: files are written whole or not at all, and nothing of an earlier run is touched."""

import json
import sys

import pytest

from kcnn.errors import KcnnError, UsageError
from kcnn.machine.files import atomic, write_json, write_text
from kcnn.run.directory import RunDir
from kcnn.run.manifest import make_manifest


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


def test_default_directories_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(RunDir.create(None, "a-b").path) for _ in range(3)] == ["runs/a-b", "runs/a-b-2", "runs/a-b-3"]


def test_a_named_directory_may_exist_if_it_is_empty(tmp_path):
    (tmp_path / "run").mkdir()
    assert RunDir.create(tmp_path / "run", "x").path == tmp_path / "run"
    deep = RunDir.create(tmp_path / "a/b/c", "x")
    assert deep.path.is_dir()


def test_a_full_directory_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(UsageError, match="already exists") as caught:
            RunDir.create(path, "x")
        assert str(path) in str(caught.value)
        assert "--run" in str(caught.value)
    assert names(tmp_path) == ["notes.txt"]


def test_open(tmp_path):
    with pytest.raises(KcnnError, match="There is no run directory"):
        RunDir.open(tmp_path / "none")
    with pytest.raises(KcnnError, match=r"no recipe\.toml"):
        RunDir.open(tmp_path)
    (tmp_path / "recipe.toml").touch()
    run = RunDir.open(tmp_path)
    with pytest.raises(KcnnError, match=r"no checkpoint \(best.keras or last.keras\)"):
        run.checkpoint()
    run.last.touch()
    assert run.checkpoint() == run.last
    run.best.touch()
    assert run.checkpoint() == run.best


def test_manifest_tells_how_to_repeat_the_run(monkeypatch):
    import keras

    monkeypatch.setattr(sys, "argv", ["kcnn", "train", "--epochs", "2"])
    found = make_manifest(3, "cpu")
    assert found["command"] == "kcnn train --epochs 2"
    assert (found["seed"], found["device"]) == (3, "cpu")
    assert found["versions"]["keras"] == keras.__version__
    assert found["started"].endswith("+00:00")
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
