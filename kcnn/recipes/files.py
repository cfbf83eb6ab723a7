"""Recipes in files: those that come with kcnn, and the user's own."""

import tomllib
from dataclasses import replace
from importlib import resources
from pathlib import Path

from kcnn.data.registry import DATASETS
from kcnn.errors import KcnnError, UsageError, shown, unknown
from kcnn.models.registry import MODELS
from kcnn.recipes.recipe import Recipe


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file.

    Raises:
        KcnnError: no such file, or not TOML.
        UsageError: unknown keys or wrong values.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except FileNotFoundError as error:
        raise KcnnError(f"There is no recipe file {path}.") from error
    except (ValueError, RecursionError) as error:
        raise KcnnError(f"{path} is not a TOML file: {shown(str(error), 200)}.") from error
    try:
        return Recipe.of(values)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def shipped_recipes() -> dict[str, Path]:
    """Name → file of the recipes that come with kcnn."""
    folder = Path(str(resources.files("kcnn") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_recipe(name: str = "", model: str = "", dataset: str = "") -> tuple[str, Recipe]:
    """The recipe to start from, and what it is called.

    `name` is a shipped recipe or a file. Without one, it is the shipped recipe for the model and data set; for a pair
    that has none, the model's own, or its family's, with the names replaced.
    """
    shipped = shipped_recipes()
    if name:
        if name in shipped:
            return name, read_recipe(shipped[name])
        if name.endswith(".toml") or Path(name).exists():
            return name, read_recipe(Path(name))
        raise UsageError(unknown("recipe", name, shipped))
    for kind, word, table in (("model", model, MODELS), ("data set", dataset, DATASETS)):
        if word and word not in table:
            raise UsageError(unknown(kind, word, table))
    if not model and not dataset:
        dataset = "digits"
    model = model or DATASETS[dataset].model
    dataset = dataset or MODELS[model].dataset
    for candidate in (f"{model}-{dataset}", MODELS[model].recipe):
        if candidate in shipped:
            return candidate, replace(read_recipe(shipped[candidate]), model=model, dataset=dataset)
    raise KcnnError(f"No shipped recipe fits {model} on {dataset}; name one with --recipe.")
