"""Where every random number comes from: a seed, what it is for, and a few numbers such as epoch and step.

Streams of different purposes, seeds or numbers have nothing in common. NumPy alone does not see to that:
`default_rng((seed, epoch))` is `default_rng((seed, epoch, 0))`, as it fills up with zeros.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

# Never give a number to another purpose: runs that are to be resumed depend on it.
PURPOSES = {
    "weights": 1,
    "dropout": 2,
    "validation": 3,
    "limit": 4,
    "shuffle": 5,
    "augmentation": 6,
    "preview": 7,
    "check": 8,
    "bench": 9,
    "views": 10,
    "turns": 11,
    "whitening": 12,
}


def generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """A stream that depends on its arguments alone.

    Args:
        seed: 0 or more; purpose: a key of `PURPOSES`; numbers: 0 to 2³² - 1, as many as the purpose always has.

    Raises:
        ValueError: a negative or too large number.
    """
    if not all(0 <= number < 2**32 for number in numbers):
        raise ValueError(f"A stream's numbers are from 0 to {2**32 - 1}; received {numbers}.")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(PURPOSES[purpose], *numbers)))


def number(seed: int, purpose: str, *numbers: int) -> int:
    """A seed from 0 to 2³¹ - 1 for what does not draw from NumPy."""
    return int(generator(seed, purpose, *numbers).integers(2**31))


@contextmanager
def kept_streams() -> Iterator[None]:
    """Python's, NumPy's, Keras' and torch's own streams go on at the end as if nothing had been drawn inside."""
    from kcnn.machine.keras_internals import exchange_global_seed

    python, legacy, ours = random.getstate(), np.random.get_state(), exchange_global_seed((None, None))
    try:
        with _kept_torch():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        exchange_global_seed(ours)


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Those streams begin anew, from the seed and the purpose, and go on at the end as they were before."""
    from kcnn.machine.keras_internals import exchange_global_seed

    start = number(seed, purpose)
    with kept_streams():
        random.seed(start)
        np.random.seed(start)
        exchange_global_seed((start, None))
        _seed_torch(start)
        yield


@contextmanager
def _kept_torch() -> Iterator[None]:
    import keras

    if keras.backend.backend() != "torch":
        yield
        return
    import torch

    from kcnn.machine.keras_internals import torch_device

    device = torch.device(torch_device())
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def _seed_torch(seed: int) -> None:
    import keras

    if keras.backend.backend() == "torch":
        import torch

        torch.manual_seed(seed)


def seed_dropout(model: Any, seed: int, epoch: int) -> None:
    """Let the dropout of a Keras model draw from (seed, epoch), each layer from a stream of its own.

    torch's own stream is set, too, from which native dropout draws: call it inside `kept_streams`.
    """
    from kcnn.machine.keras_internals import all_layers

    _seed_torch(number(seed, "dropout", epoch, 0))
    for index, layer in enumerate(all_layers(model), start=1):
        if (draws := getattr(layer, "seed_generator", None)) is not None:
            draws.state.assign([number(seed, "dropout", epoch, index), 0])
