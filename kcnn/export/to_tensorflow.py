"""Format tensorflow: a SavedModel folder, for TensorFlow Serving and the like.

Keras writes it on its TensorFlow backend only, so it is written and run by processes of their own:
`python -m kcnn.export.to_tensorflow`.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import KcnnError
from kcnn.machine.files import scratch
from kcnn.machine.processes import run_module
from kcnn.run.checkpoint import load_model, save_model

PACKAGES = ("tensorflow",)


def write(model: Any, path: Path, info: dict[str, Any]) -> None:
    """Write the model, its batch size free."""
    with scratch() as folder:
        source = folder / "model.keras"
        save_model(model, source, info)
        _in_child("convert", source, path.absolute())


def run(model: Any, path: Path, images: np.ndarray) -> np.ndarray:
    """The folder's logits for uint8 images (batch, height, width, channels), from TensorFlow alone."""
    with scratch() as folder:
        given, found = folder / "images.npy", folder / "logits.npy"
        np.save(given, images)
        _in_child("run", path.absolute(), given, found)
        return np.load(found)


def _in_child(*arguments: str | Path) -> None:
    if reason := run_module("kcnn.export.to_tensorflow", [str(argument) for argument in arguments], "tensorflow"):
        raise KcnnError(f"The process on TensorFlow failed: {reason}")


def _convert(source: str, target: str) -> None:
    model, _ = load_model(Path(source))
    model.export(target, format="tf_saved_model", verbose=False)


def _run(saved_model: str, given: str, found: str) -> None:
    import tensorflow

    serve = tensorflow.saved_model.load(saved_model).signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]
    (logits,) = serve(**{name: tensorflow.constant(np.load(given))}).values()
    np.save(found, logits.numpy())


if __name__ == "__main__":
    job, *arguments = sys.argv[1:]
    _convert(*arguments) if job == "convert" else _run(*arguments)
