"""Other looks at test images: several views whose probabilities are averaged, or one drawn as in training."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np

from kcnn.errors import UsageError, listed
from kcnn.machine.randomness import generator

BATCH = 1000  # images augmented at a time
MIXING = ("mixup", "cutmix")
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


def augmented_images(images: np.ndarray, augment: Mapping[str, float], seed: int, classes: int) -> np.ndarray:
    """Each test image (n, height, width, channels) once, as augmentation draws it with the seed: a harder test set.

    Raises:
        UsageError: an augmentation that these images cannot take, or that mixes images of different classes.
    """
    from keras import ops

    from kcnn.data.augment import operations

    if mixing := [name for name in augment if name in MIXING]:
        raise UsageError(f"{', '.join(mixing)} would give a test image two classes: leave it out.")
    operations.check_data(augment, images.shape[1:], classes, len(images))
    parts = []
    for index, start in enumerate(range(0, len(images), BATCH)):
        part = images[start : start + BATCH]
        steps = operations.draw(augment, len(part), part.shape[1:], generator(seed, "views", index))
        moved, _ = operations.apply(ops.convert_to_tensor(part), ops.zeros((len(part), 1)), steps)
        parts.append(np.asarray(ops.convert_to_numpy(moved)))
    return np.concatenate(parts)
