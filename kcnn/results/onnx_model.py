"""A model that `kcnn export --format onnx` wrote, run by onnxruntime; neither keras nor torch is needed."""

import importlib.util
import json
from pathlib import Path

import numpy as np

from kcnn.errors import KcnnError


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
        import onnxruntime

        try:
            self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes, one a kind of damage
            raise KcnnError(f"{path} is not an ONNX file that onnxruntime can read: export it again.") from error
        entry, result = self._session.get_inputs()[0], self._session.get_outputs()[0]
        self.input_shape, self.output_shape = tuple(entry.shape), tuple(result.shape)
        if entry.type != "tensor(uint8)" or len(entry.shape) != 4:
            raise KcnnError(f"{path} does not take uint8 images (batch, height, width, channels).")

    @property
    def class_names(self) -> list[str]:
        """From the file's metadata; numbers if it has none."""
        text = self._session.get_modelmeta().custom_metadata_map.get("class_names")
        return json.loads(text) if text else [str(index) for index in range(self.output_shape[-1])]

    def predict(self, images: np.ndarray, batch_size: int = 256, verbose: int = 0) -> np.ndarray:
        """uint8 images (n, height, width, channels) → float32 logits (n, classes)."""
        name = self._session.get_inputs()[0].name
        parts = range(0, len(images), batch_size)
        return np.concatenate([self._session.run(None, {name: images[i : i + batch_size]})[0] for i in parts])
