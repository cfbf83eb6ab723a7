"""The learning-rate range test: raise the rate step by step, and see where the loss falls and where it breaks out.

Smith 2017, "Cyclical learning rates for training neural networks", section 3.3, with a rate that grows
exponentially instead of linearly.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kcnn.errors import KcnnError
from kcnn.recipes.recipe import Recipe

MOMENTUM = 0.9  # of the running mean of the loss that ends the test
BREAKOUT = 3.0  # it ends when that mean is this many times its minimum


@dataclass(frozen=True)
class RangeTest:
    """What the test saw, one number a step: the rates, and the batches' losses at them."""

    rates: np.ndarray
    losses: np.ndarray

    @cached_property
    def smoothed(self) -> np.ndarray:
        """The losses' mean under a Gaussian window; unlike a running mean it does not lag behind the rate."""
        steps = np.arange(len(self.losses))
        width = max(1.0, 0.03 * len(steps))
        window = np.exp(-0.5 * ((steps[:, None] - steps) / width) ** 2)
        return window @ self.losses / window.sum(1)

    @property
    def minimum(self) -> float:
        """The rate at which the smoothed loss is lowest."""
        return float(self.rates[self.smoothed.argmin()])

    @property
    def steepest(self) -> float:
        """The rate at which the smoothed loss falls fastest, by the logarithm of the rate, before its minimum.

        The first tenth of the steps does not count: there the optimizer has hardly begun.

        Raises:
            KcnnError: the loss never fell.
        """
        first, end = len(self.rates) // 10, int(self.smoothed.argmin()) + 1
        if end - first < 3:
            raise KcnnError("The loss never fell: lower --low, or look for damaged labels.")
        slopes = np.gradient(self.smoothed[:end], np.log(self.rates[:end]))
        return float(self.rates[first + slopes[first:].argmin()])

    @property
    def suggestion(self) -> float:
        """A tenth of the minimum's rate, to two digits, for training at a constant rate.

        At the minimum itself the loss is about to rise; it is the highest peak for a schedule that passes it quickly.
        """
        return float(f"{self.minimum / 10:.2g}")


def range_test(recipe: Recipe, low: float, high: float, steps: int) -> RangeTest:
    """Train the recipe's model for up to `steps` steps, the rate growing from `low` to `high`; the weights are lost.

    Model, optimizer, augmentation, dropout and batch size are those of a real run's first epoch; so where the recipe
    begins with a frozen backbone, it is the head's rate that is tested.

    Raises:
        KcnnError: the data are not there, or the loss was not finite from the start.
    """
    from kcnn.machine.randomness import kept_streams, seed_dropout
    from kcnn.recipes.parts import check_accumulation, check_augment, load_parts
    from kcnn.recipes.stages import plan_stages
    from kcnn.training.construct import new_model, prepare, training_batches

    parts = load_parts(recipe)
    check_augment(recipe, parts.dataset)
    check_accumulation(recipe, steps)
    stage = plan_stages(recipe)[0]
    model = new_model(recipe, parts.dataset)
    prepare(model, recipe, stage.frozen)
    batches = training_batches(recipe, stage, parts, 0)
    with kept_streams():
        seed_dropout(model, recipe.seed, 0)
        return sweep(model, batches, np.geomspace(low, high, steps))


def sweep(model: Any, batches: Any, rates: np.ndarray) -> RangeTest:
    """One training step at each rate, until the loss breaks out.

    Args:
        model: compiled; batches: (images, targets) by index.
    """
    losses: list[float] = []
    running = lowest = math.inf
    for step, rate in enumerate(rates):
        model.optimizer.learning_rate = rate
        model.reset_metrics()  # else Keras returns the mean over all steps so far
        loss = float(model.train_on_batch(*batches[step], return_dict=True)["loss"])
        if not math.isfinite(loss):
            break
        losses.append(loss)
        running = MOMENTUM * running + (1 - MOMENTUM) * loss if step else loss
        lowest = min(lowest, running)
        if running > BREAKOUT * lowest:
            break
    if not losses:
        raise KcnnError("The loss is not finite at the first step: lower --low.")
    return RangeTest(rates[: len(losses)], np.asarray(losses))
