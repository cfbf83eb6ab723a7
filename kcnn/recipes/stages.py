"""Stages of a run: epochs that share a batch size and a learning rate (report 2's best idea)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kcnn.methods.schedules import Schedule, make_schedule
from kcnn.recipes.recipe import Recipe


@dataclass(frozen=True)
class Stage:
    """Epochs `first`+1 to `last`; `learning_rate` is what the schedule's factor multiplies."""

    first: int
    last: int
    batch_size: int
    learning_rate: float
    frozen: bool = False  # only the head trains


def plan_stages(recipe: Recipe) -> Sequence[Stage]:
    """The stages of a recipe; one, over all epochs, if it names none."""
    stages: list[Stage] = []
    for epochs, batch_size, *rate in recipe.stages or [[recipe.epochs, recipe.batch_size]]:
        first = stages[-1].last if stages else 0
        learning_rate = float(rate[0]) if rate else recipe.learning_rate
        stages.append(Stage(first, first + int(epochs), int(batch_size), learning_rate))
    return [part for stage in stages for part in _thaw(stage, recipe)]


def _thaw(stage: Stage, recipe: Recipe) -> list[Stage]:
    """The stage's frozen epochs and the others, which have the lower rate; whichever there are."""
    end = recipe.freeze_epochs
    if not end:
        return [stage]
    frozen = replace(stage, last=min(stage.last, end), frozen=True)
    free = replace(stage, first=max(stage.first, end), learning_rate=stage.learning_rate * recipe.unfreeze_rate)
    return [part for part in (frozen, free) if part.first < part.last]


def plan_schedule(recipe: Recipe, steps_per_epoch: int, rows: Sequence[Mapping[str, Any]] = ()) -> Schedule:
    """The factor on the stages' learning rates, as a function of the time in epochs.

    Args:
        rows: the log, growing while the run goes on, for the schedule that follows it ("plateau").
    """
    return make_schedule(
        recipe.schedule,
        recipe.epochs,
        recipe.warmup_epochs,
        step_epochs=recipe.step_epochs,
        milestones=recipe.milestones,
        gamma=recipe.gamma,
        start_factor=recipe.start_factor,
        peak_time=recipe.peak_time,
        end_factor=recipe.end_factor,
        steps_per_epoch=steps_per_epoch,
        rows=rows,
    )


def planned_rates(recipe: Recipe, steps_per_epoch: int) -> list[tuple[float, float, int]]:
    """(time in epochs, learning rate, batch size) of every step of a run with so many steps an epoch.

    Where stages differ in batch size their epochs differ in steps; the learning rate follows the time all the same.
    """
    schedule = plan_schedule(recipe, steps_per_epoch)
    return [
        (time, stage.learning_rate * schedule(time), stage.batch_size)
        for stage in plan_stages(recipe)
        for step in range(stage.first * steps_per_epoch, stage.last * steps_per_epoch)
        for time in [step / steps_per_epoch]
    ]
