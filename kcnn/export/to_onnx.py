"""Format onnx: one file for onnxruntime and whatever else reads ONNX."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import KcnnError
from kcnn.machine.files import atomic

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
SUFFIX = ".onnx"


def write(model: Any, path: Path, info: dict[str, Any]) -> None:
    """Write the model, its batch size free, its class names and its pictures' preparation in the metadata.

    Raises:
        KcnnError: Keras runs on another backend, where this needs packages of its own.
    """
    import keras

    if keras.backend.backend() != "torch":
        raise KcnnError("Format onnx is written from the torch backend: leave out --backend.")
    with atomic(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's remarks on Keras' own code; the file is checked afterwards
        model.export(temporary, format="onnx", verbose=False, input_signature=signature(model))
        _keep(temporary, info)


def signature(model: Any) -> list[Any]:
    """The model's input with a free batch size, told to Keras, which else asks for a first call of the model."""
    import keras

    (images,) = model.inputs
    return [keras.InputSpec(shape=images.shape, dtype=images.dtype, name=images.name)]


def _keep(path: Path, info: dict[str, Any]) -> None:
    """Put each entry into the file's metadata, as JSON."""
    import onnx

    graph = onnx.load(path)
    for key, value in info.items():
        graph.metadata_props.add(key=key, value=json.dumps(value))
    onnx.save(graph, path)


def run(model: Any, path: Path, images: np.ndarray) -> np.ndarray:
    """The file's logits for uint8 images (batch, height, width, channels)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])
