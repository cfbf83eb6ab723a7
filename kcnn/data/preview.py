"""What augmentation does to a few images of a data set, for looking at."""

from collections.abc import Mapping

import numpy as np
from keras import ops

from kcnn.data.augment import operations as augment
from kcnn.data.dataset import Dataset, Split
from kcnn.errors import UsageError
from kcnn.machine.randomness import generator


def some_images(dataset: Dataset, count: int, seed: int) -> Split:
    """Training images of as many classes as there are, drawn with the seed, in the order of their labels."""
    order = generator(seed, "preview").permutation(len(dataset.train))
    labels = dataset.train.labels[order]
    # How many images of its class come before it: first images of all classes first.
    earlier = np.zeros(len(order), int)
    for label in np.unique(labels):
        earlier[labels == label] = np.arange((labels == label).sum())
    chosen = order[np.argsort(earlier, kind="stable")[:count]]
    return dataset.train.take(chosen[np.argsort(dataset.train.labels[chosen], kind="stable")])


def fitting(dataset: Dataset, batch_size: int) -> dict[str, float]:
    """Every augmentation that the data set can take, at its default magnitude."""
    fits = {}
    for name, row in augment.AUGMENTATIONS.items():
        try:
            augment.check_data(
                {name: row.default}, dataset.train.images.shape[1:], len(dataset.class_names), batch_size
            )
        except UsageError:
            continue
        fits[name] = float(row.default)
    return fits


def treatments(
    images: np.ndarray, chosen: Mapping[str, float], together: bool, seed: int
) -> list[tuple[str, np.ndarray]]:
    """(name, uint8 images) of the images as they are, after each augmentation, and after all of them in their order."""
    lists = {f"{name} = {magnitude:g}": {name: magnitude} for name, magnitude in chosen.items()}
    if together and len(chosen) > 1:
        lists["all together"] = dict(chosen)
    return [("as they are", images)] + [
        (title, _augmented(images, names, generator(seed, "preview", index)))
        for index, (title, names) in enumerate(lists.items())
    ]


def _augmented(images: np.ndarray, names: Mapping[str, float], rng: np.random.Generator) -> np.ndarray:
    steps = augment.draw(names, len(images), images.shape[1:], rng)
    targets = ops.zeros((len(images), 1))
    return np.asarray(ops.convert_to_numpy(augment.apply(ops.convert_to_tensor(images), targets, steps)[0]))
