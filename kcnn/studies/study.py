"""A study: a table of results, one TOML file. Read here, and checked whole before anything runs.

At the top `title`, `about`, `seeds` (how many, or a list), `base` (a shipped recipe's name, or a table of recipe keys)
and `own` (a table of keys). Each `[[row]]` has a `name`, the recipe keys that it changes, `reported` (an accuracy from
0 to 1, or words), `source`, `note`, and where they are needed:

- `recipe`: a shipped recipe's name, instead of `base`.
- `own`: keys that change kcnn's shipped recipe for the row's network and data; the row then runs with these too.
- `seeds`: other ones than the study's. `against`: the row of the paired test; else the first row.
- `weights_of`: the row above whose weights it starts from, seed by seed.
- `test_of`: the row above whose networks it tests once more, as the table `test` says (`augment`, `tta`).
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from kcnn.errors import KcnnError, UsageError, shown, unknown
from kcnn.recipes.recipe import Recipe

REPORTED, OWN = "reported", "own"
SETTINGS = {REPORTED: "at the reported settings", OWN: "kcnn's own recipe"}


@dataclass(frozen=True)
class Row:
    """A line of the table; `recipes` (with seed 0) are those of `SETTINGS` that it has, none for a row of tests."""

    name: str
    place: str  # its folder
    recipes: Mapping[str, Recipe]
    seeds: tuple[int, ...]
    reported: float | str | None = None
    source: str = ""
    note: str = ""
    against: str = ""
    weights_of: str = ""
    test_of: str = ""
    augment: Mapping[str, float] | None = None  # of the test images
    tta: str = ""


@dataclass(frozen=True)
class Study:
    """A table; `text` is its file."""

    name: str
    title: str
    about: str
    rows: Mapping[str, Row]
    text: str

    def settings(self, row: Row) -> tuple[str, ...]:
        """Which of `SETTINGS` the row runs with."""
        return tuple((self.rows[row.test_of] if row.test_of else row).recipes)

    @property
    def has_own(self) -> bool:
        """Whether some row has two columns."""
        return any(OWN in row.recipes for row in self.rows.values())


def shipped_studies() -> dict[str, Path]:
    """Name → file of the studies that come with kcnn."""
    folder = Path(str(resources.files("kcnn") / "studies"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_study(name: str) -> Study:
    """The shipped study of that name, or the one in a file.

    Raises:
        UsageError: an unknown name, or wrong contents.
        KcnnError: no such file, or not TOML.
    """
    shipped = shipped_studies()
    if name in shipped:
        return read_study(shipped[name])
    if name.endswith(".toml") or Path(name).exists():
        return read_study(Path(name))
    raise UsageError(unknown("study", name, shipped))


def read_study(path: Path, name: str = "") -> Study:
    """The study in a file; `name` if it is not the file's own.

    Raises:
        UsageError: naming all that is wrong at once.
        KcnnError: no such file, or not TOML.
    """
    from kcnn.studies.check import checked_study

    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except FileNotFoundError as error:
        raise KcnnError(f"There is no study file {path}.") from error
    except (ValueError, RecursionError) as error:
        raise KcnnError(f"{path} is not a TOML file: {shown(str(error), 200)}.") from error
    try:
        return checked_study(name or path.stem, values, text)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def folder_name(name: str) -> str:
    """A name made of what every file system takes; empty if nothing is left."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.")[:80]
