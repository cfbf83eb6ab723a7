"""What is kept after each epoch, and when a run ends early."""

import time
from typing import Any

import keras

from kcnn.data.batches import TrainingBatches
from kcnn.machine import gpu
from kcnn.machine.files import write_text
from kcnn.run.checkpoint import save_model
from kcnn.run.history import History
from kcnn.training.callbacks.ema import averaged_weights
from kcnn.training.job import Job


class Recorder(keras.callbacks.Callback):
    """After each epoch: a row in the log, `best.keras` if validation got better, and `last.keras`."""

    def __init__(self, job: Job, batches: TrainingBatches) -> None:
        super().__init__()
        self.job, self.batches = job, batches
        self.run, self.history, self.class_names = job.run, job.history, job.parts.class_names

    def on_train_begin(self, logs: Any = None) -> None:
        if not self.history.epochs:
            self._save_last()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.begun, self.trained = time.perf_counter(), 0.0

    def on_test_begin(self, logs: Any = None) -> None:
        self.trained = time.perf_counter() - self.begun

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = time.perf_counter() - self.begun
        self.history.rows.append(
            {
                "epoch": epoch + 1,
                **{key: float(f"{value:.6g}") for key, value in logs.items()},
                "learning_rate": float(f"{float(self.model.optimizer.learning_rate):.6g}"),
                "images_per_second": round(self.batches.images_per_epoch / (self.trained or seconds), 1),
                "seconds": round(seconds, 3),
                **gpu.usage(),
            }
        )
        if self.history.best_epoch == epoch + 1:
            with averaged_weights(self.model, self.batches, epoch):
                save_model(self.model, self.run.best, {"class_names": self.class_names, "epoch": epoch + 1})
        self._save_last()
        write_text(self.run.log, self.history.to_csv())

    def _save_last(self) -> None:
        info = {"class_names": self.class_names, "epoch": self.history.epochs, "history": self.history.rows}
        save_model(self.model, self.run.last, {**info, "origin": self.job.origin}, self.model.optimizer)


class EarlyStopping(keras.callbacks.Callback):
    """Stops after `patience` epochs without a better one; it reads the log, so a resumed run needs no more state.

    Epochs up to `since` do not count: while a backbone is frozen, little may happen.
    """

    def __init__(self, history: History, patience: int, since: int = 0) -> None:
        super().__init__()
        self.history, self.patience, self.since = history, patience, since

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.history.exhausted(self.patience, self.since):
            self.model.stop_training = True
