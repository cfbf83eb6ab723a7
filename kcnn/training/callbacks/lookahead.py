"""Lookahead: every few steps the weights meet a slow average of theirs, and both go on from there.

Zhang et al. 2019, "Lookahead optimizer: k steps forward, 1 step back" (arXiv:1907.08610); with a share that rises over
the run, and batch norms' statistics among the weights: Jordan 2024 (arXiv:2404.00498).
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


class Lookahead(keras.callbacks.Callback):
    """Moves the weights to where they meet; at the end of an epoch to the slow average itself.

    So what an epoch leaves is both, and a resumed run needs no more.

    Args:
        steps: between two meetings.
        share: of the slow average in them, by the time in epochs.
    """

    def __init__(self, steps: int, share: Callable[[float], float]) -> None:
        super().__init__()
        self.steps, self.share = steps, share

    def on_train_begin(self, logs: Any = None) -> None:
        self.slow = [_value(weight) for weight in self._weights()]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch, self.over = epoch, False

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if batch:
            self._after(batch)

    def on_test_begin(self, logs: Any = None) -> None:
        """Validation comes before `on_epoch_end`."""
        self._end()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._end()

    def _end(self) -> None:
        if self.over:
            return
        self.over = True
        self._after(self.params["steps"])
        for weight, slow in zip(self._weights(), self.slow, strict=True):
            weight.assign(ops.copy(slow))  # jax gives a weight's memory away in the next step

    def _after(self, batch: int) -> None:
        """Meet if it is time, when so many steps of the epoch are done."""
        if (self.epoch * self.params["steps"] + batch) % self.steps:
            return
        share = self.share(self.epoch + batch / self.params["steps"])
        for place, weight in enumerate(self._weights()):
            fast = _value(weight)
            self.slow[place] = fast - share * (fast - self.slow[place])
            weight.assign(ops.copy(self.slow[place]))

    def _weights(self) -> list[Any]:
        return [weight for weight in self.model.weights if "float" in weight.dtype]


def _value(weight: Any) -> Any:
    return ops.copy(ops.stop_gradient(weight.value))
