"""From the command line to a recipe: the options of every command that begins with one."""

from pathlib import Path
from typing import Any

import click

from kcnn.cli.options import parse_augment, parse_settings

# Option → recipe key, for those that go into the recipe as they are.
RECIPE_OPTIONS: tuple[tuple[str, Any, str], ...] = (
    ("--epochs", int, "Passes over the training images."),
    ("--batch-size", int, "Images in a step."),
    ("--optimizer", str, "sgd, adam, …: see `kcnn recipes --keys`."),
    ("--learning-rate", float, "Highest rate of the schedule."),
    ("--schedule", str, "constant, cosine, one_cycle, …: see `kcnn schedule`."),
    ("--validation", float, "Part of the training images that picks the best epoch; 0 for none."),
    ("--patience", int, "Stop after this many epochs without a better one."),
    ("--seed", int, "Of weights, split, order and augmentation."),
    ("--image-size", int, "Pixels a side that the network sees."),
    ("--limit-train", int, "Use this many training images."),
    ("--data-dir", str, "Folder of the data; default KCNN_DATA_DIR or ~/.cache/kcnn."),
    ("--precision", str, "float32 or mixed_bfloat16."),
    ("--backend", str, "Keras backend: torch, jax or tensorflow."),
    ("--device", str, "auto, cpu, cuda or cuda:N."),
)
STARTS = (
    click.option("--model", default="", metavar="NAME", help="Architecture: see `kcnn models`."),
    click.option("--dataset", default="", metavar="NAME", help="Data set: see `kcnn datasets`; default the model's."),
    click.option("--recipe", default="", metavar="NAME|FILE", help="Settings to start from: see `kcnn recipes`."),
)
ENDS = (
    click.option("--augment", metavar="LIST", help="Such as crop,flip or crop=2,flip=0.3, or none."),
    click.option(
        "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other key of the recipe; repeatable."
    ),
)


def recipe_options(command: Any) -> Any:
    """Decorator: the options that `plan_recipe` takes."""
    metavars = {int: "N", float: "X", str: "WORD"}
    middle = [click.option(name, type=kind, metavar=metavars[kind], help=text) for name, kind, text in RECIPE_OPTIONS]
    for option in reversed([*STARTS, *middle, *ENDS]):
        command = option(command)
    return command


def plan_recipe(
    model: str, dataset: str, recipe: str, augment: str | None, settings: tuple[str, ...], **options: Any
) -> tuple[str, Any]:
    """The name of the recipe to start from, and that recipe with the command line's changes.

    Raises:
        UsageError: an unknown name or key, or a wrong value; all of them at once.
    """
    from kcnn.backend import named_by_environment
    from kcnn.recipe import find_recipe

    changes: dict[str, Any] = {"backend": backend} if (backend := named_by_environment()) else {}
    changes |= {key: value for key, value in options.items() if value is not None}
    if augment is not None:
        changes["augment"] = parse_augment(augment)
    changes |= parse_settings(settings)
    found, plan = find_recipe(recipe, model, dataset)
    if recipe:
        changes = {**({"model": model} if model else {}), **({"dataset": dataset} if dataset else {}), **changes}
    if changes.get("data_dir"):
        changes["data_dir"] = str(Path(changes["data_dir"]).expanduser().absolute())
    if isinstance(epochs := changes.get("epochs"), int):  # a short run warms up for half of it at most
        changes.setdefault("warmup_epochs", min(plan.warmup_epochs, epochs / 2))
    return found, plan.replace(**changes)
