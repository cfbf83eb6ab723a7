"""Augmentation of whole batches: drawn with NumPy, applied by array operations on the device.

`draw` gives plain arrays, a function of the generator alone; `apply` turns them into pixels, the same ones on every
backend. Geometry is one matrix an image: consecutive moves are multiplied, and the batch is sampled once. A border that
one of them reflects is so for all that share its sampling.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from kcnn.data.augment import colour, geometry, regions
from kcnn.data.augment.geometry import Rng, Shape, Turn
from kcnn.errors import UsageError, unknown

__all__ = ["AUGMENTATIONS", "Step", "apply", "check_data", "check_magnitudes", "draw"]


class Step(NamedTuple):
    """One operation of `kcnn.data.augment.pixels`, and its arrays, one entry an image."""

    operation: str
    arrays: tuple[Any, ...]


Draw = Callable[[float, int, Shape, Rng], Any]  # (magnitude, count, shape, generator) → arrays
Steps = Callable[..., list[Step]]  # (magnitude, count, shape, generator, turn) → steps


class Augmentation(NamedTuple):
    """One row of the table: the magnitude's default, unit and largest value, and what draws the steps."""

    default: float
    unit: str
    most: float
    steps: Steps


class Move(NamedTuple):
    """The arrays of the operation "sample", see `kcnn.data.augment.pixels`; matrices are float64 (batch, 3, 3)."""

    matrices: np.ndarray
    reflected: bool = False
    bends: np.ndarray | None = None

    def then(self, following: "Move") -> "Move":
        """Both in one sampling."""
        bent = [move.bends for move in (self, following) if move.bends is not None]
        bends = np.stack(bent).sum(0, np.int32) if bent else None
        return Move(self.matrices @ following.matrices, self.reflected or following.reflected, bends)


def _step(operation: str, draw: Draw) -> Steps:
    """Draws the arrays of one step: an array, or a tuple of them."""

    def steps(magnitude: float, count: int, shape: Shape, rng: Rng, turn: Turn | None = None) -> list[Step]:
        arrays = draw(magnitude, count, shape, rng)
        return [Step(operation, arrays if isinstance(arrays, tuple) else (arrays,))]

    return steps


def _move(draw: Draw, reflected: bool = False) -> Steps:
    """Draws the step of a move from its matrices."""
    return _step("sample", lambda *arguments: Move(draw(*arguments), reflected))


def _alternating_flip(epochs: float, count: int, shape: Shape, rng: Rng, turn: Turn | None = None) -> list[Step]:
    turn = turn or Turn(0, rng.random(count) < 0.5)
    return [Step("sample", Move(geometry.alternating_flip(epochs, turn)))]


def _elastic(deviation: float, count: int, shape: Shape, rng: Rng) -> Move:
    return Move(geometry.plane(), bends=geometry.elastic(deviation, count, shape, rng))


def _randaugment(level: float, count: int, shape: Shape, rng: Rng, turn: Turn | None = None) -> list[Step]:
    """Two different operations an image, at strength `level` / 10 either way (Cubuk et al. 2019, arXiv:1909.13719).

    The paper's fourteen with its largest values; moves come before colours, and colours before the rest.
    """
    colours = ("brightness", "contrast", "sharpness", "saturation")[: 4 if shape[2] == 3 else 3]
    kinds = 10 + len(colours)  # the first is the identity
    chosen = rng.random((count, kinds)).argsort(-1) < 2
    # Zero strength is no change, so each operation runs on the whole batch and only the chosen images feel it.
    strength = (chosen * rng.choice([-1.0, 1.0], (count, kinds)) * level / 10).T
    _, degrees, shear_y, shear_x, y, x, posterize, solarize, autocontrast, equalize, *shades = strength
    matrices = geometry.turn(30 * degrees) @ geometry.plane(
        yx=0.3 * shear_y, xy=0.3 * shear_x, y=0.3 * shape[0] * y, x=0.3 * shape[1] * x
    )
    return [
        Step("sample", Move(matrices)),
        *(Step(name, (colour.exact(1 + 0.9 * shade),)) for name, shade in zip(colours, shades, strict=True)),
        Step("posterize", (colour.upper_bits(np.abs(posterize)),)),
        Step("solarize", (colour.threshold(np.abs(solarize)),)),
        Step("autocontrast", (autocontrast != 0,)),
        Step("equalize", (equalize != 0,)),
    ]


