"""How fast long work goes, on stderr: a bar with images a second on a terminal, one line at the end otherwise."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

LONG = 2.0  # seconds; about shorter work nothing is said at the end


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Images a second, once a batch is done."""
        return Text(f"{task.speed:,.0f} images/s" if task.speed else "")


def counting(batches: Iterable[Any], total: int) -> Iterator[Any]:
    """Give batches on as they come, and show how many images are done.

    Args:
        batches: tuples whose first entry has the length of the batch; total: of all lengths.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.completed:,.0f} of {task.total:,.0f} images"), BarColumn(), TimeRemainingColumn())
    begun = time.perf_counter()
    with Progress(*columns, _Speed(), console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=total)
        for batch in batches:
            yield batch
            bar.advance(task, len(batch[0]))
    seconds = time.perf_counter() - begun
    if seconds > LONG:
        console.print(f"{total:,} images in {seconds:.1f} s, {total / seconds:,.0f} images/s", highlight=False)
