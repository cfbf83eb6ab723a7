"""A model that `kcnn export --format onnx` wrote, run by onnxruntime; neither keras nor torch is needed."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import KcnnError
from kcnn.run.info import SHAPES, check_info, check_names, check_shapes


class OnnxModel:
    """Has of a Keras model what predicting needs: `input_shape`, `output_shape` and `predict`.

    Raises:
        KcnnError: no such file, onnxruntime is missing, or the file is no image classifier that takes uint8.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise KcnnError(f"There is no model file {path}.")
        if importlib.util.find_spec("onnxruntime") is None:
            raise KcnnError("Running an .onnx file needs the package onnxruntime. Run: pip install 'kcnn[onnx]'")
        self._path, self._session = path, _open(path)
        entry, result = self._session.get_inputs()[0], self._session.get_outputs()[0]
        self.input_shape, self.output_shape = tuple(entry.shape), tuple(result.shape)
        if entry.type != "tensor(uint8)" or len(entry.shape) != 4:
            raise KcnnError(f"{path} does not take uint8 images (batch, height, width, channels).")
        check_shapes(path, self.input_shape, self.output_shape)

    @property
    def info(self) -> dict[str, Any]:
        """How pictures are prepared, from the file's metadata; see `kcnn.data.preparation`.

        Raises:
            KcnnError: the metadata have something else there.
        """
        keys = SHAPES.keys() - {"class_names"}
        return check_info(self._path, {key: value for key in keys if (value := self._entry(key)) is not None})

    @property
    def class_names(self) -> list[str]:
        """From the file's metadata; numbers if it has none.

        Raises:
            KcnnError: the metadata have something else there.
        """
        return check_names(self._path, self._entry("class_names"), self.output_shape[-1])

    def _entry(self, key: str) -> Any:
        """What the metadata have there, None for nothing."""
        try:
            text = self._session.get_modelmeta().custom_metadata_map.get(key)
            return json.loads(text) if text else None
        except (ValueError, RecursionError):  # no UTF-8, no JSON, or too deep
            return ""

    def predict(self, images: np.ndarray, batch_size: int = 256, verbose: int = 0) -> np.ndarray:
        """uint8 images (n, height, width, channels) → float32 logits (n, classes).

        Raises:
            KcnnError: the graph does not give them.
        """
        name = self._session.get_inputs()[0].name
        parts = range(0, len(images), batch_size)
        try:
            logits = np.concatenate([self._session.run(None, {name: images[i : i + batch_size]})[0] for i in parts])
        except Exception as error:  # onnxruntime's own classes, one a kind of damage
            raise KcnnError(f"{self._path} cannot be computed by onnxruntime: export it again.") from error
        if logits.shape != (len(images), self.output_shape[-1]) or logits.dtype.kind != "f":
            raise KcnnError(
                f"{self._path} is damaged: it gives {logits.dtype} {logits.shape} for {len(images)} images."
            )
        return logits


def _open(path: Path) -> Any:
    """onnxruntime's session; it takes weights from other files in the model's own folder only."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it would print as an error is raised, too
    try:  # without the fallback, which prints on stdout
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime's own classes, one a kind of damage
        if "xternal data" in str(error):
            raise KcnnError(
                f"{path} takes its weights from another file, which is not there or not in the same folder: "
                f"put it beside the model, or export the model again."
            ) from error
        raise KcnnError(f"{path} is not an ONNX file that onnxruntime can read: export it again.") from error