AUGMENTATIONS = {
    "crop": Augmentation(4, "pixels of padding", 1000, _move(geometry.shift)),
    "reflect_crop": Augmentation(4, "pixels of padding", 1000, _move(geometry.shift, reflected=True)),
    "shift": Augmentation(4, "pixels", 1000, _move(geometry.shift)),
    "flip": Augmentation(0.5, "probability", 1, _move(geometry.flip)),
    "alternating_flip": Augmentation(1, "whole epochs", 10**6, _alternating_flip),
    "vflip": Augmentation(0.5, "probability", 1, _move(geometry.vflip)),
    "rotation": Augmentation(15, "degrees", 180, _move(geometry.rotation)),
    "scale": Augmentation(0.1, "part of the size", 0.5, _move(geometry.scale)),
    "affine": Augmentation(0.1, "change of the matrix", 0.3, _move(geometry.affine)),
    "elastic": Augmentation(1, "deviation in pixels", 100, _step("sample", _elastic)),
    "brightness": Augmentation(0.4, "part of the factor", 1, _step("brightness", colour.factor)),
    "contrast": Augmentation(0.4, "part of the factor", 1, _step("contrast", colour.factor)),
    "saturation": Augmentation(0.4, "part of the factor", 1, _step("saturation", colour.factor)),
    "cutout": Augmentation(8, "pixels a side", 1000, _step("erase", regions.cutout)),
    "erasing": Augmentation(0.5, "probability", 1, _step("erase", regions.erasing)),
    "mixup": Augmentation(0.2, "alpha", 100, _step("mix", regions.mixup)),
    "cutmix": Augmentation(1, "alpha", 100, _step("paste", regions.cutmix)),
    "randaugment": Augmentation(5, "level", 10, _randaugment),
}


def check_magnitudes(augment: Mapping[str, Any]) -> dict[str, float]:
    """The names and magnitudes of a recipe, as floats.

    Raises:
        UsageError: naming every unknown name, and everything that is no number or out of the table's range.
    """
    errors = [problem for name, magnitude in augment.items() if (problem := _problem(name, magnitude))]
    if errors:
        raise UsageError(" ".join(errors))
    return {name: float(magnitude) for name, magnitude in augment.items()}


def _problem(name: str, magnitude: Any) -> str:
    if name not in AUGMENTATIONS:
        return unknown("augmentation", name, AUGMENTATIONS)
    _, unit, most, _ = AUGMENTATIONS[name]
    whole = unit.startswith(("pixels", "whole"))
    number = not isinstance(magnitude, bool) and isinstance(magnitude, (int, float))
    if number and 0 < magnitude <= most and not (whole and magnitude % 1):
        return ""
    words = "a whole number, " if whole else ""
    return f"augmentation {name} ({unit}) must be {words}above 0 and at most {most:g}; received {magnitude!r}."


def check_data(augment: Mapping[str, float], shape: Shape, classes: int, batch_size: int) -> None:
    """Refuse augmentations that images of this shape, or batches of this size, cannot take.

    Raises:
        UsageError: naming all of them at once.
    """
    height, width, channels = shape
    errors = []
    for name, magnitude in augment.items():
        if AUGMENTATIONS[name].unit.startswith("pixels") and magnitude >= min(height, width):
            errors.append(
                f"augmentation {name}={magnitude:g} is as large as the images ({height}×{width}): "
                f"choose at most {min(height, width) - 1}."
            )
        if name == "saturation" and channels != 3:
            errors.append("augmentation saturation needs colour, and these images are grey: leave it out.")
        if name in ("mixup", "cutmix") and classes < 2:
            errors.append(f"augmentation {name} mixes classes, and the data set has only {classes}: leave it out.")
        if name in ("mixup", "cutmix") and batch_size < 2:
            errors.append(f"augmentation {name} mixes the images of a batch: choose a batch_size of 2 or more.")
    if errors:
        raise UsageError(" ".join(errors))


def draw(augment: Mapping[str, float], count: int, shape: Shape, rng: Rng, turn: Turn | None = None) -> list[Step]:
    """The steps for `count` images of `shape`, in the order of `augment`; neighbouring moves are one step.

    Args:
        turn: what decides alternating_flip; None draws it, too.
    """
    steps: list[Step] = []
    for name, magnitude in augment.items():
        for step in AUGMENTATIONS[name].steps(magnitude, count, shape, rng, turn):
            if steps and step.operation == steps[-1].operation == "sample":
                step = Step("sample", Move(*steps.pop().arrays).then(Move(*step.arrays)))
            steps.append(step)
    return [
        Step(kind, (geometry.fixed_point(arrays[0], shape), *arrays[1:])) if kind == "sample" else Step(kind, arrays)
        for kind, arrays in steps
    ]


def apply(images: Any, targets: Any, steps: list[Step]) -> tuple[Any, Any]:
    """Carry out the steps on uint8 images (batch, height, width, channels) and target rows (batch, classes).

    Both are of the backend; only mixup and cutmix change targets.
    """
    from kcnn.data.augment import pixels  # imports keras, which the recipe's check of names must not

    for operation, arrays in steps:
        function = getattr(pixels, operation)
        if operation in ("mix", "paste"):
            images, targets = function(images, targets, *arrays)
        else:
            images = function(images, *arrays)
    return images, targets
