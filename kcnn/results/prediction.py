"""Classify pictures, arrays or a data set with a trained model: a run directory or a `.keras` file alone."""

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data.dataset import Split
from kcnn.data.images import read_images
from kcnn.data.preparation import Preparation
from kcnn.errors import KcnnError
from kcnn.machine.array_files import array_names, read_arrays
from kcnn.machine.memory import no_room
from kcnn.results.logits import predict_views, softmax

BATCH = 256  # pictures decoded and classified at a time, so that a large folder needs little memory
ARRAYS = (".npy", ".npz")

Batch = tuple[list[str], np.ndarray, list[str]]  # names, uint8 images, their classes or nothing


def predict(
    model: Any,
    class_names: Sequence[str],
    batches: Iterable[Batch],
    top: int = 5,
    tta: Sequence[str] = (),
) -> Iterator[dict[str, Any]]:
    """Yield `{"path", "top": [{"class", "probability"}, …]}` for each image, most probable class first.

    An image with a label has it between the two, as "true". `tta` names views that are averaged, see
    `kcnn.results.logits.predict_views`.

    Args:
        batches: of `read_batches` or `dataset_batches`.
    """
    for names, images, labels in batches:
        truth = [{"true": label} for label in labels] if labels else [{}] * len(names)
        for name, true, probabilities in zip(names, truth, softmax(predict_views(model, images, tta)), strict=True):
            best = np.argsort(-probabilities, kind="stable")[:top]
            ranked = [{"class": class_names[index], "probability": float(probabilities[index])} for index in best]
            yield {"path": name, **true, "top": ranked}


def count_images(paths: Sequence[Path]) -> int:
    """How many images `read_batches` will give at most: one a picture, and those in arrays."""
    return sum(_length(path) if is_array(path) else 1 for path in paths)


def _length(path: Path) -> int:
    try:
        return len(read_array(path))
    except KcnnError:
        return 0


def read_batches(paths: Sequence[Path], preparation: Preparation, bad: list[str]) -> Iterator[Batch]:
    """The images of picture files and of arrays, `BATCH` at a time, in order.

    Args:
        bad: gets a sentence for each file that does not decode, or an array of another shape.

    Raises:
        KcnnError: pictures are named, but the model takes none.
    """
    pictures = [path for path in paths if not is_array(path)]
    if pictures:
        preparation.check()
    for start in range(0, len(pictures), BATCH):
        part = pictures[start : start + BATCH]
        found = list(zip(part, read_images(part, preparation), strict=True))
        bad += [str(image) for _, image in found if isinstance(image, KcnnError)]
        good = [(str(path), image) for path, image in found if not isinstance(image, KcnnError)]
        if good:
            yield [name for name, _ in good], np.stack([image for _, image in good]), []
    for path in filter(is_array, paths):
        try:
            images = read_array(path)
            check_shape(images, preparation.shape, str(path))
        except KcnnError as error:
            bad.append(str(error))
        else:
            yield from _numbered(str(path), images, [])


def is_array(path: Path) -> bool:
    """Whether the file's name ends as that of NumPy's arrays."""
    return path.suffix.lower() in ARRAYS


def read_array(path: Path) -> np.ndarray:
    """The uint8 images (n, height, width, channels) of an `.npy` file, or of an `.npz` file's only array or "images".

    Grey images may lack the last axis.

    Raises:
        KcnnError: not such a file, or no images in it.
    """
    try:
        found = _packed_images(path) if zipfile.is_zipfile(path) else np.load(path, mmap_mode="r", allow_pickle=False)
    except KcnnError:
        raise
    except MemoryError as error:
        raise no_room(path) from error
    except PermissionError as error:
        raise KcnnError(f"{path} cannot be read ({error.strerror}): see to its rights.") from error
    except Exception as error:  # see `kcnn.machine.array_files`
        raise KcnnError(f"{path} is not an array that NumPy can read without running code: save it again.") from error
    images = found[..., np.newaxis] if found.ndim == 3 else found
    if images.dtype != np.uint8 or images.ndim != 4:
        raise KcnnError(f"{path} holds {found.dtype} {found.shape}; images are uint8 (n, height, width, channels).")
    if not len(images):
        raise KcnnError(f"{path} holds no images.")
    return images


def _packed_images(path: Path) -> np.ndarray:
    names = array_names(path)
    if "images" not in names and len(names) != 1:
        raise KcnnError(f'{path} has several arrays, none of them called "images": save the images alone.')
    name = "images" if "images" in names else names[0]
    return read_arrays(path, [name])[name]


def dataset_batches(name: str, test: Split, class_names: Sequence[str], shape: tuple[int, int, int]) -> Iterator[Batch]:
    """The test images of a data set, with their classes."""
    check_shape(test.images, shape, name)
    return _numbered(name, test.images, [class_names[label] for label in test.labels])


def check_shape(images: np.ndarray, shape: tuple[int, int, int], name: str) -> None:
    """Raise a KcnnError unless the images are what the model takes."""
    if images.shape[1:] != tuple(shape):
        found, wanted = ("×".join(map(str, size)) for size in (images.shape[1:], shape))
        raise KcnnError(f"The images of {name} are {found}, but the model takes {wanted}: resize them first.")


def _numbered(name: str, images: np.ndarray, labels: list[str]) -> Iterator[Batch]:
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        yield [f"{name}[{start + index}]" for index in range(len(images[part]))], np.array(images[part]), labels[part]
