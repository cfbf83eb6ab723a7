"""The model that a command works on: a run, a `.keras` file, or torchvision's weights."""

from pathlib import Path
from typing import Any

import click

from kcnn.cli.options import parse_settings
from kcnn.errors import UsageError

OPTIONS = (
    click.option("--model", default="", metavar="NAME", help="Instead of RUN: this architecture, with --pretrained."),
    click.option(
        "--pretrained",
        is_flag=False,
        flag_value="imagenet",
        default="",
        metavar="[FILE]",
        help="torchvision's ImageNet weights, or those in a .pth or .safetensors file.",
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="With --model: such as model_options.batch_norm=false.",
    ),
)


def source_options(command: Any) -> Any:
    """Decorator: the options that name a model which is not in a run."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def is_weights_file(name: str) -> bool:
    """Whether the value of `--pretrained` can be its own, and not the argument that follows."""
    from kcnn.models.counterparts import FILES, IMAGENET

    return name in ("", IMAGENET) or Path(name).suffix.lower() in FILES


def check_source(run: str, model: str, pretrained: str, settings: tuple[str, ...]) -> dict[str, Any]:
    """The model's options, once it is sure that either a run is named, or a model with its weights.

    Raises:
        UsageError: both or neither, or an unknown model, option or file type.
    """
    from kcnn.models import counterparts

    if bool(run) == bool(model):
        raise UsageError("Name either a run directory or .keras file, or --model NAME --pretrained.")
    options = {}
    for key, value in parse_settings(settings).items():
        table, dot, option = key.partition(".")
        if table != "model_options" or not dot or not model:
            raise UsageError(f"--set takes model_options.NAME=VALUE here, with --model; received {key!r}.")
        options[option] = value
    if model:
        counterparts.check_source(pretrained or counterparts.IMAGENET, model, options)
    if bool(model) != bool(pretrained):
        raise UsageError("--model and --pretrained go together: a model without weights knows nothing.")
    return options


def open_source(run: str, model: str, pretrained: str, options: dict[str, Any]) -> tuple[Any, list[str], Any]:
    """(model, class names, the `Preparation` of its pictures); keras is chosen already."""
    from kcnn.data.preparation import Preparation
    from kcnn.run.checkpoint import file_of, open_model, read_info
    from kcnn.starts.transfer import pretrained_model

    if model:
        network, class_names, resize = pretrained_model(pretrained, model, options)
        return network, class_names, Preparation(network.input_shape[1:], resize)
    network, class_names = open_model(Path(run))
    return network, class_names, Preparation.of(network.input_shape[1:], read_info(file_of(Path(run))))
