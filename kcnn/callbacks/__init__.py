"""Keras callbacks of a training run: one class each, in the order in which they are used.

A callback that overrides `on_train_batch_end` makes Keras wait for every step unless it is `async_safe`.
"""

import math
import time
from typing import Any

import keras

from kcnn import gpu
from kcnn.backend import device_name
from kcnn.callbacks.ema import averaged_weights
from kcnn.checkpoint import save_model
from kcnn.data.batches import TrainingBatches
from kcnn.errors import Diverged
from kcnn.history import History
from kcnn.rundir import RunDir, write_text
from kcnn.schedules import Schedule


class LearningRate(keras.callbacks.Callback):
    """Sets the optimizer's learning rate before every step, to `base` × the schedule's factor at that time."""

    def __init__(self, base: float, schedule: Schedule) -> None:
        super().__init__()
        self.base, self.schedule = base, schedule
        self.epoch, self.current = 0, math.nan

    def on_train_begin(self, logs: Any = None) -> None:
        self.current = math.nan

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        rate = self.base * self.schedule(self.epoch + batch / self.params["steps"])
        if rate != self.current:
            self.model.optimizer.learning_rate = self.current = rate


class Randomness(keras.callbacks.Callback):
    """Dropout draws from (seed, epoch) alone, so that a resumed run continues as if it had not stopped."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Not before the first batch: Keras' data loader draws, too, in a fit's first epoch after `on_epoch_begin`."""
        if batch:
            return
        keras.utils.set_random_seed((self.seed * 1_000_003 + self.epoch) % 2**31)
        for layer in self.model._flatten_layers():
            if generator := getattr(layer, "seed_generator", None):
                generator.state.assign([self.seed, self.epoch << 16])


class StopWhenNotFinite(keras.callbacks.Callback):
    """Ends the run with an error at the first step that gives a NaN or infinite loss, before anything is saved."""

    @property
    def async_safe(self) -> bool:
        """Handing a step's loss to Keras' other thread costs more than looking at it, unless it is still on a GPU."""
        return device_name() != "cpu"

    def on_train_begin(self, logs: Any = None) -> None:
        self.step: int | None = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not math.isfinite(logs["loss"]) and (self.step is None or batch < self.step):
            self.step, self.model.stop_training = batch, True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.step is None and not (math.isfinite(logs.get("val_loss", 0.0)) and self._weights_are_finite()):
            self.step = self.params["steps"] - 1  # its loss was finite still, but not what it made of the weights
        if self.step is not None:
            raise Diverged(
                f"The loss became NaN or infinite in epoch {epoch + 1}, step {self.step + 1}. "
                f"Usually a lower --learning-rate helps, or --set warmup_epochs=1, or --set clip_norm=1. "
                f"The last good checkpoint is kept."
            )

    def _weights_are_finite(self) -> bool:
        return all(bool(keras.ops.all(keras.ops.isfinite(weight))) for weight in self.model.weights)


class Recorder(keras.callbacks.Callback):
    """After each epoch: a row in the log, `best.keras` if validation got better, and `last.keras`."""

    def __init__(self, run: RunDir, history: History, class_names: list[str], batches: TrainingBatches) -> None:
        super().__init__()
        self.run, self.history, self.class_names, self.batches = run, history, class_names, batches

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
                "images_per_second": round(self.batches.count / (self.trained or seconds), 1),
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
        save_model(self.model, self.run.last, info, self.model.optimizer)


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
