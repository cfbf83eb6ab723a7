"""Which of kcnn's architectures torchvision has too, and under which names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kcnn.errors import UsageError
from kcnn.models.registry import MODELS, check_options

IMAGENET = "imagenet"  # the word for torchvision's own weights


FILES = (".pth", ".pt", ".safetensors")


def torchvision_name(model: str, options: Mapping[str, Any]) -> str:
    """torchvision's name of one of kcnn's architectures with these options: vgg16 with batch norm is `vgg16_bn`.

    Raises:
        UsageError: torchvision has no such network.
    """
    check_options(model, options)
    family, depth = MODELS[model].family, MODELS[model].numbers.get("depth", 0)
    if family == "resnet" and depth in (18, 34, 50, 101, 152):
        return model
    if family == "vgg":
        return f"{model}_bn" if options.get("batch_norm", True) else model
    raise UsageError(
        f"torchvision has no {model}. ImageNet weights exist for resnet18, 34, 50, 101 and 152 and "
        f"vgg11, 13, 16 and 19; --weights starts from a run of kcnn's own."
    )


def check_source(source: str, model: str, options: Mapping[str, Any]) -> None:
    """Raise a UsageError unless `source` can be one of `load_pretrained` for this model."""
    torchvision_name(model, options)
    if source != IMAGENET and Path(source).suffix not in FILES:
        raise UsageError(f"pretrained is {IMAGENET!r} or a file ({', '.join(FILES)}); received {source!r}.")
