"""What a study has to do: each row with each of its settings and seeds is a task with a place of its own."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from kcnn.errors import KcnnError, UsageError, unknown
from kcnn.recipes.files import read_recipe
from kcnn.recipes.recipe import Recipe
from kcnn.run.directory import RunDir
from kcnn.run.history import read_history
from kcnn.run.result import read_result
from kcnn.studies.scaling import scale_epochs
from kcnn.studies.study import OWN, REPORTED, SETTINGS, Row, Study

# Where the data lie and what computes do not make another run.
ELSEWHERE = ("data_dir", "device", "tensorboard")
PLACE = re.compile(r"(own-)?seed(\d+)(?:-x([0-9.e+-]+?))?(?:\.toml|\.failed)?")
NEW, UNFINISHED, FINISHED, BLOCKED = "not begun", "unfinished", "finished", "blocked"


@dataclass(frozen=True)
class Task:
    """One row, one of `SETTINGS`, one seed: an ordinary run directory at `path`, or another test of such a run.

    `source` is the task whose run is tested again, or whose weights are the start.
    """

    row: Row
    settings: str
    seed: int
    scale: float
    recipe: Recipe
    path: Path
    source: "Task | None" = None

    @property
    def recipe_file(self) -> Path:
        """Where the recipe lies before the run begins."""
        return self.path.with_name(f"{self.path.name}.toml")

    @property
    def failure_file(self) -> Path:
        """Where the last line of a failed try is kept."""
        return self.path.with_name(f"{self.path.name}.failed")

    @property
    def title(self) -> str:
        """For people."""
        own = f" ({SETTINGS[OWN]})" if self.settings == OWN else ""
        return f"{self.row.name}{own}, seed {self.seed}"


@dataclass(frozen=True)
class State:
    """How far a task is: one of the four words, finished epochs, and why the last try failed or none can be made."""

    kind: str
    epochs: int = 0
    reason: str = ""


def plan_tasks(
    study: Study,
    folder: Path,
    rows: Sequence[str] = (),
    settings: str = "",
    seeds: Sequence[int] = (),
    scale: float = 1.0,
    changes: Mapping[str, Any] | None = None,
) -> list[Task]:
    """The tasks of a study, each after the one that it stands on.

    Args:
        rows: names or patterns; rows that these stand on come along. None: all.
        settings: one of `SETTINGS`, or "" for all that a row has.
        seeds: instead of those of the rows.
        scale: a factor on all epochs.
        changes: recipe keys of this machine, such as `data_dir`, for every row.

    Raises:
        UsageError: a pattern that no row matches, or no row with these settings.
    """
    chosen = _chosen(study, rows)
    tasks = [
        _task(study, folder, row, kind, seed, scale, changes or {})
        for row in study.rows.values()
        if row.name in chosen
        for kind in study.settings(row)
        if settings in ("", kind)
        for seed in seeds or _trained(study, row).seeds
    ]
    if not tasks:
        raise UsageError(f"None of these rows has settings {settings!r}: `kcnn study show {study.name}` lists them.")
    return tasks


def found_tasks(study: Study, folder: Path) -> list[Task]:
    """The tasks that a study's directory has begun, in the order of the table."""
    tasks = []
    for row in study.rows.values():
        matches = [PLACE.fullmatch(path.name) for path in (folder / row.place).glob("*")]
        places = {(OWN if m[1] else REPORTED, float(m[3] or 1), int(m[2])) for m in matches if m}
        for kind, scale, seed in sorted(places, key=lambda place: (place[0] == OWN, -place[1], place[2])):
            if kind in study.settings(row):
                task = _task(study, folder, row, kind, seed, scale, {})
                tasks.append(_task(study, folder, row, kind, seed, scale, _computed_with(task)))
    return tasks


def _computed_with(task: Task) -> dict[str, str]:
    """The precision and backend that a run was asked for on this machine, beside what the study says."""
    run = RunDir((task.source if task.row.test_of and task.source else task).path)
    try:
        found = read_recipe(run.recipe)
        return {"precision": found.precision, "backend": found.backend}
    except KcnnError:  # not there, or damaged
        return {}


