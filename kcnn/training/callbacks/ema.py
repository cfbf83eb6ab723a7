"""The moving average of the weights that a Keras optimizer keeps (`use_ema`): evaluated and saved in their place.

Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from kcnn.data.batches import TrainingBatches
from kcnn.machine.keras_internals import all_layers, averages, inner, without_gradients

STATISTICS_IMAGES = 2048  # at least so many, or an epoch, give the statistics of the batch norms


@contextmanager
def averaged_weights(model: Any, batches: TrainingBatches, epoch: int) -> Iterator[None]:
    """The model with its averaged weights, and with batch norms' statistics measured on them; without them as it is.

    An average is a shorter vector than what it averages, so the statistics that training kept do not fit it (Izmailov
    et al. 2018, arXiv:1803.05407, section 3.2).

    Args:
        epoch: counted from 0, whose first batches are measured.
    """
    optimizer = inner(model.optimizer)
    if not optimizer.use_ema or not int(optimizer.iterations):
        yield
        return
    norms = [layer for layer in all_layers(model) if _measures(layer)]
    averaged = averages(optimizer)
    changed = [variable for variable, _ in averaged] + [v for norm in norms for v in norm.non_trainable_variables]
    kept = [(variable, keras.ops.copy(variable.value)) for variable in changed]
    try:
        for variable, average in averaged:
            variable.assign(keras.ops.copy(average.value))  # jax gives the memory of what a step has read away
        if norms:
            _measure(model, norms, batches, epoch)
        yield
    finally:
        for variable, value in kept:
            variable.assign(value)


class EvaluateAverage(keras.callbacks.Callback):
    """Validates with the averaged weights, and puts the others back."""

    def __init__(self, batches: TrainingBatches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_test_begin(self, logs: Any = None) -> None:
        self.averaged = averaged_weights(self.model, self.batches, self.epoch)
        self.averaged.__enter__()

    def on_test_end(self, logs: Any = None) -> None:
        self.averaged.__exit__(None, None, None)


def _measures(layer: Any) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and layer.trainable


def _measure(model: Any, norms: list[Any], batches: TrainingBatches, epoch: int) -> None:
    """Give the batch norms the plain mean of the statistics of the epoch's first batches.

    Each batch's own are added up in float32: a running mean in bfloat16 stands still after a few batches.
    """
    first = (epoch - batches.first_epoch) * batches.steps_per_epoch
    count = min(batches.steps_per_epoch, -(-STATISTICS_IMAGES // batches.batch_size))
    momenta = [norm.momentum for norm in norms]
    statistics = [variable for norm in norms for variable in (norm.moving_mean, norm.moving_variance)]
    sums: list[Any] = [0.0] * len(statistics)
    for norm in norms:
        norm.momentum = 0.0
    with without_gradients():
        for index in range(count):
            model(batches[first + index][0], training=True)
            sums = [total + keras.ops.cast(v, "float32") for total, v in zip(sums, statistics, strict=True)]
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for variable, total in zip(statistics, sums, strict=True):
        variable.assign(total / count)
