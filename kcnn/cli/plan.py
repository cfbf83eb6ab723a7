"""From the command line to a recipe: the options of every command that begins with one."""

import os
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
PATHS = ("data_dir", "weights", "pretrained")  # recipe keys that a run keeps as absolute paths
STARTS = (
    click.option("--model", default="", metavar="NAME", help="Architecture: see `kcnn models`."),
    click.option("--dataset", default="", metavar="NAME", help="Data set: see `kcnn datasets`, or a folder."),
    click.option("--recipe", default="", metavar="NAME|FILE", help="Settings to start from: see `kcnn recipes`."),
)
FINETUNING = (
    click.option(
        "--pretrained",
        is_flag=False,
        flag_value="imagenet",
        metavar="[FILE]",
        help="Start from torchvision's ImageNet weights, or those in a .pth or .safetensors file.",
    ),
    click.option("--weights", metavar="RUN|FILE", help="Start from a run of kcnn's own, or a .keras file."),
    click.option("--freeze-epochs", type=int, metavar="N", help="With either: first train only the head, so long."),
)
ENDS = (
    click.option("--skip-bad", is_flag=True, default=None, help="Leave out pictures that do not decode."),
    click.option("--tensorboard", is_flag=True, default=None, help="Write TensorBoard's event files into the run."),
    click.option("--augment", metavar="LIST", help="Such as crop,flip or crop=2,flip=0.3, or none."),
    click.option(
        "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other key of the recipe; repeatable."
    ),
)


def recipe_options(command: Any) -> Any:
    """Decorator: the options that `plan_recipe` takes."""
    metavars = {int: "N", float: "X", str: "WORD"}
    middle = [click.option(name, type=kind, metavar=metavars[kind], help=text) for name, kind, text in RECIPE_OPTIONS]
    for option in reversed([*STARTS, *FINETUNING, *middle, *ENDS]):
        command = option(command)
    return command


def plan_recipe(
    model: str, dataset: str, recipe: str, augment: str | None, settings: tuple[str, ...], **options: Any
) -> tuple[str, Any]:
    """The name of the recipe to start from, and that recipe with the command line's changes.

    Raises:
        UsageError: an unknown name or key, or a wrong value; all of them at once.
    """
    from kcnn.data.registry import named_dataset
    from kcnn.machine.backend import named_by_environment
    from kcnn.models.counterparts import IMAGENET
    from kcnn.recipes.files import find_recipe

    changes: dict[str, Any] = {"backend": backend} if (backend := named_by_environment()) else {}
    changes |= {key: value for key, value in options.items() if value is not None}
    if augment is not None:
        changes["augment"] = parse_augment(augment)
    changes |= parse_settings(settings)
    dataset, data_dir = named_dataset(dataset, changes.get("data_dir") or "")
    if data_dir:
        changes["data_dir"] = data_dir
    for key in PATHS:
        if isinstance(path := changes.get(key), str) and path and (key, path) != ("pretrained", IMAGENET):
            changes[key] = str(Path(os.path.expanduser(path)).absolute())  # as it is for a user who is unknown
    if isinstance(path := changes.get("weights"), str) and path:
        model, dataset = _from_weights(model, dataset, bool(recipe), changes)
    found, plan = find_recipe(recipe, model, dataset)
    if isinstance(start := changes.get("pretrained"), str) and start:
        found, plan = _from_pretrained(found, plan, bool(recipe), changes)
    if recipe:
        changes = {**({"model": model} if model else {}), **({"dataset": dataset} if dataset else {}), **changes}
    if isinstance(epochs := changes.get("epochs"), int):  # a short run warms up for half of it at most
        changes.setdefault("warmup_epochs", min(plan.warmup_epochs, epochs / 2))
    if changes.get("optimizer", "sgd") != "sgd":  # what the recipe says of sgd is no matter of another
        changes = {"nesterov": False, "momentum_of": "steps", **changes}
    return found, plan.replace(**changes)


def _from_weights(model: str, dataset: str, chosen: bool, changes: dict[str, Any]) -> tuple[str, str]:
    """The model and data set of a start from kcnn's own weights: theirs, where the command line names none.

    `chosen`: a recipe is named, which has both.
    """
    from kcnn.starts.transfer import described

    known = described(Path(changes["weights"]))
    if chosen or model not in ("", known["model"]):
        return model, dataset
    if "model_options" in known and not any(key.startswith("model_options") for key in changes):
        changes["model_options"] = known["model_options"]
    return known["model"], dataset or known.get("dataset", "")


def _from_pretrained(found: str, plan: Any, chosen: bool, changes: dict[str, Any]) -> tuple[str, Any]:
    """The recipe of a start from ImageNet's weights; `chosen`: it is named, and only how images are seen changes."""
    from kcnn.recipes.recipe import Recipe
    from kcnn.starts.transfer import SETTINGS, imagenet_input

    options = [*plan.model_options, *(key.removeprefix("model_options.") for key in changes)]
    size = changes.get("image_size", plan.image_size)
    for key, value in imagenet_input(changes.get("model", plan.model), size, options).items():
        changes.setdefault(key, value)
    if chosen:
        return found, plan
    kept = {"model": plan.model, "dataset": plan.dataset, "model_options": plan.model_options}
    return "fine-tuning", Recipe.of({**SETTINGS, **kept, "pretrained": changes["pretrained"]})
