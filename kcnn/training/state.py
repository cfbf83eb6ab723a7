"""In what state a run is: whether it may go on, is finished, or lacks something. Needs no keras."""

from pathlib import Path
from typing import Any

from kcnn.errors import KcnnError, UsageError, command
from kcnn.recipes.origin import check_recipe
from kcnn.recipes.recipe import Recipe
from kcnn.run.checkpoint import read_info
from kcnn.run.directory import RunDir
from kcnn.run.history import History
from kcnn.run.result import read_result


def finished(recipe: Recipe, history: History) -> bool:
    """Whether all epochs are trained, or enough of them went by without a better one."""
    return history.epochs >= recipe.epochs or history.exhausted(recipe.patience, recipe.freeze_epochs)


def outcome(recipe: Recipe, run: RunDir, history: History) -> dict[str, Any]:
    """The result of a finished run of which nothing is missing; empty for another one."""
    files = (run.best, run.predictions, run.curves, run.confusion)
    return known_result(run, history) if finished(recipe, history) and all(path.exists() for path in files) else {}


def known_result(run: RunDir, history: History) -> dict[str, Any]:
    """What is in `result.json`; empty where it has to be written anew."""
    try:
        return read_result(run, history.epochs)
    except KcnnError:
        return {}


def resumable(recipe: Recipe, run: RunDir) -> tuple[dict[str, Any], History]:
    """The info and the log of `last.keras`, if the run may go on from there with this recipe.

    Raises:
        KcnnError: `last.keras` is gone or damaged, or the recipe is another one than the run was begun with.
        UsageError: fewer epochs than are trained, or a change of them that the schedule does not allow.
    """
    if not run.last.exists():
        raise KcnnError(
            f"{run.path} has no last.keras to continue from, though it was begun. What is there can still be used; "
            f"begin a new run with: {command('train', '--recipe', run.recipe)}"
        )
    info = read_info(run.last)
    if "history" not in info:
        raise KcnnError(f"{run.last} has no log in it, so it cannot be continued: start a new run with another --run.")
    try:
        history = History.of(info["history"])
    except ValueError as error:
        raise KcnnError(f"{run.last} is damaged: in its log, {error}.") from error
    if info.get("epoch") != history.epochs:
        raise KcnnError(f"{run.last} is damaged: it is of epoch {info.get('epoch')}, its log of {history.epochs}.")
    if "origin" in info:
        check_recipe(info["origin"], recipe, run.path)
    if history.epochs > recipe.epochs:
        raise UsageError(f"{run.path} has trained {history.epochs} epochs; epochs cannot be {recipe.epochs} any more.")
    return info, history


def best_weights(recipe: Recipe, run: RunDir, history: History) -> Path:
    """The file with the weights of the log's best epoch: `best.keras`, or `last.keras` where that is gone.

    `last.keras` cannot stand in for an average of the weights (`ema`).

    Raises:
        KcnnError: neither has them.
    """
    best = history.best_epoch
    found = read_info(run.best).get("epoch") if run.best.exists() else 0
    ahead = found is not None and found > history.epochs  # killed between the two files; that epoch comes again
    if found == best or (ahead and not finished(recipe, history)):
        return run.best
    if best == history.epochs and found is not None and not recipe.ema:
        return run.last
    raise KcnnError(
        f"{run.best} {f'is of epoch {found}' if run.best.exists() else 'is gone'}, but epoch {best} was the best, and "
        f"last.keras, of epoch {history.epochs}, cannot stand in for it. Score what is there with: "
        f"{command('evaluate', run.path)}, or begin again with: {command('train', '--recipe', run.recipe)}"
    )
