"""What a network sees: its feature maps, and the places of an image that speak for a class (Grad-CAM)."""

from typing import Any

import numpy as np

from kcnn.errors import KcnnError


def convolutions(model: Any) -> list[Any]:
    """The 2-D convolutions of a functional or sequential model, from the first to the last.

    Raises:
        KcnnError: it has none.
    """
    import keras

    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
    found = [layer for layer in model.layers if isinstance(layer, kinds)]
    if not found:
        raise KcnnError(f"{model.name} has no 2-D convolution among its own layers, so there is nothing to draw.")
    return found


def after_activation(model: Any, convolution: Any) -> Any:
    """The output of a convolution, after the batch norm and the ReLU that follow it directly."""
    import keras

    kinds = (keras.layers.BatchNormalization, keras.layers.ReLU, keras.layers.Activation)
    following = {id(layer.input): layer for layer in model.layers if isinstance(layer, kinds)}
    output = convolution.output
    while id(output) in following:
        output = following[id(output)].output
    return output


def feature_maps(model: Any, image: np.ndarray, most: int = 6) -> list[tuple[str, np.ndarray]]:
    """(layer, float32 (height, width, channels)) of up to `most` convolutions spread over the depth of the model.

    Args:
        image: uint8 (height, width, channels).
    """
    import keras

    layers = convolutions(model)
    places = np.unique(np.linspace(0, len(layers) - 1, min(most, len(layers))).round().astype(int))
    chosen = [layers[place] for place in places]
    maps = keras.Model(model.inputs, [after_activation(model, layer) for layer in chosen])(
        [image[None]], training=False
    )
    maps = [keras.ops.convert_to_numpy(values)[0].astype(np.float32) for values in keras.tree.flatten(maps)]
    return [(layer.name, values) for layer, values in zip(chosen, maps, strict=True)]


def last_map(model: Any) -> Any:
    """The last output that still has the size of the last convolution's: norms, shortcuts and ReLU after it count."""
    size = tuple(convolutions(model)[-1].output.shape[1:3])
    outputs = [layer.output for layer in model.layers if not isinstance(layer.output, list)]
    return [output for output in outputs if len(output.shape) == 4 and tuple(output.shape[1:3]) == size][-1]


def heat_maps(model: Any, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Grad-CAM: for each image, how much each place of the last feature map speaks for a class.

    Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks", equations 1 and 2: the maps of the last
    convolution, each weighted by the mean of the logit's gradient over its places, added up, negative sums cut off.

    Args:
        images: uint8 (n, height, width, channels); classes: int (n,), whose logits are meant.

    Returns:
        float32 (n, height, width) of the map's size, the largest of each image 1 (all 0 if nothing speaks for it).

    Raises:
        KcnnError: no convolution, a map of one place, a graph without such a map, or another backend than torch.
    """
    import keras

    if keras.backend.backend() != "torch":
        raise KcnnError(f"Grad-CAM needs the torch backend, not {keras.backend.backend()}: add --backend torch.")
    target = last_map(model)
    if tuple(target.shape[1:3]) == (1, 1):
        raise KcnnError(f"The last feature map of {model.name} is 1×1 pixel, so Grad-CAM has no places to tell apart.")
    try:
        body, head = keras.Model(model.inputs, target), keras.Model(target, model.outputs)
    except ValueError as error:
        raise KcnnError(f"{model.name} has a path around its last convolution, which Grad-CAM cannot draw.") from error
    return _weighted(body, head, images, classes)


def _weighted(body: Any, head: Any, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        maps = body([images], training=False)
    maps = maps.detach().requires_grad_()
    with torch.enable_grad():
        logits = head(maps, training=False)
        chosen = logits[torch.arange(len(classes)), torch.as_tensor(classes, device=logits.device)]
        (gradient,) = torch.autograd.grad(chosen.sum(), maps)
    heat = (maps.detach() * gradient.mean((1, 2), keepdim=True)).sum(-1).relu()
    heat = heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)
    return heat.float().cpu().numpy()
