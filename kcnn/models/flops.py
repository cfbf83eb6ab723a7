"""Floating-point operations of one forward pass, and of a training."""

import math
from typing import Any


def model_flops(model: Any) -> int:
    """FLOPs for one image: 2 for each multiply-add of the convolutions and dense layers.

    The small rest (normalisation, activations, pooling) is left out, as in torch.utils.flop_counter.
    """
    return sum(layer_flops(layer) for layer in model.layers)


def layer_flops(layer: Any) -> int:
    """The same of one layer of a functional model; 0 for layers without a kernel."""
    kernel = getattr(layer, "kernel", None)
    if kernel is None:
        return 0
    positions = math.prod(layer.output.shape[1:-1])  # pixels of the output; 1 for a dense layer
    return 2 * positions * math.prod(kernel.shape)


def training_pflop(model: Any, images: int) -> float:
    """PFLOP (10^15) of training on so many images, each epoch's counted anew.

    A step costs three forward passes: one forward, one for the gradient of the weights and one for that of the inputs.
    """
    return float(f"{3 * images * model_flops(model) / 1e15:.4g}")
