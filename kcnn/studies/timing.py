"""How long tasks will take on this machine, from a few measured steps of each kind.

`measure` starts `python -m kcnn.studies.timing FOLDER`, which takes the steps of every recipe in the folder.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from kcnn.errors import KcnnError
from kcnn.machine.files import scratch, write_json, write_text
from kcnn.machine.processes import run_module
from kcnn.recipes.files import read_recipe
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.stages import plan_stages
from kcnn.studies.tasks import BLOCKED, FINISHED, Task, state_of

ENOUGH = 1.5  # seconds of steps; the first step alone, where it takes as long
STEPS = 20
START = 5.0  # seconds until a process has imported all and read its data
# What decides how long a step takes.
KEYS = (
    *("backend", "device", "precision", "model", "model_options", "batch_size"),
    *("dataset", "data_dir", "image_size", "limit_train"),
)


@dataclass(frozen=True)
class Costs:
    """Seconds of a training step, and of looking at an image without training; and how many images there are."""

    step: float
    look: float
    train: int
    validation: int
    test: int


Measured = Mapping[str, Costs | str]  # kind of step → its costs, or why they could not be measured


def measure(tasks: Sequence[Task], threads: int, say: Callable[[str], None]) -> Measured:
    """Take a few steps of each kind that these tasks have; a process a backend."""
    parts = [part for task in tasks for part in _parts(task.recipe)]
    kinds = {_kind(part): part for part in sorted(parts, key=lambda part: len(part.augment))}  # the slowest of a kind
    measured: dict[str, Costs | str] = {}
    for backend in dict.fromkeys(recipe.backend for recipe in kinds.values()):
        mine = {name: recipe for name, recipe in kinds.items() if recipe.backend == backend}
        say(f"measuring {len(mine)} {'kind' if len(mine) == 1 else 'kinds'} of training step …")
        measured |= _measured(mine, backend, threads)
    return measured


def _measured(kinds: Mapping[str, Recipe], backend: str, threads: int) -> dict[str, Costs | str]:
    with scratch() as folder:
        for index, recipe in enumerate(kinds.values()):
            write_text(folder / f"{index}.toml", recipe.to_toml())
        reason = run_module("kcnn.studies.timing", [str(folder)], backend, threads=threads)
        return {name: _read(folder / f"{index}.json", reason) for index, name in enumerate(kinds)}


def expected_seconds(task: Task, measured: Measured) -> float | None:
    """How long what is left of a task takes; None if that is not known."""
    state = state_of(task)
    kinds = {part.batch_size: measured.get(_kind(part)) for part in _parts(task.recipe)}
    costs = {size: found for size, found in kinds.items() if isinstance(found, Costs)}
    if state.kind in (FINISHED, BLOCKED):
        return 0.0
    if len(costs) < len(kinds):
        return None
    seconds = 0.0 if task.row.test_of else _training(task.recipe, state.epochs, costs)
    any_size = next(iter(costs.values()))
    return START + seconds + any_size.look * any_size.test


def _training(recipe: Recipe, done: int, costs: Mapping[int, Costs]) -> float:
    """Seconds of the epochs after the first `done`; `costs` by batch size."""
    seconds = 0.0
    for stage in plan_stages(recipe):
        found = costs[stage.batch_size]
        epoch = -(-found.train // stage.batch_size) * found.step + found.validation * found.look
        seconds += epoch * max(0, stage.last - max(stage.first, done))
    return seconds


def _parts(recipe: Recipe) -> list[Recipe]:
    """A recipe without stages for each of their batch sizes."""
    sizes = dict.fromkeys(stage.batch_size for stage in plan_stages(recipe))
    return [replace(recipe, batch_size=size, stages=[]) for size in sizes]


def _kind(recipe: Recipe) -> str:
    return json.dumps([getattr(recipe, key) for key in KEYS])


def _read(path: Path, reason: str) -> Costs | str:
    if not path.exists():
        return reason or "its process ended early"
    found = json.loads(path.read_text())
    return found["error"] if "error" in found else Costs(**found)


def take_steps(recipe: Recipe) -> Costs:
    """Some steps of a recipe as `kcnn train` takes them, from new weights.

    Raises:
        KcnnError: the data are missing, or the recipe does not fit them.
    """
    from kcnn.recipes.parts import load_parts
    from kcnn.results.logits import predict_logits

    parts = load_parts(recipe)
    model, batches = _begin(recipe, parts)
    step = _seconds(lambda index: float(model.train_on_batch(*batches[index % batches.steps_per_epoch])[0]), STEPS)
    images = parts.dataset.test.images[:256]
    look = _seconds(lambda index: predict_logits(model, images), 2) / len(images)
    return Costs(step, look, len(parts.train), len(parts.validation), len(parts.dataset.test))


def _begin(recipe: Recipe, parts: Any) -> tuple[Any, Any]:
    """A compiled model with new weights, and its batches."""
    from kcnn.native.acceleration import accelerate
    from kcnn.training.construct import compile_model, new_model, training_batches

    model = new_model(replace(recipe, weights="", pretrained=""), parts.dataset)
    compile_model(model, recipe)
    accelerate(model)
    return model, training_batches(recipe, plan_stages(recipe)[0], parts, 0)


def _seconds(act: Callable[[int], Any], most: int) -> float:
    """The median time of a call, after a first one; where that one is slow, its own."""
    first = _timed(act, 0)
    if first > 2 * ENOUGH:
        return first
    times: list[float] = []
    while sum(times) < ENOUGH and len(times) < most:
        times.append(_timed(act, len(times) + 1))
    return median(times)


def _timed(act: Callable[[int], Any], index: int) -> float:
    begun = time.perf_counter()
    act(index)
    return time.perf_counter() - begun


def main(folder: str) -> None:
    """Write N.json, the costs or an error, for each N.toml in the folder."""
    from kcnn.machine.backend import select

    for path in sorted(Path(folder).glob("*.toml")):
        recipe = read_recipe(path)
        select(recipe.backend, recipe.device, recipe.precision)
        try:
            found = take_steps(recipe).__dict__
        except KcnnError as error:
            found = {"error": str(error)}
        write_json(path.with_suffix(".json"), found)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KcnnError as error:
        sys.exit(f"Error: {error}")
