"""Format torchvision: a state dict for torchvision's own network; its images come normalised."""

from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import KcnnError, UsageError
from kcnn.machine.files import atomic
from kcnn.models.counterparts import torchvision_name
from kcnn.models.registry import MODELS
from kcnn.starts.state_dict import to_state_dict, unfit_classifier
from kcnn.starts.transfer import PREPROCESSING

PACKAGES: tuple[str, ...] = ()
SUFFIX = ".pth"


def write(model: Any, path: Path, info: dict[str, Any]) -> None:
    """A state dict that torchvision's own network loads with `strict=True`."""
    import torch

    torchvision_counterpart(model)
    state = unfit_classifier(model, to_state_dict(model))
    with atomic(path) as temporary:
        torch.save({key: torch.from_numpy(array) for key, array in state.items()}, temporary)


def run(model: Any, path: Path, images: np.ndarray) -> np.ndarray:
    """The logits of torchvision's network with these weights, for images as the model's preprocessing gives them."""
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
