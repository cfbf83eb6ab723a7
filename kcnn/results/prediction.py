"""Classify pictures, arrays or a data set with a trained model: a run directory or a `.keras` file alone."""

import glob
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data.dataset import Split
from kcnn.data.images import is_picture, read_image
from kcnn.errors import KcnnError
from kcnn.machine.archives import check_array
from kcnn.machine.memory import no_room
from kcnn.results.logits import predict_views, softmax
from kcnn.run.checkpoint import read_info

BATCH = 256  # pictures decoded and classified at a time, so that a large folder needs little memory
ARRAYS = (".npy", ".npz")

Batch = tuple[list[str], np.ndarray, list[str]]  # names, uint8 images, their classes or nothing


def shorter_side(path: Path) -> int:
    """To how many pixels the model of a `.keras` file wants the shorter side of a picture; 0 if it does not say."""
    return int(read_info(path).get("resize", 0)) if path.is_file() else 0


def find_images(names: Sequence[str]) -> list[Path]:
    """The pictures that files, folders (searched through) and patterns such as `*.png` name, in order.

    Raises:
        KcnnError: a name that matches nothing.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            matches = [file for file in sorted(path.rglob("*")) if is_picture(file, path)]
        else:
            matches = [path] if path.exists() else [Path(match) for match in sorted(glob.glob(name, recursive=True))]
        if not matches:
            raise KcnnError(f"{name} is no picture, no folder with pictures and no pattern that matches any.")
        found += matches
    return found


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
    """How many images `read_batches` will give: one a picture, and those in arrays."""
    return sum(len(read_array(path)) if path.suffix.lower() in ARRAYS else 1 for path in paths)


def read_batches(paths: Sequence[Path], shape: tuple[int, int, int], resize: int = 0) -> Iterator[Batch]:
    """The images of picture files and of arrays, `BATCH` at a time, in order.

    Args:
        shape: (height, width, channels) that the model takes; for `resize` see `read_image`.

    Raises:
        KcnnError: a file that does not decode, or an array of another shape, named.
    """
    pictures = [path for path in paths if path.suffix.lower() not in ARRAYS]
    for start in range(0, len(pictures), BATCH):
        part = pictures[start : start + BATCH]
        yield [str(path) for path in part], np.stack([read_image(path, shape, resize) for path in part]), []
    for path in paths:
        if path.suffix.lower() in ARRAYS:
            images = read_array(path)
            check_shape(images, shape, str(path))
            yield from _numbered(str(path), images, [])


def read_array(path: Path) -> np.ndarray:
    """The uint8 images (n, height, width, channels) of an `.npy` file, or of an `.npz` file's only array or "images".

    Grey images may lack the last axis.

    Raises:
        KcnnError: not such a file, or no images in it.
    """
    try:
        found = _read_npz(path) if zipfile.is_zipfile(path) else np.load(path, mmap_mode="r", allow_pickle=False)
    except (KcnnError, PermissionError):
        raise
    except MemoryError as error:
        raise no_room(path) from error
    except Exception as error:  # NumPy, zipfile, zlib and tokenize each have their own
        raise KcnnError(f"{path} is not an array that NumPy can read without running code: save it again.") from error
    images = found[..., np.newaxis] if found.ndim == 3 else found
    if images.dtype != np.uint8 or images.ndim != 4:
        raise KcnnError(f"{path} holds {found.dtype} {found.shape}; images are uint8 (n, height, width, channels).")
    if not len(images):
        raise KcnnError(f"{path} holds no images.")
    return images


def _read_npz(path: Path) -> np.ndarray:
    with np.load(path, allow_pickle=False) as arrays:
        names = arrays.files
        name = "images" if "images" in names else names[0] if len(names) == 1 else ""
        if not name:
            raise KcnnError(f'{path} has several arrays, none of them called "images": save the images alone.')
        for member in arrays.zip.infolist():
            if member.filename.removesuffix(".npy") == name:
                check_array(path, arrays.zip, member)
        return np.asarray(arrays[name])


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
