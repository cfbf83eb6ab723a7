"""Format keras: one `.keras` file that plain Keras opens on any backend."""

from pathlib import Path
from typing import Any

import numpy as np

from kcnn.export.precision import in_float32
from kcnn.run.checkpoint import load_model, save_model

PACKAGES: tuple[str, ...] = ()
SUFFIX = ".keras"


def write(model: Any, path: Path, info: dict[str, Any]) -> None:
    """Write the model with its class names."""
    save_model(model, path, info)


def run(model: Any, path: Path, images: np.ndarray) -> np.ndarray:
    """The file's logits for uint8 images (batch, height, width, channels), in float32 as those that are compared."""
    return np.asarray(in_float32(load_model(path)[0]).predict(images, verbose=0))
