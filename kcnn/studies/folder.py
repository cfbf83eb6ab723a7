"""The directory of a study: `study.toml`, a copy of what it began with, and a folder for each row."""

import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kcnn.errors import KcnnError, UsageError, command
from kcnn.machine.files import write_new
from kcnn.studies.study import Study, read_study, shipped_studies

COPY = "study.toml"


def begin(study: Study, folder: Path) -> None:
    """Make the study's directory, or make sure that it is this study's own; nothing in it changes.

    Raises:
        UsageError: it holds something else, another study, or this one as it was before a change.
    """
    copy = folder / COPY
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # another process begins it at this moment
            write_new(copy, study.text)
    if not copy.is_file():
        raise UsageError(f"{folder} already exists and is no study's directory: name another one with -o.")
    before = read_study(copy)
    values = [tomllib.loads(text) for text in (before.text, study.text)]
    if values[0] == values[1]:
        return
    if before.title != study.title and (before.title != COPY.removesuffix(".toml") or "title" in values[1]):
        raise UsageError(f"{folder} is the directory of another study, {before.title!r}: name another one with -o.")
    raise UsageError(
        f"The study has changed since {folder} began: {_changes(*values)}. Name another directory with -o, "
        f"or go on as it was: {command('study', 'run', copy, '-o', folder)}"
    )


def open_folder(folder: Path) -> Study:
    """The study whose directory this is; a shipped one by its name, another one by the path of the copy.

    Raises:
        KcnnError: it is none.
    """
    copy = folder / COPY
    if not copy.is_file():
        raise KcnnError(f"{folder} is not the directory of a study: it has no {COPY}. `kcnn study run` makes one.")
    study = read_study(copy, str(copy))
    same = (path for path in shipped_studies().values() if path.read_text(encoding="utf-8") == study.text)
    return next((read_study(path) for path in same), study)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs, in a few words."""
    rows = [{str(row.get("name")): row for row in values["row"]} for values in (before, now)]
    keys = [key for key in {**before, **now} if key != "row" and before.get(key) != now.get(key)]
    names = [name for name in {**rows[0], **rows[1]} if rows[0].get(name) != rows[1].get(name)]
    words = [f"row {name!r}" for name in names] + keys
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return (", ".join(words[:3]) or "the order of its rows") + more
