"""Other looks at test images: several views whose probabilities are averaged, or one drawn as in training."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np

from kcnn.errors import UsageError, listed
from kcnn.machine.randomness import generator

BATCH = 1000  # images augmented at a time
MIXING = ("mixup", "cutmix")
VIEWS = ("flip", "shift")  # 2 views; 5 views: as it is, and moved down, up, right, left
ALONE = ("six", "six-quarter")  # see `six_views`; the same for the quarter of the images that is least certain


def parse_views(text: str) -> tuple[str, ...]:
    """`flip,shift` → `("flip", "shift")`, see `kcnn.errors.listed`; an empty text is no augmentation.

    Raises:
        UsageError: an unknown name, or one of `ALONE` beside another.
    """
    names = tuple(listed("view", text, (*VIEWS, *ALONE))) if text else ()
    if len(names) > 1 and (alone := next((name for name in names if name in ALONE), "")):
        raise UsageError(f"the view {alone} stands alone; received {text!r}.")
    return names


def image_views(images: np.ndarray, names: Sequence[str]) -> Iterator[np.ndarray]:
    """The images (n, height, width, channels) as they are, then their other views: the products of all in `names`.

    A shift is by 1/32 of the shorter side, at least 1 pixel; what comes in is black, as in training.
    """
    step = _step(images)
    moves = [(0, 0), (step, 0), (-step, 0), (0, step), (0, -step)] if "shift" in names else [(0, 0)]
    for (down, right), mirrored in product(moves, (False, True) if "flip" in names else (False,)):
        moved = _moved(images, down, right)
        yield np.ascontiguousarray(moved[:, :, ::-1]) if mirrored else moved


def six_views(images: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """(weight, images) of six views: as they are 1/2, moved down right and up left 1/4 each, halves of all mirrored.

    A move is as far as in `image_views`, but what comes in is reflected: Jordan 2024 (arXiv:2404.00498).
    """
    step, (height, width) = _step(images), images.shape[1:3]
    padded = np.pad(images, ((0, 0), (step, step), (step, step), (0, 0)), mode="reflect")
    for weight, start in ((1 / 2, step), (1 / 4, 0), (1 / 4, 2 * step)):
        moved = padded[:, start : start + height, start : start + width]
        for view in (moved, moved[:, :, ::-1]):
            yield weight / 2, np.ascontiguousarray(view)


def _step(images: np.ndarray) -> int:
    return max(1, round(min(images.shape[1:3]) / 32))


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
