"""Augmentation of whole batches: drawn with NumPy, applied by array operations on the device.

Geometry is one matrix an image, from the place (row, column, 1) of a pixel in the new image to its place in the
old one. Transforms multiply their matrices, and the batch is sampled once.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Rng = np.random.Generator
Matrices = np.ndarray  # float32 (batch, 2, 3)


def _translation(pixels: float, matrices: Matrices, size: int, rng: Rng) -> None:
    """Move by a whole number of up to `pixels` on each axis; what comes in from outside is black (zero)."""
    most = round(pixels)
    offsets = rng.integers(-most, most, (len(matrices), 2), endpoint=True)
    matrices[:, :, 2] += np.einsum("bij,bj->bi", matrices[:, :, :2], offsets)


def _flip(probability: float, matrices: Matrices, size: int, rng: Rng) -> None:
    """Mirror left and right with this probability. `size` is the images' width."""
    mirrored = rng.random(len(matrices)) < probability
    matrices[mirrored, :, 2] += matrices[mirrored, :, 1] * (size - 1)
    matrices[mirrored, :, 1] *= -1


# Name → (function, default magnitude, unit). A crop after padding by p pixels is a shift by up to p.
GEOMETRY: dict[str, tuple[Callable[[float, Matrices, int, Rng], None], float, str]] = {
    "crop": (_translation, 4, "pixels of padding"),
    "shift": (_translation, 4, "pixels"),
    "flip": (_flip, 0.5, "probability"),
}
AUGMENTATIONS = {name: (default, unit) for name, (_, default, unit) in GEOMETRY.items()}


def draw(augment: Mapping[str, float], count: int, width: int, rng: Rng) -> Matrices:
    """The matrices for `count` images `width` pixels wide, of the transforms in the order of `augment`."""
    matrices = np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))
    for name, magnitude in augment.items():
        GEOMETRY[name][0](magnitude, matrices, width, rng)
    return matrices


def apply(images: Any, matrices: Matrices) -> Any:
    """Sample uint8 images (batch, height, width, channels) of the backend at the places that `matrices` give."""
    from keras import ops

    batch, height, width, channels = images.shape
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    by_row, by_column, offset = matrices[:, :, :, None, None].transpose(2, 0, 1, 3, 4)
    places = by_row * rows + by_column * columns + offset
    y, x = places.round().astype(np.int32).transpose(1, 0, 2, 3)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    pixel = np.where(inside, (np.arange(batch, dtype=np.int32)[:, None, None] * height + y) * width + x, 0)
    taken = ops.take(ops.reshape(images, (-1, channels)), ops.convert_to_tensor(pixel.reshape(-1)), axis=0)
    taken = ops.reshape(taken, (batch, height, width, channels))
    return ops.where(ops.convert_to_tensor(inside[..., None]), taken, ops.cast(0, images.dtype))
