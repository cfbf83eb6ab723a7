"""Floating-point operations of one forward pass."""

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
