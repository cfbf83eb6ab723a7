"""What has come out: the lines of a report, from a study's directory or from single runs. Needs no keras."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from kcnn.compare.runs import short_names
from kcnn.errors import KcnnError, command
from kcnn.recipes.files import read_recipe
from kcnn.results.kept import Predictions, read_predictions
from kcnn.run.directory import RunDir
from kcnn.studies.command import task_command, train_command
from kcnn.studies.paired import Paired, compare_paired
from kcnn.studies.study import REPORTED, Row, Study, folder_name
from kcnn.studies.tasks import FINISHED, Task, finished_result, found_tasks, state_of


@dataclass(frozen=True)
class Outcome:
    """What one finished run, or test of one, has come to; None where that is not known.

    `run` is what was trained; `kept` what it said of each test image.
    """

    seed: int
    run: RunDir
    accuracy: float
    kept: Predictions | None = None
    validation: float | None = None
    epochs: int | None = None
    seconds: float | None = None
    pflop: float | None = None


@dataclass(frozen=True)
class Line:
    """A row with one of its settings and one scale of the epochs, over its seeds."""

    row: Row
    settings: str
    scale: float
    planned_epochs: int | None
    command: str
    outcomes: Sequence[Outcome] = ()
    failures: Sequence[str] = ()
    paired: Paired | None = None

    def mean(self, key: str = "accuracy") -> float | None:
        """Over the seeds for which it is known."""
        values = [value for outcome in self.outcomes if (value := getattr(outcome, key)) is not None]
        return fmean(values) if values else None

    @property
    def std(self) -> float | None:
        """The sample standard deviation of the test accuracy, from two seeds on."""
        return stdev(outcome.accuracy for outcome in self.outcomes) if len(self.outcomes) > 1 else None

    @property
    def difference(self) -> float | None:
        """The mean test accuracy less the reported one."""
        mean = self.mean()
        return None if mean is None or not isinstance(self.row.reported, float) else mean - self.row.reported


@dataclass(frozen=True)
class Report:
    """A table with what belongs to it. `two_columns`: its rows ran with two kinds of settings."""

    title: str
    about: str = ""
    two_columns: bool = False
    lines: Sequence[Line] = field(default_factory=list)

    def shown(self, row: Row, settings: str) -> Line | None:
        """The line of a row that its cell shows: the one over most of the epochs among those that have results."""
        lines = [line for line in self.lines if (line.row, line.settings) == (row, settings)]
        return max(lines, key=lambda line: (bool(line.outcomes), line.scale), default=None)

    @property
    def rows(self) -> list[Row]:
        """In the order of the table."""
        return [row for row, _ in groupby(line.row for line in self.lines)]

    @property
    def machines(self) -> list[str]:
        """Where and with what the runs were made, each once."""
        runs = [outcome.run for line in self.lines for outcome in line.outcomes]
        return list(dict.fromkeys(text for run in runs if (text := _machine(run.manifest))))


def study_report(study: Study, folder: Path) -> Report:
    """All lines of a study: those with runs, and the others of its table."""
    tasks = found_tasks(study, folder)
    lines = [
        line
        for row in study.rows.values()
        for settings in study.settings(row)
        for line in _lines(row, settings, [task for task in tasks if (task.row, task.settings) == (row, settings)])
    ]
    return Report(study.title, study.about, study.has_own, _with_tests(lines, study))


def runs_report(paths: Sequence[Path]) -> Report:
    """A line for each run.

    Raises:
        KcnnError: a run that is not there, not finished or damaged.
    """
    lines = []
    for name, path in zip(short_names(paths), paths, strict=True):
        run = RunDir.open(path)
        recipe = read_recipe(run.recipe)
        row = Row(name, folder_name(name), {REPORTED: recipe}, (recipe.seed,))
        lines.append(Line(row, REPORTED, 1.0, recipe.epochs, train_command(recipe), [_outcome(run, recipe.seed)]))
    title = lines[0].row.name if len(lines) == 1 else f"{len(lines)} runs"
    return Report(title, lines=[_against(line, lines[0]) for line in lines])


def _lines(row: Row, settings: str, tasks: Sequence[Task]) -> list[Line]:
    """A line for each scale that was run, the largest first; without any an empty one."""
    recipe = row.recipes.get(settings)
    planned = recipe.epochs if recipe else None
    lines = []
    for scale, group in groupby(tasks, key=lambda task: task.scale):
        same = list(group)
        found = [(task, *_look(task)) for task in same]
        outcomes = [outcome for _, outcome, _ in found if outcome]
        failures = [f"seed {task.seed}: {reason}" for task, _, reason in found if reason]
        lines.append(Line(row, settings, scale, planned, task_command(same[0]), outcomes, failures))
    return lines or [Line(row, settings, 1.0, planned, train_command(recipe) if recipe else "")]


def _look(task: Task) -> tuple[Outcome | None, str]:
    """What a task has come to, if it is finished, and why it failed, if it did."""
    try:
        state = state_of(task)
        if state.kind != FINISHED:
            return None, state.reason
        if task.row.test_of and task.source:
            kept = read_predictions(RunDir(task.path).predictions)
            return Outcome(task.seed, RunDir(task.source.path), float((kept.labels == kept.predicted).mean()), kept), ""
        return _outcome(RunDir(task.path), task.seed), ""
    except KcnnError as error:  # a damaged file
        return None, str(error)


def _outcome(run: RunDir, seed: int) -> Outcome:
    """Of a run directory.

    Raises:
        KcnnError: it is not finished, or a file is damaged.
    """
    result = finished_result(run)
    if not result:
        raise KcnnError(f"{run.path} is not finished. Go on with: {command('train', '--resume', run.path)}")
    kept = read_predictions(run.predictions) if run.predictions.exists() else None
    validation = (result.get("validation") or {}).get("accuracy")
    costs = {key: result.get(key) for key in ("epochs", "seconds", "pflop")}
    return Outcome(seed, run, result["test"]["accuracy"], kept, validation, **costs)


def _with_tests(lines: Sequence[Line], study: Study) -> list[Line]:
    """The lines with their paired tests, each against a line with the same settings and scale."""
    places = {(line.row.name, line.settings, line.scale): line for line in lines}
    first = next(iter(study.rows))
    other = [places.get((line.row.against or first, line.settings, line.scale)) for line in lines]
    return [_against(line, base) if base else line for line, base in zip(lines, other, strict=True)]


def _against(line: Line, base: Line) -> Line:
    """The line with a paired test against another one, over the seeds and images that they share."""
    if line is base:
        return line
    kept: list[Mapping[int, Predictions]] = [
        {outcome.seed: outcome.kept for outcome in one.outcomes if outcome.kept} for one in (line, base)
    ]
    seeds = [seed for seed in kept[0] if seed in kept[1]]
    if not seeds and len(line.outcomes) == len(base.outcomes) == 1:  # of single runs each has a seed of its own
        kept = [dict(enumerate(found.values())) for found in kept]
        seeds = [0] if all(kept) else []
    ours, theirs = ([found[seed] for seed in seeds] for found in kept)
    return replace(line, paired=compare_paired(base.row.name, ours, theirs))


def _machine(manifest: Path) -> str:
    """One line about a run's machine and versions; empty if its manifest says nothing."""
    try:
        found: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
        return f"{found['device']}, {found['processors']} processors, Python {found['python']}, {versions}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
