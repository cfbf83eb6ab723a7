"""The moving average of the weights that a Keras optimizer keeps (`use_ema`): evaluated and saved in their place.

Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras


@contextmanager
def averaged_weights(model: Any) -> Iterator[None]:
    """The model with its averaged weights; without an average nothing changes."""
    _swap(model)
    try:
        yield
    finally:
        _swap(model)


class EvaluateAverage(keras.callbacks.Callback):
    """Validates with the averaged weights, and puts the others back."""

    def on_test_begin(self, logs: Any = None) -> None:
        _swap(self.model)

    def on_test_end(self, logs: Any = None) -> None:
        _swap(self.model)


def _swap(model: Any) -> None:
    optimizer = model.optimizer
    if not optimizer.use_ema or not int(optimizer.iterations):
        return
    pairs = zip(optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True)
    for variable, average in pairs:
        value = keras.ops.copy(variable.value)
        variable.assign(average.value)
        average.assign(value)
