"""Classify pictures with a trained model: a run directory or a `.keras` file alone."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.checkpoint import load_model, read_info
from kcnn.data.images import EXTENSIONS, read_image
from kcnn.errors import KcnnError
from kcnn.evaluate import predict_views, softmax
from kcnn.rundir import RunDir

BATCH = 256  # pictures decoded and classified at a time, so that a large folder needs little memory


def open_model(path: Path) -> tuple[Any, list[str]]:
    """The model of a run directory or a `.keras` file, and its class names (numbers if the file has none).

    Raises:
        KcnnError: neither a run with a checkpoint nor a `.keras` file.
    """
    model, info = load_model(path if path.is_file() or path.suffix == ".keras" else RunDir.open(path).checkpoint())
    classes = model.output_shape[-1]
    return model, info.get("class_names") or [str(index) for index in range(classes)]


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
            matches = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in EXTENSIONS]
        else:
            matches = [path] if path.exists() else [Path(match) for match in sorted(glob.glob(name, recursive=True))]
        if not matches:
            raise KcnnError(f"{name} is no picture, no folder with pictures and no pattern that matches any.")
        found += matches
    return found


def predict(
    model: Any,
    class_names: Sequence[str],
    paths: Sequence[Path],
    top: int = 5,
    tta: Sequence[str] = (),
    resize: int = 0,
) -> Iterator[dict[str, Any]]:
    """Yield `{"path", "top": [{"class", "probability"}, …]}` for each picture, most probable class first.

    `tta` names views that are averaged, see `kcnn.evaluate.predict_views`; for `resize` see `read_image`.

    Raises:
        KcnnError: a picture that does not decode, named.
    """
    shape = tuple(model.input_shape[1:])
    for start in range(0, len(paths), BATCH):
        part = paths[start : start + BATCH]
        images = np.stack([read_image(path, shape, resize) for path in part])
        for path, probabilities in zip(part, softmax(predict_views(model, images, tta)), strict=True):
            best = np.argsort(-probabilities, kind="stable")[:top]
            ranked = [{"class": class_names[index], "probability": float(probabilities[index])} for index in best]
            yield {"path": str(path), "top": ranked}
