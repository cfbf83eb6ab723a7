"""Write a trained model for use elsewhere, open the file again, and compare its logits with the model's."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.checkpoint import load_model, save_model
from kcnn.errors import KcnnError, UsageError, unknown
from kcnn.rundir import atomic

TOLERANCE = 1e-4  # largest difference, relative to the largest logit


def _write_keras(model: Any, path: Path, class_names: list[str]) -> None:
    save_model(model, path, {"class_names": class_names})


def _run_keras(path: Path, images: np.ndarray) -> np.ndarray:
    return np.asarray(load_model(path)[0].predict(images, verbose=0))


def _write_onnx(model: Any, path: Path, class_names: list[str]) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise KcnnError(f"Export to ONNX needs the package {package}. Run: pip install 'kcnn[onnx]'")
    with atomic(path) as temporary:
        model.export(temporary, format="onnx", verbose=False)
        _name_classes(temporary, class_names)


def _name_classes(path: Path, class_names: list[str]) -> None:
    """Keep the class names in the file's metadata."""
    import json

    import onnx

    graph = onnx.load(path)
    graph.metadata_props.add(key="class_names", value=json.dumps(class_names))
    onnx.save(graph, path)


def _run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])


# Format → (write the model, run the file on images).
FORMATS: dict[str, tuple[Callable[..., None], Callable[..., np.ndarray]]] = {
    "keras": (_write_keras, _run_keras),
    "onnx": (_write_onnx, _run_onnx),
}


def export(model: Any, class_names: list[str], kind: str, path: Path) -> float:
    """Write `model` as `kind` to `path` and return the largest difference of its logits, relative to the largest.

    Images of a batch of 1 and of 5 are compared, so that a fixed batch size would show.

    Raises:
        UsageError: unknown format, or `path` exists.
        KcnnError: a package is missing, or the file gives other logits than the model; it is then removed.
    """
    if kind not in FORMATS:
        raise UsageError(unknown("format", kind, FORMATS))
    if path.exists():
        raise UsageError(f"{path} already exists: delete it, or name another file with -o.")
    path.parent.mkdir(parents=True, exist_ok=True)
    write, run = FORMATS[kind]
    write(model, path, class_names)
    images = np.random.default_rng(0).integers(0, 256, (5, *model.input_shape[1:]), np.uint8)
    expected = np.asarray(model.predict(images, verbose=0))
    found = np.concatenate([run(path, images[:1]), run(path, images)])
    difference = float(np.abs(found - np.concatenate([expected[:1], expected])).max() / np.abs(expected).max())
    if not difference <= TOLERANCE:
        path.unlink()
        raise KcnnError(f"The exported file's logits differ by {difference:.1e} (allowed: {TOLERANCE:g}). Removed it.")
    return difference
