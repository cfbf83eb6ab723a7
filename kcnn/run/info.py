"""What kcnn adds to a model: class names, the log, the size of pictures; checked, as anyone may have written it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kcnn.errors import KcnnError, shown
from kcnn.run.history import COLUMNS

ORIGIN = ("recipe", "images")  # see `kcnn.recipes.origin`
ALWAYS = {column for column in COLUMNS if not column.startswith("val_")}


def check_info(path: Path, info: Any) -> dict[str, Any]:
    """The `info` of a model file, if its known keys have values of their kinds.

    Raises:
        KcnnError: naming the key.
    """
    wrong = [key for key, right in SHAPES.items() if isinstance(info, dict) and key in info and not right(info[key])]
    if wrong or not isinstance(info, dict):
        raise KcnnError(f"{path} is damaged: what it keeps as {wrong[0] if wrong else 'kcnn.json'} cannot be kcnn's.")
    return info


def check_names(path: Path, names: Any, outputs: int) -> list[str]:
    """The class names of a model with so many outputs; numbers if it brings none.

    Raises:
        KcnnError: they are no list of words, or not one for each output.
    """
    if names is None or names == []:
        return [str(index) for index in range(outputs)]
    if not _words(names):
        raise KcnnError(f"{path} is damaged: its class names are no list of words. Train, export or fetch it again.")
    if len(names) != outputs:
        raise KcnnError(f"{path} is damaged: it has {len(names)} class names for {outputs} outputs.")
    return names


def check_shapes(path: Path, inputs: Any, outputs: Any) -> int:
    """How many classes a model with these shapes tells apart.

    Raises:
        KcnnError: it does not take images (batch, height, width, channels), or does not give a number a class.
    """
    image, classes = _sizes(inputs)[1:], _sizes(outputs)[1:]
    if len(image) != 3 or len(classes) != 1 or not all(isinstance(axis, int) and axis > 0 for axis in image + classes):
        raise KcnnError(
            f"{path} is no classifier of images: it takes {shown(str(inputs))} and gives {shown(str(outputs))}, not "
            f"(batch, height, width, channels) and (batch, classes)."
        )
    return int(classes[0])


def _sizes(shape: Any) -> tuple[Any, ...]:
    return tuple(shape) if isinstance(shape, (tuple, list)) else ()


def _words(value: Any) -> bool:
    """Whether this is a list of texts that can be written to a file."""
    return isinstance(value, list) and all(isinstance(word, str) and _whole(word) for word in value)


def _whole(word: str) -> bool:
    """Whether there are no halves of characters in it, but for those that stand for the stray bytes of file names."""
    return not any("\ud800" <= letter <= "\udfff" and not "\udc80" <= letter <= "\udcff" for letter in word)


def _log(value: Any) -> bool:
    """Whether this is a list of rows with the columns that every epoch has; `History.of` looks at their numbers."""
    return isinstance(value, list) and all(isinstance(row, Mapping) and row.keys() >= ALWAYS for row in value)


def _origin(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), dict) for key in ORIGIN)


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


# What `info` may have, and what each must be.
SHAPES: dict[str, Callable[[Any], bool]] = {
    "class_names": _words,
    "epoch": _count,
    "history": _log,
    "origin": _origin,
    "resize": _count,
}
