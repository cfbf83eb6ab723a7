"""Write a trained model for use elsewhere, open the file again, and compare its logits with the model's."""

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.checkpoint import load_model, save_model
from kcnn.errors import KcnnError, UsageError, unknown
from kcnn.finetune import PREPROCESSING
from kcnn.models import MODELS
from kcnn.pretrained import torchvision_name
from kcnn.rundir import atomic
from kcnn.weights import state_dict, unfit_classifier

TOLERANCE = 1e-4  # largest difference, relative to the largest logit


def _write_keras(model: Any, path: Path, info: dict[str, Any]) -> None:
    save_model(model, path, info)


def _run_keras(model: Any, path: Path, images: np.ndarray) -> np.ndarray:
    return np.asarray(load_model(path)[0].predict(images, verbose=0))


def _write_onnx(model: Any, path: Path, info: dict[str, Any]) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise KcnnError(f"Export to ONNX needs the package {package}. Run: pip install 'kcnn[onnx]'")
    import keras

    (images,) = model.inputs
    signature = [keras.InputSpec(shape=images.shape, dtype=images.dtype, name=images.name)]
    with atomic(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's remarks on Keras' own code; the file is checked afterwards
        model.export(temporary, format="onnx", verbose=False, input_signature=signature)
        _name_classes(temporary, info["class_names"])


def _name_classes(path: Path, class_names: list[str]) -> None:
    """Keep the class names in the file's metadata."""
    import json

    import onnx

    graph = onnx.load(path)
    graph.metadata_props.add(key="class_names", value=json.dumps(class_names))
    onnx.save(graph, path)


def _run_onnx(model: Any, path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])


def _write_torchvision(model: Any, path: Path, info: dict[str, Any]) -> None:
    """A state dict that torchvision's own network loads with `strict=True`."""
    import torch

    torchvision_counterpart(model)
    state = unfit_classifier(model, state_dict(model))
    with atomic(path) as temporary:
        torch.save({key: torch.from_numpy(array) for key, array in state.items()}, temporary)


def _run_torchvision(model: Any, path: Path, images: np.ndarray) -> np.ndarray:
    import keras
    import torch
    from torchvision.models import get_model

    with torch.device("meta"):
        network = get_model(torchvision_counterpart(model), num_classes=model.output_shape[-1])
    network.load_state_dict(torch.load(path, weights_only=True), strict=True, assign=True)
    before = [layer for layer in model.layers if type(layer).__name__ in PREPROCESSING]
    x = np.asarray(keras.Model(model.inputs, before[-1].output).predict(images, verbose=0))
    with torch.inference_mode():
        return network.eval()(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()


def torchvision_counterpart(model: Any) -> str:
    """torchvision's name of a network of kcnn's.

    Raises:
        KcnnError: it has none, or has it with another stem.
    """
    if model.name not in MODELS:
        raise KcnnError(f"torchvision has no {model.name}: format torchvision is for resnet and vgg.")
    normalized = any(type(layer).__name__ == "BatchNormalization" for layer in model.layers)
    try:
        name = torchvision_name(model.name, {"batch_norm": normalized} if model.name.startswith("vgg") else {})
    except UsageError as error:
        raise KcnnError(
            f"torchvision has no {model.name}: format torchvision is for resnet18 to 152 and vgg."
        ) from error
    if name.startswith("resnet") and model.get_layer("conv1").kernel.shape[0] != 7:
        raise KcnnError(
            f"This {name} has the 3×3 CIFAR stem, which torchvision's has not. "
            f"Train with --set model_options.stem=imagenet to export it to torchvision."
        )
    return name


# Format → (write the model and its info, run the file on images).
FORMATS: dict[str, tuple[Callable[..., None], Callable[..., np.ndarray]]] = {
    "keras": (_write_keras, _run_keras),
    "onnx": (_write_onnx, _run_onnx),
    "torchvision": (_write_torchvision, _run_torchvision),
}


def export(model: Any, class_names: list[str], kind: str, path: Path, resize: int = 0) -> float:
    """Write `model` as `kind` to `path` and return the largest difference of its logits, relative to the largest.

    Images of a batch of 1 and of 5 are compared, so that a fixed batch size would show.

    Args:
        resize: see `kcnn.data.images.read_image`; kept in a `.keras` file for `kcnn predict`.

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
    write(model, path, {"class_names": class_names, **({"resize": resize} if resize else {})})
    images = np.random.default_rng(0).integers(0, 256, (5, *model.input_shape[1:]), np.uint8)
    expected = np.asarray(model.predict(images, verbose=0))
    found = np.concatenate([run(model, path, images[:1]), run(model, path, images)])
    difference = float(np.abs(found - np.concatenate([expected[:1], expected])).max() / np.abs(expected).max())
    if not difference <= TOLERANCE:
        path.unlink()
        raise KcnnError(f"The exported file's logits differ by {difference:.1e} (allowed: {TOLERANCE:g}). Removed it.")
    return difference
