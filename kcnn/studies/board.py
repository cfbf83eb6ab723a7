"""Progress over all tasks of a study on stderr: a bar with the time left on a terminal, a line a task otherwise."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Column

from kcnn.errors import KcnnError
from kcnn.results.kept import read_predictions
from kcnn.run.directory import RunDir
from kcnn.studies.tasks import Task, finished_epochs, finished_result
from kcnn.studies.words import duration


class Board:
    """Weighs each task by its expected seconds; what has been done since the start says how far they were true.

    Args:
        expected: path of a task → seconds, or None where nobody knows; those count as the mean of the others.
    """

    def __init__(self, tasks: Sequence[Task], expected: Mapping[Path, float | None], jobs: int) -> None:
        known = [seconds for seconds in expected.values() if seconds is not None]
        mean = max(sum(known) / len(known), 1.0) if known else 1.0
        self.weights = {task.path: max(expected[task.path] or mean, 1.0) for task in tasks}
        self.begun_at = {task.path: finished_epochs(RunDir(task.path)) for task in tasks}
        self.jobs, self.ended, self.begun = jobs, 0, time.monotonic()
        self.done = 0.0
        self.console = Console(stderr=True)
        names = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        columns = (
            BarColumn(20),
            TaskProgressColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.description}", table_column=names),
        )
        self.bar = Progress(
            *columns, console=self.console, disable=not self.console.is_terminal, transient=True, expand=True
        )
        self.total = sum(self.weights.values())
        self.line = self.bar.add_task("", total=self.total, left="")

    def __enter__(self) -> "Board":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def watch(self, running: Sequence[Task], failures: Mapping[Path, str], ended: Sequence[Task]) -> None:
        """See `kcnn.studies.runner.run_tasks`."""
        for task in ended:
            self.done += self.weights[task.path]
            self.ended += 1
            self._print(task, failures.get(task.path, ""))
        progress = self.done + sum(self.weights[task.path] * self._part(task) for task in running)
        names = [f"{task.title}: {finished_epochs(RunDir(task.path))}/{task.recipe.epochs}" for task in running]
        self.bar.update(
            self.line,
            completed=progress,
            description=escape("; ".join(names)),
            left=f"about {duration(self._left(progress))} left",
        )

    def _left(self, progress: float) -> float:
        """Seconds: at the speed since the start, once a tenth is done, else as expected."""
        if progress > self.total / 10:
            return (time.monotonic() - self.begun) * (self.total - progress) / progress
        return (self.total - progress) / self.jobs

    def _part(self, task: Task) -> float:
        """Of what was left of the task at the start."""
        begun = self.begun_at[task.path]
        epochs = task.recipe.epochs - begun
        return (finished_epochs(RunDir(task.path)) - begun) / epochs if epochs and not task.row.test_of else 0.0

    def _print(self, task: Task, failure: str) -> None:
        place = f"[{self.ended} of {len(self.weights)}]"
        left = f", about {duration(self._left(self.done))} left" if self.done < self.total else ""
        said = f"failed: {failure}" if failure else f"test accuracy {_accuracy(task)}"
        self.console.print(escape(f"{place} {task.title}: {said}{left}"), highlight=False, soft_wrap=True)


def _accuracy(task: Task) -> str:
    run = RunDir(task.path)
    try:
        if task.row.test_of:
            found = read_predictions(run.predictions)
            return f"{(found.labels == found.predicted).mean():.4f}"
        result = finished_result(run)
        return f"{result['test']['accuracy']:.4f} in {duration(result['seconds'])}"
    except (KcnnError, KeyError) as error:
        return f"unknown ({error})"
