"""Test-time augmentation: several views of each image, whose probabilities are averaged."""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from kcnn.errors import listed

VIEWS = ("flip", "shift")  # 2 views; 5 views: as it is, and moved down, up, right, left


def parse_views(text: str) -> tuple[str, ...]:
    """`flip,shift` → `("flip", "shift")`, see `kcnn.errors.listed`; an empty text is no augmentation."""
    return tuple(listed("view", text, VIEWS)) if text else ()


def image_views(images: np.ndarray, names: Sequence[str]) -> Iterator[np.ndarray]:
    """The images (n, height, width, channels) as they are, then their other views: the products of all in `names`.

    A shift is by 1/32 of the shorter side, at least 1 pixel; what comes in is black, as in training.
    """
    step = max(1, round(min(images.shape[1:3]) / 32))
    moves = [(0, 0), (step, 0), (-step, 0), (0, step), (0, -step)] if "shift" in names else [(0, 0)]
    for (down, right), mirrored in product(moves, (False, True) if "flip" in names else (False,)):
        moved = _moved(images, down, right)
        yield np.ascontiguousarray(moved[:, :, ::-1]) if mirrored else moved


def _moved(images: np.ndarray, down: int, right: int) -> np.ndarray:
    """The images moved by whole pixels, black where nothing is."""
    if not down and not right:
        return images
    height, width = images.shape[1:3]
    moved = np.zeros_like(images)
    moved[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = images[
        :, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved
