"""Rectangles and partners, drawn with NumPy. A rectangle is int32 (top, left, bottom, right), the last two exclusive.

It may reach over the edge.
"""

import numpy as np

from kcnn.data.augment.colour import exact
from kcnn.data.augment.geometry import Rng, Shape


def _around(y: np.ndarray, x: np.ndarray, height: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Rectangles (batch, 4) of these sizes around these places."""
    top, left = y - height // 2, x - width // 2
    return np.stack([top, left, top + height, left + width], -1).astype(np.int32)


def cutout(pixels: float, count: int, shape: Shape, rng: Rng) -> np.ndarray:
    """A square of side `pixels` around any pixel (DeVries and Taylor 2017, arXiv:1708.04552)."""
    y, x = rng.integers(0, shape[:2], (count, 2)).T
    side = np.full(count, round(pixels))
    return _around(y, x, side, side)


def erasing(probability: float, count: int, shape: Shape, rng: Rng) -> np.ndarray:
    """A rectangle of 2 to 33 % of the area, proportions 0.3 to 3.3, inside the image; empty where none is drawn.

    Zhong et al. 2017, arXiv:1708.04896, whose ranges these are.
    """
    area, aspect = rng.uniform(0.02, 0.33, count), np.exp(rng.uniform(np.log(0.3), np.log(3.3), count))
    sides = np.sqrt(area * [aspect, 1 / aspect]).T * np.sqrt(shape[0] * shape[1])
    sides = np.clip(np.rint(sides), 1, shape[:2]) * (rng.random((count, 1)) < probability)
    corner = np.floor(rng.random((count, 2)) * (shape[:2] - sides + 1))
    return np.concatenate([corner, corner + sides], -1).astype(np.int32)


def mixup(alpha: float, count: int, shape: Shape, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """(partner int32 (batch,), own share float32 (batch,)) of Beta(alpha, alpha) (Zhang et al. 2017, arXiv:1710.09412).

    The share is drawn for each image, not once a batch.
    """
    return rng.permutation(count).astype(np.int32), exact(rng.beta(alpha, alpha, count))


def cutmix(alpha: float, count: int, shape: Shape, rng: Rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(partner, rectangle taken from it, own share of the area) (Yun et al. 2019, arXiv:1905.04899).

    The share is that of the rectangle's part inside the image.
    """
    partner, size = rng.permutation(count).astype(np.int32), np.asarray(shape[:2])
    sides = (np.sqrt(1 - rng.beta(alpha, alpha, (count, 1))) * size).astype(int)
    y, x = rng.integers(0, size, (count, 2)).T
    boxes = _around(y, x, *sides.T)
    inside = np.clip(boxes.reshape(-1, 2, 2), 0, size)
    share = 1 - np.prod(inside[:, 1] - inside[:, 0], -1) / size.prod()
    return partner, boxes, share.astype(np.float32)
