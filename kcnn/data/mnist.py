"""MNIST and Fashion-MNIST through torchvision: `<data dir>/MNIST/raw/*.gz`, `<data dir>/FashionMNIST/raw/*.gz`."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data.dataset import Dataset, Reading, Split, check
from kcnn.data.download import fetching
from kcnn.errors import KcnnError

# Name → torchvision's class, mean, std.
SETS = {"mnist": ("MNIST", 0.1307, 0.3081), "fashion_mnist": ("FashionMNIST", 0.2860, 0.3530)}
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def missing(name: str, data_dir: Path) -> list[Path]:
    """The files that are not there, neither packed nor unpacked."""
    raw = data_dir / SETS[name][0] / "raw"
    return [raw / f"{file}.gz" for file in FILES if not (raw / file).exists() and not (raw / f"{file}.gz").exists()]


def load(name: str, data_dir: Path, reading: Reading) -> Dataset:
    """Read the set, 28×28×1; fetches what is missing."""
    from torchvision import datasets

    kind, mean, std = SETS[name]
    reader = getattr(datasets, kind)
    raw = data_dir / kind / "raw"
    with fetching(name, lambda: _unverified(reader, raw)):
        if not all((raw / file).exists() for file in FILES):
            reader(data_dir, download=True)
    try:
        train, test = (_split(reader(data_dir, train=part)) for part in (True, False))
    except (RuntimeError, ValueError, TypeError, KeyError, AssertionError) as error:
        raise KcnnError(f"{_damaged(raw)} is damaged: delete it, and run again to unpack or fetch it anew.") from error
    check(train, 10, raw / FILES[1])
    check(test, 10, raw / FILES[3])
    return Dataset(train, test, list("0123456789") if name == "mnist" else list(reader.classes), [mean], [std])


def _split(data: Any) -> Split:
    return Split(data.data.numpy()[..., np.newaxis], data.targets.numpy())


def _unverified(reader: Any, raw: Path) -> list[Path]:
    """The packed files that are missing or have another md5 sum than torchvision expects."""
    from torchvision.datasets.utils import check_integrity

    return [raw / file for file, md5 in reader.resources if not check_integrity(raw / file, md5)]


def _damaged(raw: Path) -> Path:
    """The first file that is not an IDX file of bytes: 0, 0, 8, the number of dimensions, the dimensions, the data."""
    for file in FILES:
        content = (raw / file).read_bytes()
        count = 3 if "images" in file else 1
        sizes = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(count)]
        if content[:4] != bytes([0, 0, 8, count]) or len(content) != 4 + 4 * count + math.prod(sizes):
            return raw / file
    return raw
