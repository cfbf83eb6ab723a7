"""Progress of a training run on stderr: a bar with the time left on a terminal, one plain line an epoch otherwise."""

from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kcnn.run.history import History


class ShowProgress(keras.callbacks.Callback):
    """Reads the last row of the log after each epoch; comes after the callback that writes it."""

    def __init__(self, history: History, epochs: int) -> None:
        super().__init__()
        self.history, self.epochs = history, epochs
        self.console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal, transient=True)

    def on_train_begin(self, logs: Any = None) -> None:
        first = self.history.epochs
        self.task = self.bar.add_task(f"epoch {first + 1}/{self.epochs}", total=self.epochs, completed=first)
        self.bar.start()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.bar.update(self.task, description=f"epoch {epoch + 1}/{self.epochs}")

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.bar.advance(self.task, 1 / self.params["steps"])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        line = epoch_line(self.history.rows[-1], self.epochs)
        if self.console.is_terminal:
            self.console.print(line, highlight=False, soft_wrap=True)
        else:  # where rich would end the process itself if nobody reads any more
            print(line, file=self.console.file, flush=True)

    def on_train_end(self, logs: Any = None) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar off the screen; also after an interruption."""
        self.bar.stop()


def epoch_line(row: dict[str, Any], epochs: int) -> str:
    """One row of the log, for people."""
    parts = [f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"]
    parts.append(f"loss {row['loss']:.4f}  accuracy {row['accuracy']:.4f}")
    if "val_loss" in row:
        parts.append(f"val_loss {row['val_loss']:.4f}  val_accuracy {row['val_accuracy']:.4f}")
    parts.append(f"lr {row['learning_rate']:.3g}  {row['images_per_second']:,.0f} images/s")
    return "  ".join(parts)
