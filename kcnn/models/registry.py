"""The architectures: a table of names, and `build_model`, which makes one of them a functional Keras model.

Each family is a module with one `build(x, num_classes, …numbers)`; an architecture is numbers over it.
Nothing here imports keras before a model is built.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from kcnn.errors import KcnnError, UsageError, unknown
from kcnn.machine.backend import load_keras

# Family (module) → its options: the allowed words, or the type of a value.
OPTIONS: dict[str, dict[str, Any]] = {
    "lenet": {"pooling": ("max", "average")},
    "convnet": {"pooling": ("max", "average")},
    "alexnet": {"batch_norm": bool, "dropout": float, "activation": ("relu", "sigmoid")},
    "resnet": {"stem": ("cifar", "imagenet")},
    "vgg": {"batch_norm": bool, "dropout": float},
    "speednet": {"size": ("small", "medium", "large")},
}


@dataclass(frozen=True)
class Architecture:
    """One row of the table: the family's module, its home data set, the shipped recipe to begin with, its numbers."""

    family: str
    dataset: str
    recipe: str
    numbers: Mapping[str, int] = field(default_factory=dict)


MODELS = {
    "lenet5": Architecture("lenet", "mnist", "lenet5-mnist", {"first_padding": 2}),
    "simple_cnn": Architecture("lenet", "cifar10", "simple_cnn-cifar10", {"first_padding": 0}),
    "convnet": Architecture("convnet", "mnist", "convnet-mnist"),
    "alexnet": Architecture("alexnet", "cifar10", "alexnet-cifar10"),
    **{
        f"resnet{depth}": Architecture("resnet", "cifar10", "resnet18-cifar10", {"depth": depth})
        for depth in (18, 34, 50, 101, 152, 20, 32, 44, 56, 110)
    },
    "speednet": Architecture("speednet", "cifar10", "speednet-cifar10"),
    **{f"vgg{depth}": Architecture("vgg", "cifar10", "vgg16-cifar10", {"depth": depth}) for depth in (11, 13, 16, 19)},
}


def build_model(
    name: str,
    input_shape: Sequence[int] = (32, 32, 3),
    num_classes: int = 10,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: int | None = None,
    **options: Any,
) -> Any:
    """A functional Keras model from uint8 images (batch, *input_shape), 0…255, to logits (batch, num_classes).

    Its precision is Keras' dtype policy of the moment; its channels are last, whatever Keras is set to.

    Args:
        name: a key of `MODELS`.
        input_shape: (height, width, channels) of the images as they come.
        mean, std: a number a channel for the normalisation, of images scaled to 0…1; default 0.5 and 0.25.
        image_size: enlarge the images to this many pixels a side inside the model.
        options: the family's, see `OPTIONS`.

    Raises:
        UsageError: an unknown name or option.
        KcnnError: images too small for the network.
    """
    check_options(name, options)
    architecture = MODELS[name]
    keras = load_keras()
    family = import_module(f"kcnn.models.{architecture.family}")

    from kcnn.models.layers import channels_last, preprocess

    channels = input_shape[-1]
    images = keras.Input(tuple(input_shape), dtype="uint8", name="images")
    with channels_last():
        x = preprocess(images, mean or [0.5] * channels, std or [0.25] * channels, image_size)
        try:
            logits = family.build(x, num_classes, **architecture.numbers, **options)
        except ValueError as error:
            size = "×".join(map(str, x.shape[1:3]))
            raise KcnnError(
                f"{name} cannot take {size} px images: too small. Enlarge them with --image-size."
            ) from error
    return keras.Model(images, logits, name=name)


def normalization(model: Any) -> tuple[list[float], list[float]]:
    """The `mean` and `std` that a model was built with; a ValueError if it was not built by `build_model`."""
    from numpy import ravel

    layer = model.get_layer("normalize")
    std = [1 / (255 * scale) for scale in ravel(layer.scale).tolist()]
    return [-offset * s for offset, s in zip(ravel(layer.offset).tolist(), std, strict=True)], std


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise a UsageError unless `name` is in `MODELS` and `options` are the family's, with allowed values."""
    if name not in MODELS:
        raise UsageError(unknown("model", name, MODELS))
    allowed = OPTIONS[MODELS[name].family]
    for key, value in options.items():
        if key not in allowed:
            raise UsageError(unknown(f"option of {name}", key, allowed))
        _check_value(f"{name}'s option {key}", value, allowed[key])


def _check_value(what: str, value: Any, allowed: Any) -> None:
    if isinstance(allowed, tuple):
        if value not in allowed:
            raise UsageError(unknown(what, value, allowed))
    elif allowed is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{what} is true or false; received {value!r}.")
    elif isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise UsageError(f"{what} is a number from 0 up to, but not including, 1; received {value!r}.")
