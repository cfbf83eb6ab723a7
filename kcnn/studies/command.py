"""The exact `kcnn` command that repeats a task outside its study."""

import json
import shlex
from dataclasses import asdict
from typing import Any

from kcnn.recipes.files import find_recipe
from kcnn.recipes.recipe import Recipe
from kcnn.studies.tasks import ELSEWHERE, Task

USERS = ("folder", "tensors")  # data sets that are where the user has put them
# Key → those that `kcnn train` derives from it, unless it is told them.
DERIVED = {"epochs": ("warmup_epochs",), "pretrained": ("image_size", "model_options")}


def task_command(task: Task) -> str:
    """The training, or for a row of tests the evaluation of the run that it tests."""
    if not task.row.test_of:
        return train_command(task.recipe)
    assert task.source is not None
    return shlex.join(["kcnn", *evaluation(task)])


def evaluation(task: Task) -> list[str]:
    """`evaluate RUN …` for a row of tests."""
    assert task.source is not None
    words = ["evaluate", str(task.source.path)]
    if task.row.augment:
        words += ["--augment", ",".join(f"{name}={value:g}" for name, value in task.row.augment.items())]
    return words + (["--tta", task.row.tta] if task.row.tta else [])


def train_command(recipe: Recipe) -> str:
    """`kcnn train` with the shipped recipe that is nearest and every key that differs from it."""
    name, base = find_recipe("", recipe.model, recipe.dataset)
    values, before = asdict(recipe), asdict(base)
    keys = [key for key in values if key not in (*ELSEWHERE, "model", "dataset")]
    said = [key for key in keys if values[key] != before[key]]
    derived = [other for key in said for other in DERIVED.get(key, ())]
    said = [key for key in keys if key in (*said, *derived)]
    settings = [word for key in said for word in ("--set", f"{key}={_value(values[key])}")]
    words = ["kcnn", "train", "--model", recipe.model, "--dataset", recipe.dataset, "--recipe", name, *settings]
    return shlex.join(words + (["--data-dir", recipe.data_dir] if recipe.dataset in USERS and recipe.data_dir else []))


def _value(value: Any) -> str:
    """As TOML has it; `--set` takes words without quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {json.dumps(entry)}" for key, entry in value.items()) + "}"
    return value if isinstance(value, str) and value.isidentifier() else json.dumps(value)
