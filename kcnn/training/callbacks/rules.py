"""Keras callbacks of a training run: one class each, in the order in which they are used.

A callback that overrides `on_train_batch_end` makes Keras wait for every step unless it is `async_safe`.
"""

import math
from typing import Any

import keras

from kcnn.errors import Diverged
from kcnn.machine.backend import device_name
from kcnn.machine.randomness import seed_dropout
from kcnn.methods.schedules import Schedule


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
    """Dropout draws from (seed, epoch) alone, so that a resumed run continues as if it had not stopped.

    For torch's own stream see `kcnn.machine.randomness.seed_dropout`.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Not before the first batch: Keras' data loader draws, too, in a fit's first epoch after `on_epoch_begin`."""
        if not batch:
            seed_dropout(self.model, self.seed, self.epoch)


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
