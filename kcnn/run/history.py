"""The log of a run: one row an epoch. What early stopping and resuming need to know follows from it."""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kcnn.errors import KcnnError, command
from kcnn.machine import gpu
from kcnn.run.directory import RunDir

COLUMNS = (
    "epoch",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "images_per_second",
    "seconds",
)


@dataclass
class History:
    """Rows with the keys `COLUMNS`; `val_…` are absent without validation images. Epochs count from 1.

    On a graphics card there are those of `kcnn.machine.gpu` too.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        """How many epochs are finished."""
        return len(self.rows)

    @property
    def best_epoch(self) -> int:
        """The epoch with the highest validation accuracy, the lower loss deciding ties; without validation the last."""
        if not self.rows or "val_accuracy" not in self.rows[-1]:
            return self.epochs
        return int(max(self.rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))["epoch"])

    def exhausted(self, patience: int, since: int = 0) -> bool:
        """Whether `patience` epochs after epoch `since` went by without a better one; never for 0."""
        return bool(patience) and self.epochs - max(self.best_epoch, since) >= patience

    @property
    def seconds(self) -> float:
        """Training and validation time of all epochs."""
        return sum(row["seconds"] for row in self.rows)

    @property
    def images_per_second(self) -> float:
        """The median over the epochs, validation not counted; the first epoch, which warms up, only if it is alone."""
        rates = sorted(row["images_per_second"] for row in self.rows[1:] or self.rows)
        return rates[len(rates) // 2] if rates else 0.0

    def to_csv(self) -> str:
        """The log file."""
        text = io.StringIO()
        measured = [column for column in gpu.COLUMNS if any(column in row for row in self.rows)]
        writer = csv.DictWriter(text, [*COLUMNS, *measured], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    @classmethod
    def of(cls, rows: Iterable[Any]) -> "History":
        """The log of rows that come from a file.

        Raises:
            ValueError: they are not what `Recorder` writes: the epochs 1, 2, 3, …, each with the same numbers.
        """
        rows = [_checked(row, epoch) for epoch, row in enumerate(rows, start=1)]
        for row in rows:
            if odd := (row.keys() ^ rows[0].keys()) & set(COLUMNS):
                raise ValueError(f"not every epoch has {sorted(odd)[0]}")
        return cls(rows)

    @classmethod
    def from_csv(cls, text: str) -> "History":
        """Read a log file.

        Raises:
            ValueError: it is damaged.
        """
        try:
            reader = csv.DictReader(io.StringIO(text))
            rows = list(reader)
        except csv.Error as error:
            raise ValueError(str(error)) from error
        if text and "epoch" not in (reader.fieldnames or ()):
            raise ValueError("it has no headings")
        for number, row in enumerate(rows, start=1):
            if None in row or None in row.values():
                raise ValueError(f"row {number} has another number of values than there are headings")
        return cls.of({key: float(value) for key, value in row.items() if value} for row in rows)


def _checked(row: Any, epoch: int) -> dict[str, Any]:
    if not isinstance(row, dict) or any(type(value) not in (int, float) for value in row.values()):
        raise ValueError(f"row {epoch} is no row of numbers")
    if row.get("epoch") != epoch:
        raise ValueError(f"row {epoch} is not that of epoch {epoch}")
    if wrong := [key for key, value in row.items() if not math.isfinite(value)]:
        raise ValueError(f"row {epoch} has {row[wrong[0]]} as its {wrong[0]}")
    return {**row, "epoch": epoch}


def read_history(run: RunDir) -> History:
    """The log of a run; needs no keras.

    Raises:
        KcnnError: no epoch is finished, or the log is damaged.
    """
    try:
        history = History.from_csv(run.log.read_text(encoding="utf-8"))
    except FileNotFoundError:
        history = History()
    except ValueError as error:
        raise _damaged(run, error) from error
    if not history.rows:
        raise KcnnError(f"{run.path} has no finished epoch in its log.csv: there are no curves yet.")
    absent = set(COLUMNS) - history.rows[0].keys()
    if absent and absent != {"val_loss", "val_accuracy"}:
        raise _damaged(run, f"it has no {sorted(absent)[0]}")
    return history


def _damaged(run: RunDir, reason: object) -> KcnnError:
    return KcnnError(f"{run.log} is damaged: {reason}. This writes it anew: {command('train', '--resume', run.path)}")
