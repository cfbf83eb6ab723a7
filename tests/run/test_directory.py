"""The run directory: it is one process's own, says what state it is in, and nothing of an earlier run is touched."""

import subprocess
import sys

import pytest

from kcnn.errors import KcnnError, UsageError
from kcnn.run.directory import FILES, RunDir
from kcnn.run.manifest import make_manifest


def names(folder):
    return sorted(path.name for path in folder.iterdir())


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


def test_the_advice_for_a_directory_with_a_run(tmp_path):
    run = RunDir.create(tmp_path / "my run", "x", "model = 'lenet5'\n")
    with pytest.raises(UsageError, match=r"Begin its run, .* kcnn train --resume '.*/my run', or name another"):
        RunDir.create(run.path, "x")
    run.last.touch()
    with pytest.raises(UsageError, match=r"Continue its run with: kcnn train --resume '.*/my run'"):
        RunDir.create(run.path, "x")
    assert run.recipe.read_text() == "model = 'lenet5'\n"


# Waits for a line, then makes directories: the default ones, or one that is named.
MAKE = """
import sys
from pathlib import Path
from kcnn.errors import UsageError
from kcnn.run.directory import RunDir
path = Path(sys.argv[1]) if sys.argv[1] else None
print(flush=True)
input()
for _ in range(1 if path else 25):
    try:
        print(RunDir.create(path, "a-b", f"# {sys.argv[2]}").path)
    except UsageError as error:
        print("taken")
"""


def race(folder, name):
    """What four processes get that ask at the same moment; [(process, directory)]."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": folder}
    processes = [subprocess.Popen([sys.executable, "-c", MAKE, name, str(number)], **pipes) for number in range(4)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [(number, line) for number, process in enumerate(processes) for line in process.communicate()[0].split()]


def test_no_two_processes_get_the_same_default_directory(tmp_path):
    made = race(tmp_path, "")
    assert len(made) == len({path for _, path in made}) == 100
    for number, path in made:
        assert (tmp_path / path / "recipe.toml").read_text() == f"# {number}"


@pytest.mark.parametrize("there", [False, True])
def test_one_process_alone_gets_a_directory_that_is_named(tmp_path, there):
    for name in ("one", "two", "three"):
        if there:
            (tmp_path / name).mkdir()
        made = [number for number, path in race(tmp_path, name) if path != "taken"]
        assert len(made) == 1
        assert names(tmp_path / name) == ["recipe.toml"]
        assert (tmp_path / name / "recipe.toml").read_text() == f"# {made[0]}"


def test_leftovers_of_killed_processes_are_removed_and_nothing_else(tmp_path):
    run = RunDir(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead = [tmp_path / f".{name}.{number}{name[name.index('.') :]}" for name in FILES for number in (4194305, 10**30)]
    kept = [
        tmp_path / name
        for name in (f".last.keras.{child.pid}.keras", ".last.keras.12a.keras", ".mine.keras.4194305.keras")
    ]
    kept += [tmp_path / name for name in ("last.keras", "a.last.keras.4194305.keras", ".last.keras.4194305.csv")]
    for path in (*dead, *kept):
        path.touch()
    run.clean()
    assert names(tmp_path) == sorted(path.name for path in kept)
    child.communicate(b"\n")
    run.clean()
    assert not kept[0].exists()


def test_a_directory_in_which_nothing_was_trained_is_withdrawn(tmp_path):
    run = RunDir.create(tmp_path / "run", "x", "# mine")
    run.manifest.touch()
    run.withdraw()
    assert not run.path.exists()
    run = RunDir.create(tmp_path / "run", "x", "# mine")
    (run.path / "notes.txt").touch()
    run.withdraw()
    assert names(run.path) == ["notes.txt", "recipe.toml"]


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
