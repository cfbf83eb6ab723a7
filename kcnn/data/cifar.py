"""CIFAR-10 and CIFAR-100: torchvision's pickles, or the official binary version when those are absent.

`cifar100_coarse` has the 20 superclasses, from the files' own coarse labels. Krizhevsky 2009, "Learning multiple
layers of features from tiny images". A binary record is one label byte (CIFAR-100: coarse, then fine) and 3,072
bytes of pixels: the red, green and blue planes, row by row.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data.dataset import Dataset, Reading, Split, check
from kcnn.data.download import fetching
from kcnn.errors import KcnnError

PIXELS = 3 * 32 * 32
CIFAR10 = ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010])  # mean, std: report 1
CIFAR100 = ([0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762])


def missing(name: str, data_dir: Path) -> list[Path]:
    """The archive to fetch, if neither the pickles nor the binary version are there."""
    stem = "cifar-10" if name == "cifar10" else "cifar-100"
    pickles = data_dir / (f"{stem}-batches-py" if name == "cifar10" else f"{stem}-python")
    present = pickles.exists() or _binary(name, data_dir).exists()
    return [] if present else [data_dir / f"{stem}-python.tar.gz"]


def load(name: str, data_dir: Path, reading: Reading) -> Dataset:
    """Read the set, 32×32×3; fetches torchvision's archive if there is nothing."""
    if _binary(name, data_dir).exists() and not missing(name, data_dir) and not _pickles(name, data_dir).exists():
        return _load_binary(name, _binary(name, data_dir))
    return _load_pickles(name, data_dir)


def _binary(name: str, data_dir: Path) -> Path:
    return data_dir / ("cifar-10-batches-bin" if name == "cifar10" else "cifar-100-binary")


def _pickles(name: str, data_dir: Path) -> Path:
    return data_dir / ("cifar-10-batches-py" if name == "cifar10" else "cifar-100-python")


def _load_pickles(name: str, data_dir: Path) -> Dataset:
    from torchvision import datasets

    reader = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    with fetching(name, lambda: missing(name, data_dir) or _unverified(reader, _pickles(name, data_dir))):
        train, test = (reader(data_dir, train=part, download=True) for part in (True, False))
    if name != "cifar100_coarse":
        statistics = CIFAR10 if name == "cifar10" else CIFAR100
        return Dataset(_split(train, train.targets), _split(test, test.targets), list(train.classes), *statistics)
    # torchvision has verified the md5 of these pickles just now.
    fine_and_coarse = [_unpickle(_pickles(name, data_dir) / file) for file in ("train", "test", "meta")]
    labels = [file.get("coarse_labels") for file in fine_and_coarse]
    names = fine_and_coarse[2]["coarse_label_names"]
    return Dataset(_split(train, labels[0]), _split(test, labels[1]), list(names), *CIFAR100)


def _split(part: Any, labels: Any) -> Split:
    return Split(part.data, np.asarray(labels, np.int64))


def _unverified(reader: Any, folder: Path) -> list[Path]:
    """The pickles that are missing or have another md5 sum than torchvision expects."""
    from torchvision.datasets.utils import check_integrity

    files = [*reader.train_list, *reader.test_list, (reader.meta["filename"], reader.meta["md5"])]
    return [folder / file for file, md5 in files if not check_integrity(folder / file, md5)]


def _unpickle(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return pickle.load(file, encoding="latin1")


def _load_binary(name: str, folder: Path) -> Dataset:
    if name == "cifar10":
        files = [folder / f"data_batch_{index}.bin" for index in range(1, 6)]
        names = _names(folder / "batches.meta.txt", 10)
        test = _read([folder / "test_batch.bin"], 1, 0, len(names))
        return Dataset(_read(files, 1, 0, len(names)), test, names, *CIFAR10)
    kind = "coarse" if name == "cifar100_coarse" else "fine"
    column = 0 if kind == "coarse" else 1
    names = _names(folder / f"{kind}_label_names.txt", 20 if kind == "coarse" else 100)
    train, test = (_read([folder / file], 2, column, len(names)) for file in ("train.bin", "test.bin"))
    return Dataset(train, test, names, *CIFAR100)


def _read(paths: list[Path], label_bytes: int, column: int, classes: int) -> Split:
    """Records of `label_bytes` + 3,072 bytes; the label is byte `column`."""
    parts = []
    for path in paths:
        records = _records(path, label_bytes + PIXELS)
        images = records[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        parts.append(check(Split(images, records[:, column].astype(np.int64)), classes, path))
    images = np.ascontiguousarray(np.concatenate([part.images for part in parts]))
    return Split(images, np.concatenate([part.labels for part in parts]))


def _records(path: Path, size: int) -> np.ndarray:
    try:
        content = np.fromfile(path, np.uint8)
    except FileNotFoundError as error:
        raise KcnnError(f"{path} is missing. Unpack the whole archive of the binary version there.") from error
    if len(content) == 0 or len(content) % size:
        raise KcnnError(
            f"{path} is truncated: its {len(content)} bytes are not whole records of {size}. Unpack the archive again."
        )
    return content.reshape(-1, size)


def _names(path: Path, count: int) -> list[str]:
    try:
        names = path.read_text(encoding="utf-8").split()
    except FileNotFoundError as error:
        raise KcnnError(f"{path} is missing. Unpack the whole archive of the binary version there.") from error
    except UnicodeDecodeError as error:
        raise KcnnError(f"{path} is damaged: it is no text. Unpack the archive again.") from error
    if len(set(names)) != count or len(names) != count:
        raise KcnnError(f"{path} is damaged: {count} different names are needed, it has {len(names)} words.")
    return names
