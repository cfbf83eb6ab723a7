"""Format torch: a torch ExportedProgram (`.pt2`), which `torch.export.load` opens where Keras is not installed."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import KcnnError
from kcnn.export.to_onnx import signature
from kcnn.machine.files import atomic

PACKAGES = ("torch",)
SUFFIX = ".pt2"


def write(model: Any, path: Path, info: dict[str, Any]) -> None:
    """Write the model's graph of ATen calls, its batch size free.

    Raises:
        KcnnError: Keras runs on another backend.
    """
    import keras
    import torch

    if keras.backend.backend() != "torch":
        raise KcnnError("Format torch is written from the torch backend: leave out --backend.")
    with atomic(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's remarks on Keras' own code; the file is checked afterwards
        shapes = ({0: torch.export.Dim("batch", min=1, max=2**16)},)
        model.export(temporary, format="torch", verbose=False, input_signature=signature(model), dynamic_shapes=shapes)


def run(model: Any, path: Path, images: np.ndarray) -> np.ndarray:
    """The file's logits for uint8 images (batch, height, width, channels)."""
    import torch

    program = torch.export.load(path).module()
    with torch.inference_mode():
        return program(torch.from_numpy(images)).numpy()
