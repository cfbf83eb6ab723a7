"""Finished runs side by side: the settings that differ, what came out, and their curves. Needs no keras."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kcnn.errors import KcnnError
from kcnn.plots.lines import curves
from kcnn.recipes.files import read_recipe
from kcnn.recipes.recipe import Recipe
from kcnn.run.directory import RunDir
from kcnn.run.history import History, read_history
from kcnn.run.result import read_result


def compare_runs(paths: Sequence[Path], picture: Path) -> dict[str, Any]:
    """Read the runs and overlay their curves in `picture`.

    Returns:
        `{"runs": {name: numbers}, "settings": {key that differs: {name: value}}}`; a number that a run does not
        have, as one that is not finished has no test accuracy, is None.

    Raises:
        KcnnError: no such run, one without a finished epoch, or a damaged file; named.
    """
    runs = {name: RunDir.open(path) for name, path in zip(short_names(paths), paths, strict=True)}
    recipes = {name: read_recipe(run.recipe) for name, run in runs.items()}
    histories = {name: read_history(run) for name, run in runs.items()}
    rows = {name: _numbers(run, histories[name]) for name, run in runs.items()}
    curves(histories, picture)
    return {"runs": rows, "settings": differing(recipes)}


def short_names(paths: Sequence[Path]) -> list[str]:
    """What tells the paths apart: each without the folders at the front that they share."""
    whole = [Path(os.path.abspath(path)) for path in paths]
    if len(set(whole)) < len(whole):
        raise KcnnError("The same run is named twice.")
    shared = Path(os.path.commonpath([path.parent for path in whole]))
    return [path.relative_to(shared).as_posix() for path in whole]


def differing(recipes: Mapping[str, Recipe]) -> dict[str, dict[str, Any]]:
    """The recipe keys whose values are not the same in all runs; entries of a table one by one: `augment.flip`."""
    flat = {name: _flat(asdict(recipe)) for name, recipe in recipes.items()}
    keys = dict.fromkeys(key for values in flat.values() for key in values)
    table = {key: {name: values.get(key) for name, values in flat.items()} for key in keys}
    return {key: row for key, row in table.items() if len({json.dumps(value) for value in row.values()}) > 1}


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= {f"{key}.{entry}": inner for entry, inner in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def _numbers(run: RunDir, history: History) -> dict[str, Any]:
    result = read_result(run, history.epochs)
    return {
        "test_accuracy": result.get("test", {}).get("accuracy"),
        "val_accuracy": history.rows[history.best_epoch - 1].get("val_accuracy"),
        "best_epoch": history.best_epoch,
        "epochs": history.epochs,
        "seconds": round(history.seconds, 1),
        "images_per_second": history.images_per_second,
        "parameters": result.get("parameters"),
        "device": result.get("device"),
    }
