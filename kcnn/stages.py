"""Stages of a run: epochs that share a batch size and a learning rate (report 2's best idea)."""

from collections.abc import Sequence
from dataclasses import dataclass

from kcnn.recipe import Recipe


@dataclass(frozen=True)
class Stage:
    """Epochs `first`+1 to `last`; `learning_rate` is what the schedule's factor multiplies."""

    first: int
    last: int
    batch_size: int
    learning_rate: float


def plan_stages(recipe: Recipe) -> Sequence[Stage]:
    """The stages of a recipe; one, over all epochs, if it names none."""
    stages: list[Stage] = []
    for epochs, batch_size, *rate in recipe.stages or [[recipe.epochs, recipe.batch_size]]:
        first = stages[-1].last if stages else 0
        learning_rate = float(rate[0]) if rate else recipe.learning_rate
        stages.append(Stage(first, first + int(epochs), int(batch_size), learning_rate))
    return stages
