"""Format openvino: an `.xml` with the graph and a `.bin` with the weights beside it.

It goes through ONNX: what Keras' own openvino export writes has a fixed batch size where the model flattens.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.export import to_onnx
from kcnn.machine.files import scratch

PACKAGES = ("openvino", "onnx", "onnxscript")
SUFFIX = ".xml"
BESIDE = ".bin"


def write(model: Any, path: Path, info: dict[str, Any]) -> None:
    """Write the model in float32, its batch size free; class names and preparation are its runtime info `kcnn`."""
    import openvino

    with scratch() as folder:
        source = folder / "model.onnx"
        to_onnx.write(model, source, info)
        network = openvino.convert_model(source)
        for key, value in info.items():
            network.set_rt_info(json.dumps(value), ["kcnn", key])
        openvino.save_model(network, path, compress_to_fp16=False)


def run(model: Any, path: Path, images: np.ndarray) -> np.ndarray:
    """The file's logits for uint8 images (batch, height, width, channels)."""
    import openvino

    network = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(network(images)[0])
