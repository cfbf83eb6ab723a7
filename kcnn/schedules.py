"""Learning-rate schedules: functions from a time in epochs to a factor on the recipe's learning rate.

`step`, `multistep` and `exponential` change at epochs, `cosine` and the warm-up at every step, as is usual for each.
The Keras callback that applies one is `kcnn.callbacks.LearningRate`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

Schedule = Callable[[float], float]


def constant(epochs: float) -> Schedule:
    """Always 1."""
    return lambda time: 1.0


def step(epochs: float, step_epochs: int, gamma: float) -> Schedule:
    """× gamma every `step_epochs` epochs: torch's StepLR."""
    return lambda time: gamma ** (int(time) // step_epochs)


def multistep(epochs: float, milestones: Sequence[int], gamma: float) -> Schedule:
    """× gamma at each of the milestones (epochs): torch's MultiStepLR."""
    return lambda time: gamma ** sum(int(time) >= milestone for milestone in milestones)


def exponential(epochs: float, gamma: float) -> Schedule:
    """× gamma every epoch: torch's ExponentialLR."""
    return lambda time: gamma ** int(time)


def cosine(epochs: float) -> Schedule:
    """Half a cosine from 1 to 0 over `epochs`: torch's CosineAnnealingLR."""
    return lambda time: (1 + math.cos(math.pi * min(time / epochs, 1))) / 2


# Name → (function, the recipe keys that it takes).
SCHEDULES: dict[str, tuple[Callable[..., Schedule], tuple[str, ...]]] = {
    "constant": (constant, ()),
    "step": (step, ("step_epochs", "gamma")),
    "multistep": (multistep, ("milestones", "gamma")),
    "exponential": (exponential, ("gamma",)),
    "cosine": (cosine, ()),
}


def make_schedule(name: str, epochs: int, warmup_epochs: float = 0, **numbers: Any) -> Schedule:
    """The named schedule over `epochs`, after a linear rise from 0.01 that takes `warmup_epochs` of them.

    Args:
        numbers: what the schedule takes, see `SCHEDULES`; others are ignored.
    """
    function, keys = SCHEDULES[name]
    main = function(epochs - warmup_epochs, **{key: numbers[key] for key in keys})

    def factor(time: float) -> float:
        if time < warmup_epochs:
            return 0.01 + 0.99 * time / warmup_epochs
        return main(time - warmup_epochs)

    return factor
