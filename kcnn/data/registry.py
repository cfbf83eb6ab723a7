"""The data sets: a table of names, and `load_dataset`. One file a source; each has `missing` and `load`.

Nothing here imports torchvision before a set is loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from kcnn.data.dataset import Dataset, Reading, Split, choose_classes
from kcnn.data.download import data_directory
from kcnn.errors import UsageError, unknown

__all__ = ["DATASETS", "Dataset", "Source", "Split", "load_dataset", "missing_files", "named_dataset"]


@dataclass(frozen=True)
class Source:
    """One row of the table: the module that reads it, the model trained on it by default, and what it is."""

    module: str
    model: str
    description: str


DATASETS = {
    "digits": Source("digits", "lenet5", "scikit-learn's 1,797 handwritten digits, bundled"),
    "mnist": Source("mnist", "lenet5", "70,000 handwritten digits, 28×28 grey"),
    "fashion_mnist": Source("mnist", "lenet5", "70,000 pieces of clothing, 10 classes, 28×28 grey"),
    "cifar10": Source("cifar", "simple_cnn", "60,000 photos, 10 classes, 32×32 RGB"),
    "cifar100": Source("cifar", "resnet18", "60,000 photos, 100 fine classes, 32×32 RGB"),
    "cifar100_coarse": Source("cifar", "resnet18", "60,000 photos, 20 superclasses, 32×32 RGB"),
    "tensors": Source("tensors", "convnet", "your four .pth files: train_data, train_labels, test_data, test_labels"),
    "folder": Source("folder", "resnet20", "your own pictures, a folder for each class"),
}


def load_dataset(
    name: str, data_dir: str = "", image_size: int = 0, classes: Sequence[str] = (), skip_bad: bool = False
) -> Dataset:
    """Load a data set into memory as uint8 (n, height, width, channels).

    Args:
        name: a key of `DATASETS`.
        data_dir: where the files are; default KCNN_DATA_DIR, else ~/.cache/kcnn. Missing files are fetched there.
        image_size: pixels a side, for sources whose pictures have no fixed size ("folder").
        classes: the names of those to keep, in the order of their new labels; empty for all.
        skip_bad: leave out pictures that do not decode, for the same sources.

    Raises:
        UsageError: an unknown name of a set or a class.
        KcnnError: a file is missing and cannot be fetched, or is damaged.
    """
    reading = Reading(image_size, skip_bad)
    return choose_classes(_module(name).load(name, data_directory(data_dir), reading), classes)


def named_dataset(name: str, data_dir: str = "") -> tuple[str, str]:
    """(name, data_dir) of what the user calls a data set: a key of `DATASETS`, or the path of a folder of pictures.

    Raises:
        UsageError: a path beside another `data_dir`.
    """
    path = Path(name).expanduser()
    if name in DATASETS or not name or not (path.is_dir() or set(name) & set("/\\~")):
        return name, data_dir
    if data_dir:
        raise UsageError(f"{name} and {data_dir} are two folders of data: leave out --data-dir.")
    return "folder", str(path)


def missing_files(name: str, data_dir: str = "") -> list[Path]:
    """The files that `load_dataset` would have to fetch; empty if the set is there."""
    return _module(name).missing(name, data_directory(data_dir))


def _module(name: str):  # type: ignore[no-untyped-def]  # a module with `missing` and `load`
    if name not in DATASETS:
        raise UsageError(unknown("data set", name, DATASETS))
    return import_module(f"kcnn.data.{DATASETS[name].module}")
