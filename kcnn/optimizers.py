"""Recipe numbers → a Keras optimizer.

`weight_decay` is torch's coupled L2 (`gradient + weight_decay * weight`), as in the reports. Keras' own argument
of that name is the decoupled kind of AdamW (`weight *= 1 - learning_rate * weight_decay`): here
`decoupled_weight_decay`.
"""

from functools import cache
from typing import Any

# Name in a recipe → class name in keras.optimizers.
OPTIMIZERS = {
    "sgd": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
    "nadam": "Nadam",
    "adamax": "Adamax",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "rmsprop": "RMSprop",
    "lion": "Lion",
}


class CoupledWeightDecay:
    """Mix-in for a Keras optimizer class: adds `coupled_weight_decay * variable` to every gradient, after clipping."""

    coupled_weight_decay = 0.0

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        import keras

        decay = keras.ops.cast(self.coupled_weight_decay, gradient.dtype)
        gradient = gradient + decay * keras.ops.convert_to_tensor(variable)
        super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]


@cache
def coupled(base: type) -> type:
    """The subclass of a Keras optimizer class that has torch's coupled weight decay."""
    return type(base.__name__, (CoupledWeightDecay, base), {})
