"""Moves of the image plane as matrices, drawn with NumPy: float64 (batch, 3, 3).

A matrix takes the place (row, column, 1) of a pixel of the new image to its place in the old one, both measured from
the image's centre. So a transform after another is a product, and any number of them is one sampling of the image.
"""

from typing import Any, NamedTuple

import numpy as np

Rng = np.random.Generator
Shape = tuple[int, int, int]  # height, width, channels


class Turn(NamedTuple):
    """When images are shown: the epoch, from 0, and for each image a bit that stays with it, bool (batch,)."""

    epoch: int
    bits: np.ndarray


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

    What comes in from outside is black or reflected, so this is also a crop after padding by `pixels`.
    """
    most = round(pixels)
    y, x = rng.integers(-most, most, (count, 2), endpoint=True).T
    return plane(y=y, x=x)


def flip(probability: float, count: int, shape: Shape, rng: Rng) -> np.ndarray:
    """Mirror left and right."""
    return plane(xx=np.where(rng.random(count) < probability, -1, 1))


def alternating_flip(epochs: float, turn: Turn) -> np.ndarray:
    """Mirror left and right for so many epochs, then not for as many; half of the images begin with the one.

    So two epochs show both sides of every image, which drawing does for half of them: Jordan 2024 (arXiv:2404.00498).
    """
    return plane(xx=np.where(turn.bits ^ bool(turn.epoch // int(epochs) % 2), -1, 1))


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


def elastic(deviation: float, count: int, shape: Shape, rng: Rng) -> np.ndarray:
    """How far each pixel's place moves, int32 (batch, 2, height, width) in 1/65536 pixel, with this standard deviation.

    A Gaussian field, smooth over a seventh of the side: Simard et al. 2003, "Best practices for convolutional neural
    networks", section 2, have 4 of 29 pixels, and with their alpha of 34 a deviation of 1.4.
    """
    noise = rng.standard_normal((count, 2, *shape[:2]), np.float32)
    along_y, along_x = (_smoother(side) for side in shape[:2])
    return np.rint(along_y @ noise @ along_x.T * np.float32(deviation * 2**FRACTION_BITS)).astype(np.int32)


def _smoother(side: int) -> np.ndarray:
    """Gaussian weights float32 (side, side), such that the variance stays."""
    distance = np.arange(side)[:, None] - np.arange(side)
    weights = np.exp(-0.5 * (distance / (side / 7)) ** 2)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def fixed_point(matrices: np.ndarray, shape: Shape) -> np.ndarray:
    """The matrices for places counted from the top left pixel, int32 (batch, 2, 3) in 1/65536."""
    centre = np.array([(shape[0] - 1) / 2, (shape[1] - 1) / 2])
    linear, offset = matrices[:, :2, :2], matrices[:, :2, 2]
    offset = offset + centre - linear @ centre
    return np.rint(np.concatenate([linear, offset[..., None]], -1) * 2**FRACTION_BITS).astype(np.int32)
