"""Writing files so that nothing is lost, half written, or written over."""

import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from kcnn.machine.stopping import ending


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to, flushed and renamed at the end, or removed if that fails."""
    with _temporary(path) as temporary:
        yield temporary
        _flush(temporary)
        temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, in UTF-8; file names in it that are none stay the bytes that they are."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_new(path: Path, text: str) -> None:
    """Write a text file whole or not at all where there is none; of several processes one alone succeeds.

    Raises:
        FileExistsError: there is one.
    """
    with _temporary(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
        _flush(temporary)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with path.open("x", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text)


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Keep a new file's name for this process while the block runs: an empty file, to be written over.

    It is removed at the end if it is still empty.

    Raises:
        FileExistsError: the name is taken.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(exist_ok=False)
    with ending(partial(_remove_if_empty, path)):
        yield


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for files that nobody needs after the block."""
    folder = Path(tempfile.mkdtemp(prefix="kcnn-"))
    with ending(partial(shutil.rmtree, folder, ignore_errors=True)):
        yield folder


def new_folder(path: Path | None, name: str, file: str, text: str) -> Path:
    """A folder of this process's own with one file in it, whose making is the claim: of several processes one has it.

    Args:
        path: a new or an empty folder; None for the first free of runs/NAME, runs/NAME-2, …

    Raises:
        FileExistsError: `path` is a file, or a folder that is not empty.
    """
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise FileExistsError(17, "File exists", str(path))
        write_new(path / file, text)
        return path
    Path("runs").mkdir(exist_ok=True)
    folders = (Path("runs", f"{name}-{number}" if number > 1 else name) for number in itertools.count(1))
    return next(folder for folder in folders if _claim(folder, file, text))


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove the folders one after another, up to the first that holds something."""
    with suppress(OSError):  # it is not empty, or somebody else was faster
        for folder in folders:
            folder.rmdir()


def remove_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Remove the temporary files with which killed processes were writing files of these names."""
    kinds = "|".join(re.escape(name) for name in names)
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        found = re.fullmatch(rf"\.({kinds})\.(\d+)(\.\w+)", path.name)
        if found and found[1].endswith(found[3]) and not _alive(int(found[2])):
            path.unlink(missing_ok=True)


def _claim(folder: Path, file: str, text: str) -> bool:
    try:
        folder.mkdir()
        write_new(folder / file, text)
    except FileExistsError:
        return False
    return True


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    with ending(partial(temporary.unlink, missing_ok=True)):
        yield temporary


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove_if_empty(path: Path) -> None:
    if path.exists() and not path.stat().st_size:
        path.unlink()


def _alive(process: int) -> bool:
    """Whether another process of this number runs; this one's own number was, in a container, a killed one's too."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return process != os.getpid()
