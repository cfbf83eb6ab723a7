"""Learning-rate schedules: functions from a time in epochs to a factor on the recipe's learning rate.

`step`, `multistep`, `exponential` and `plateau` change at epochs; `cosine`, `linear`, `triangle`, `one_cycle` and the
warm-up at every step, as is usual for each. The Keras callback that applies one is
`kcnn.training.callbacks.rules.LearningRate`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
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


def linear(epochs: float) -> Schedule:
    """A straight line from 1 to 0 over `epochs`: torch's LinearLR(1, 0)."""
    return lambda time: 1 - min(time / epochs, 1)


def cosine(epochs: float) -> Schedule:
    """Half a cosine from 1 to 0 over `epochs`: torch's CosineAnnealingLR."""
    return lambda time: (1 + math.cos(math.pi * min(time / epochs, 1))) / 2


def triangle(epochs: float, start_factor: float, peak_time: float, end_factor: float) -> Schedule:
    """Straight from `start_factor` up to 1 at the part `peak_time` of `epochs`, and straight down to `end_factor`."""

    def factor(time: float) -> float:
        done = min(time / epochs, 1)
        if done < peak_time:
            return start_factor + (1 - start_factor) * done / peak_time
        return 1 + (end_factor - 1) * (done - peak_time) / max(1 - peak_time, 1e-9)

    return factor


def one_cycle(epochs: float, steps_per_epoch: int) -> Schedule:
    """Up from 1/25 to 1 in the first 30 %, down to 1/250,000, both half a cosine: torch's OneCycleLR.

    Smith and Topin 2017, "Super-convergence". The steps are needed because torch's phases end a step early.
    """
    last = epochs * steps_per_epoch - 1
    peak = 0.3 * epochs * steps_per_epoch - 1

    def factor(time: float) -> float:
        now = time * steps_per_epoch
        if now <= peak:
            return _cosine_between(1 / 25, 1, now / peak)
        return _cosine_between(1, 1 / 250_000, min((now - peak) / max(last - peak, 1e-9), 1))

    return factor


def _cosine_between(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def plateau(
    epochs: float, step_epochs: int, gamma: float, rows: Sequence[Mapping[str, Any]], warmup_epochs: float = 0
) -> Schedule:
    """× gamma after more than `step_epochs` epochs without a lower validation loss: torch's ReduceLROnPlateau.

    It replays the log, so a resumed run needs no state of it.

    Args:
        rows: the log, growing while the run goes on; without validation the training loss counts.
        warmup_epochs: those came before; their losses do not count.
    """
    start = math.ceil(warmup_epochs)

    def factor(time: float) -> float:
        result, best, bad = 1.0, math.inf, 0
        for row in rows[start : start + int(time)]:
            loss = row.get("val_loss", row["loss"])
            best, bad = (loss, 0) if loss < best * (1 - 1e-4) else (best, bad + 1)
            if bad > step_epochs:
                result, bad = result * gamma, 0
        return result

    return factor


# Name → (function, the keyword arguments that it takes).
SCHEDULES: dict[str, tuple[Callable[..., Schedule], tuple[str, ...]]] = {
    "constant": (constant, ()),
    "step": (step, ("step_epochs", "gamma")),
    "multistep": (multistep, ("milestones", "gamma")),
    "exponential": (exponential, ("gamma",)),
    "linear": (linear, ()),
    "cosine": (cosine, ()),
    "triangle": (triangle, ("start_factor", "peak_time", "end_factor")),
    "one_cycle": (one_cycle, ("steps_per_epoch",)),
    "plateau": (plateau, ("step_epochs", "gamma", "rows", "warmup_epochs")),
}

# Those that do not look at the last epoch: with more epochs than planned the rates of the first ones stay the same.
OPEN_ENDED = ("constant", "step", "multistep", "exponential", "plateau")


def make_schedule(name: str, epochs: int, warmup_epochs: float = 0, **numbers: Any) -> Schedule:
    """The named schedule over `epochs`, after a linear rise from 0.01 that takes `warmup_epochs` of them.

    Args:
        numbers: what the schedule takes, see `SCHEDULES`; others are ignored.
    """
    function, keys = SCHEDULES[name]
    numbers["warmup_epochs"] = warmup_epochs
    main = function(epochs - warmup_epochs, **{key: numbers[key] for key in keys})

    def factor(time: float) -> float:
        if time < warmup_epochs:
            return 0.01 + 0.99 * time / warmup_epochs
        return main(time - warmup_epochs)

    return factor
