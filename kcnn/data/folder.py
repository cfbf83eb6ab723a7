"""One's own pictures: a folder for each class, with pictures of any size; see `kcnn.data.layout`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kcnn.data.dataset import Dataset, Reading, Split, channel_statistics
from kcnn.data.images import read_images
from kcnn.data.layout import Sample, list_pictures
from kcnn.data.preparation import Preparation
from kcnn.errors import KcnnError, first_ten
from kcnn.machine.terminal import say

DEFAULT_SIZE = 64


def missing(name: str, data_dir: Path) -> list[Path]:
    """The folder itself, if it is not there."""
    return [] if data_dir.is_dir() else [data_dir]


def load(name: str, data_dir: Path, reading: Reading) -> Dataset:
    """Read every picture as `image_size` × `image_size` × 3 (default 64).

    Raises:
        KcnnError: see `kcnn.data.layout.list_pictures`; or naming every picture that is bad.
    """
    listing = list_pictures(data_dir)
    for note in listing.notes:
        say(note)
    size = reading.image_size or DEFAULT_SIZE
    bad: list[str] = []
    train, test, *validation = (
        _read(part, listing.class_names, Preparation((size, size, 3)), bad) for part in listing.parts
    )
    if bad:
        _tell(bad, reading.skip_bad)
    if lost := [name for label, name in enumerate(listing.class_names) if label not in train.labels]:
        raise KcnnError(f"No good picture is left to train on of {', '.join(lost)}: replace those that are bad.")
    return Dataset(train, test, listing.class_names, *channel_statistics(train.images), *validation)


def _read(samples: Sequence[Sample], names: Sequence[str], preparation: Preparation, bad: list[str]) -> Split:
    """The pictures of a part; `bad` gets a sentence for each that cannot be read."""
    from rich.console import Console
    from rich.progress import track

    images, good = np.empty((len(samples), *preparation.shape), np.uint8), np.ones(len(samples), bool)
    console = Console(stderr=True)
    pictures = read_images([path for path, _ in samples], preparation)
    for index, found in enumerate(
        track(pictures, "reading pictures", len(samples), console=console, disable=not console.is_terminal)
    ):
        if isinstance(found, KcnnError):
            good[index] = False
            bad.append(str(found))
        else:
            images[index] = found
    places = {name: label for label, name in enumerate(names)}
    split = Split(images, np.asarray([places[name] for _, name in samples], np.int64))
    return split if good.all() else split.take(np.flatnonzero(good))


def _tell(bad: Sequence[str], skip_bad: bool) -> None:
    """Say which pictures are left out, or raise a KcnnError."""
    number = f"{len(bad)} bad {'picture' if len(bad) == 1 else 'pictures'}"
    if skip_bad:
        say(f"left out {number}, as skip_bad says: {first_ten(bad, ' ')}")
    else:
        raise KcnnError(f"{number}: {first_ten(bad, ' ')} To train without: --skip-bad.")