def state_of(task: Task) -> State:
    """How far it is; `BLOCKED` where something else or something damaged lies in its place."""
    try:
        return _test_state(task) if task.row.test_of else _run_state(task)
    except KcnnError as error:
        return State(BLOCKED, reason=str(error))


def _test_state(task: Task) -> State:
    kept = RunDir(task.path).predictions
    return State(FINISHED) if kept.exists() and kept.stat().st_size else State(NEW, reason=_last_failure(task))


def _run_state(task: Task) -> State:
    if not task.path.exists() or (task.path.is_dir() and not any(task.path.iterdir())):
        return State(NEW, reason=_last_failure(task))
    run = RunDir.open(task.path)
    if changed := _difference(read_recipe(run.recipe), task):
        raise KcnnError(f"{task.path} is a run with {changed}: move it, or use another directory with -o.")
    epochs = finished_epochs(run)
    try:
        return State(FINISHED, epochs) if finished_result(run) else State(UNFINISHED, epochs, _last_failure(task))
    except KcnnError as error:  # resuming the run writes its result anew
        return State(UNFINISHED, epochs, str(error))


def finished_epochs(run: RunDir) -> int:
    """How many epochs a run has in its log, which another process may be writing."""
    try:
        return read_history(run).epochs
    except KcnnError:
        return 0


def finished_result(run: RunDir) -> dict[str, Any]:
    """What is in `result.json` of a finished run; empty for another one.

    Raises:
        KcnnError: it is damaged.
    """
    return read_result(run, finished_epochs(run))


def _last_failure(task: Task) -> str:
    """Why the last try failed, if it did."""
    try:
        return task.failure_file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _difference(found: Recipe, task: Task) -> str:
    """The settings of a run that are not the task's, in words."""
    ignored = (*ELSEWHERE, *(["weights"] if task.source else []))
    values, wanted = asdict(found), asdict(task.recipe)
    keys = [key for key in values if key not in ignored and values[key] != wanted[key]]
    more = f" and {len(keys) - 2} more" if len(keys) > 2 else ""
    return ", ".join(f"{key} = {values[key]!r} instead of {wanted[key]!r}" for key in keys[:2]) + more


def _chosen(study: Study, patterns: Sequence[str]) -> set[str]:
    """The names of the rows that match, and of those that they stand on."""
    names = set()
    for pattern in patterns or ["*"]:
        matches = [row.name for row in study.rows.values() if _matches(row, pattern)]
        if not matches:
            raise UsageError(f"No row of {study.name} matches: {unknown('row', pattern, study.rows)}")
        names.update(matches)
    return names | {source for name in names for source in _sources(study, study.rows[name])}


def _matches(row: Row, pattern: str) -> bool:
    return pattern in (row.name, row.place) or fnmatchcase(row.name, pattern)


def _sources(study: Study, row: Row) -> Iterator[str]:
    """The rows that a row stands on, and those that they stand on."""
    if source := row.test_of or row.weights_of:
        yield source
        yield from _sources(study, study.rows[source])


def _trained(study: Study, row: Row) -> Row:
    """The row whose training a row is about."""
    return study.rows[row.test_of] if row.test_of else row


def _task(
    study: Study, folder: Path, row: Row, settings: str, seed: int, scale: float, changes: Mapping[str, Any]
) -> Task:
    name = row.test_of or row.weights_of
    source = _task(study, folder, study.rows[name], settings, seed, scale, changes) if name else None
    recipe = scale_epochs(_trained(study, row).recipes[settings], scale).replace(seed=seed, **changes)
    places = {
        key: os.path.abspath(os.path.expanduser(value)) for key in ("data_dir",) if (value := getattr(recipe, key))
    }
    if source and row.weights_of:
        places["weights"] = os.path.abspath(source.path)
    path = folder / row.place / _place(settings, seed, scale)
    return Task(row, settings, seed, scale, recipe.replace(**places), path, source)


def _place(settings: str, seed: int, scale: float) -> str:
    shorter = "" if scale == 1 else f"-x{scale:g}"
    return f"{'own-' if settings == OWN else ''}seed{seed}{shorter}"
