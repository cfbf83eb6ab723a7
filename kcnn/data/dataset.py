"""What every source gives: labelled uint8 images in memory, in a training and a test part."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kcnn.errors import KcnnError, UsageError, unknown
from kcnn.machine.randomness import generator


@dataclass(frozen=True)
class Split:
    """Images uint8 (n, height, width, channels) in 0…255, and their labels int64 (n,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Split":
        """The images at these positions, in this order."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Reading:
    """How to read pictures of no fixed size; other sources do not look at it.

    `image_size`: pixels a side, 0 for the source's own choice; `skip_bad`: leave out files that do not decode.
    """

    image_size: int = 0
    skip_bad: bool = False


@dataclass(frozen=True)
class Dataset:
    """A data set; `mean` and `std` are one number a channel, of images scaled to 0…1.

    Few sets have a `validation` part of their own; of the others it is drawn from the training images.
    """

    train: Split
    test: Split
    class_names: list[str]
    mean: list[float]
    std: list[float]
    validation: Split | None = None

    @property
    def parts(self) -> dict[str, Split]:
        """The parts that there are, by name."""
        parts = {"training": self.train, "test": self.test}
        return parts if self.validation is None else {**parts, "validation": self.validation}

    def __post_init__(self) -> None:
        for part, split in self.parts.items():
            if not len(split):
                raise KcnnError(f"The {part} part of this data set has no images.")
            check(split, len(self.class_names), f"the {part} part")


def check(split: Split, classes: int, place: object) -> Split:
    """The split, if it has as many labels as images and each label is below `classes`.

    Args:
        place: the label file, or another word for where the labels come from.

    Raises:
        KcnnError: naming `place`.
    """
    labels = split.labels
    if len(split.images) != len(labels):
        raise KcnnError(f"{place}: there are {len(split.images)} images but {len(labels)} labels.")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise KcnnError(
            f"{place}: label {labels[wrong[0]]} of image {wrong[0]} is out of range; "
            f"{classes} classes have labels 0 to {classes - 1}. Check or replace the labels."
        )
    return split


def choose_classes(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The images of some of the classes, whose labels are then their places in `names`; all of them for none.

    Raises:
        UsageError: a name that is not a class of the data set.
    """
    if not names:
        return dataset
    for name in names:
        if name not in dataset.class_names:
            raise UsageError(unknown("class", name, dataset.class_names))
    place = np.full(len(dataset.class_names), -1)
    place[[dataset.class_names.index(name) for name in names]] = np.arange(len(names))
    parts = [split.take(np.flatnonzero(place[split.labels] >= 0)) for split in dataset.parts.values()]
    train, test, *validation = (Split(part.images, place[part.labels]) for part in parts)
    return Dataset(train, test, list(names), dataset.mean, dataset.std, *validation)


def channel_statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, of uint8 images scaled to 0…1; a flat channel counts as std 1."""
    sample = images[:: max(1, len(images) // 2000)] / np.float32(255)
    mean, std = sample.mean((0, 1, 2)), sample.std((0, 1, 2))
    return mean.tolist(), np.where(std > 1e-3, std, 1.0).tolist()


def stratified(
    labels: np.ndarray, fraction: float, seed: int | np.random.Generator, least: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of (the rest, the fraction), drawn class by class, `least` of each, in ascending order.

    Written out rather than taken from scikit-learn, so that a seed gives the same split with every version of it.

    Args:
        seed: a number for a part that is fixed, such as a data set's test images; else a stream of its own.
    """
    rng = np.random.default_rng(seed)  # a generator is taken as it is
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen[members[: max(least, round(fraction * len(members)))]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def split_validation(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """(training, validation) parts of a training set; the second is empty for fraction 0."""
    rest, chosen = stratified(split.labels, fraction, generator(seed, "validation"))
    return split.take(rest), split.take(chosen)


def count_steps(images: int, batch_size: int, drop_last: bool) -> int:
    """Batches in an epoch, with or without the last one if it is smaller."""
    return images // batch_size if drop_last else -(-images // batch_size)


def limit(split: Split, count: int, seed: int) -> Split:
    """About `count` images of the split, class by class and at least one of each; all of them for 0."""
    if not count or count >= len(split):
        return split
    _, chosen = stratified(split.labels, count / len(split), generator(seed, "limit"), least=1)
    return split.take(chosen)
