"""Report 3's form: four files train_data, train_labels, test_data, test_labels `.pth`, each a torch tensor."""

from pathlib import Path

import numpy as np

from kcnn.data.dataset import Dataset, Reading, Split, channel_statistics, check
from kcnn.errors import KcnnError
from kcnn.machine.torch_files import load_tensors, to_array

FILES = ("train_data.pth", "train_labels.pth", "test_data.pth", "test_labels.pth")


def missing(name: str, data_dir: Path) -> list[Path]:
    """The files of the four that are not there."""
    return [data_dir / file for file in FILES if not (data_dir / file).exists()]


def load(name: str, data_dir: Path, reading: Reading) -> Dataset:
    """Read the four files; images are (n, height, width), or with 1 or 3 channels first, 0…255 or 0…1."""
    if absent := missing(name, data_dir):
        raise KcnnError(f"{absent[0]} is missing. The data set 'tensors' is four files: {', '.join(FILES)}.")
    train, test = (Split(_images(data_dir / FILES[i]), _labels(data_dir / FILES[i + 1])) for i in (0, 2))
    # There cannot be more classes than images: a stray huge label must not make as many class names.
    classes = min(int(train.labels.max(initial=0)) + 1, len(train))
    if classes < 2:
        raise KcnnError(f"{data_dir / FILES[1]} has one class only; a classifier needs at least two.")
    check(train, classes, data_dir / FILES[1])
    check(test, classes, data_dir / FILES[3])
    if train.images.shape[1:] != test.images.shape[1:]:
        sizes = ["×".join(map(str, split.images.shape[1:])) for split in (test, train)]
        raise KcnnError(f"{data_dir / FILES[2]} has images of {sizes[0]}, but the training images are {sizes[1]}.")
    return Dataset(train, test, [str(label) for label in range(classes)], *channel_statistics(train.images))


def _tensor(path: Path) -> np.ndarray:
    try:
        return to_array(path, load_tensors(path))
    except KcnnError:
        raise
    except Exception as error:  # torch raises many kinds; whatever it is, the file holds no plain tensor
        raise KcnnError(f"{path} is no plain tensor (damaged, or a pickle with code in it): save it again.") from error


def _labels(path: Path) -> np.ndarray:
    """Whole numbers of any type and shape → int64 (n,)."""
    values = _tensor(path).reshape(-1)
    labels = values.astype(np.int64)
    if (labels != values).any():
        raise KcnnError(f"{path} must have whole numbers, one for each image.")
    return labels


def _images(path: Path) -> np.ndarray:
    """Any accepted form → uint8 (n, height, width, channels)."""
    values = _tensor(path)
    if values.ndim == 3:
        values = values[:, np.newaxis]
    if values.ndim != 4 or values.shape[1] not in (1, 3) or not values.size:
        raise KcnnError(
            f"{path} has shape {values.shape}; "
            f"allowed: (n, height, width) or (n, channels, height, width), channels 1 or 3."
        )
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 255) or (high > 1 and (values != values.round()).any()):
        raise KcnnError(f"{path} has values from {low:g} to {high:g}; allowed: whole numbers 0…255, or 0…1.")
    scale = 255 if np.issubdtype(values.dtype, np.floating) and high <= 1 else 1
    return np.ascontiguousarray((values * scale).round().astype(np.uint8).transpose(0, 2, 3, 1))
