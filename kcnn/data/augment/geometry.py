"""Moves of the image plane as matrices, drawn with NumPy: float64 (batch, 3, 3).

A matrix takes the place (row, column, 1) of a pixel of the new image to its place in the old one, both measured from
the image's centre. So a transform after another is a product, and any number of them is one sampling of the image.
"""

from typing import Any

import numpy as np

Rng = np.random.Generator
Shape = tuple[int, int, int]  # height, width, channels

FRACTION_BITS = 16  # places are whole numbers of 1/65536 pixel: integers, so that every backend has the same ones


def plane(yy: Any = 1.0, yx: Any = 0.0, y: Any = 0.0, xy: Any = 0.0, xx: Any = 1.0, x: Any = 0.0) -> np.ndarray:
    """Matrices [[yy, yx, y], [xy, xx, x], [0, 0, 1]] from numbers or arrays (batch,); the identity by default."""
    entries = np.stack(np.broadcast_arrays(yy, yx, y, xy, xx, x, 0.0, 0.0, 1.0), axis=-1)
    return entries.astype(np.float64).reshape(-1, 3, 3)


def turn(degrees: np.ndarray) -> np.ndarray:
    """Rotation about the centre, counter-clockwise."""
    sine, cosine = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    return plane(yy=cosine, yx=sine, xy=-sine, xx=cosine)


def shift(pixels: float, count: int, shape: Shape, rng: Rng) -> np.ndarray:
    """Move by a whole number of up to `pixels` on each axis.

    What comes in from outside is black, so this is also a crop after padding by `pixels`.
    """
    most = round(pixels)
    y, x = rng.integers(-most, most, (count, 2), endpoint=True).T
    return plane(y=y, x=x)


def flip(probability: float, count: int, shape: Shape, rng: Rng) -> np.ndarray:
    """Mirror left and right."""
    return plane(xx=np.where(rng.random(count) < probability, -1, 1))


def vflip(probability: float, count: int, shape: Shape, rng: Rng) -> np.ndarray:
    """Mirror top and bottom."""
    return plane(yy=np.where(rng.random(count) < probability, -1, 1))


def rotation(degrees: float, count: int, shape: Shape, rng: Rng) -> np.ndarray:
    """Turn by up to `degrees` either way."""
    return turn(rng.uniform(-degrees, degrees, count))


def scale(part: float, count: int, shape: Shape, rng: Rng) -> np.ndarray:
    """Enlarge by a factor from 1 - `part` to 1 + `part`, the same on both axes."""
    inverse = 1 / rng.uniform(1 - part, 1 + part, count)
    return plane(yy=inverse, xx=inverse)


def affine(part: float, count: int, shape: Shape, rng: Rng) -> np.ndarray:
    """Change each of the four numbers of the linear part by up to `part`, and move by up to that part of the side.

    The four hold shear, stretch on each axis and rotation (0.1 is up to 5.7 degrees).
    """
    yy, yx, xy, xx, y, x = rng.uniform(-part, part, (6, count))
    return plane(1 + yy, yx, y * shape[0], xy, 1 + xx, x * shape[1])


def fixed_point(matrices: np.ndarray, shape: Shape) -> np.ndarray:
    """The matrices for places counted from the top left pixel, int32 (batch, 2, 3) in 1/65536."""
    centre = np.array([(shape[0] - 1) / 2, (shape[1] - 1) / 2])
    linear, offset = matrices[:, :2, :2], matrices[:, :2, 2]
    offset = offset + centre - linear @ centre
    return np.rint(np.concatenate([linear, offset[..., None]], -1) * 2**FRACTION_BITS).astype(np.int32)
