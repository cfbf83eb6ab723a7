"""Convolutions in native torch calls, and what they share with the other layers: the order of axes, the padding."""

from collections.abc import Callable
from typing import Any

import keras
import torch
import torch.nn.functional as F

from kcnn.native.cpu import amx, phases, winograd
from kcnn.native.graph import Node
from kcnn.native.weights import DENSE, DEPTHWISE, KERNEL, Weights

Tensor = torch.Tensor
Run = Callable[..., Tensor]
Pair = tuple[int, int]


def nhwc(x: Tensor) -> Tensor:
    """A view of the tensor in Keras' order of axes."""
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def nchw(x: Tensor) -> Tensor:
    """A view of a tensor in Keras' order of axes as the lowered model has it."""
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def dtype_of(layer: Any) -> torch.dtype:
    """The dtype that the layer computes in."""
    return getattr(torch, layer.compute_dtype)


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> Pair:
    """Zeros before and after one axis for Keras' padding "same"."""
    reach = (kernel - 1) * dilation + 1
    total = reach - 1 if stride == 1 else max(0, (-(-size // stride) - 1) * stride + reach - size)
    return total // 2, total - total // 2


def padder(layer: Any, kernel: Pair, node: Node, mode: str = "constant") -> Callable[[Tensor], tuple[Tensor, Pair]]:
    """What gives the input, padded where torch's own symmetric padding cannot, and the padding left to torch."""
    strides, dilation = tuple(layer.strides), tuple(getattr(layer, "dilation_rate", (1, 1)))

    def pad(x: Tensor) -> tuple[Tensor, Pair]:
        top, bottom, left, right = node.padding
        if layer.padding == "same":
            top, bottom = same_padding(x.shape[2], kernel[0], strides[0], dilation[0])
            left, right = same_padding(x.shape[3], kernel[1], strides[1], dilation[1])
        if top == bottom and left == right:
            return x, (top, left)
        return F.pad(x, (left, right, top, bottom), mode=mode), (0, 0)

    return pad


def _convolve(node: Node, weights: Weights, kernel: Callable[[], Tensor], bias: Any, groups: int, size: Pair) -> Run:
    layer, dtype = node.op, dtype_of(node.op)
    strides, dilation, pad = tuple(layer.strides), tuple(layer.dilation_rate), padder(layer, size, node)
    convolve = amx.convolution(layer, node.shape) if type(layer) is keras.layers.Conv2D else F.conv2d

    def run(x: Tensor) -> Tensor:
        x, padding = pad(x)
        return convolve(
            x, kernel().to(dtype), None if bias is None else bias.to(dtype), strides, padding, dilation, groups
        )

    return run


def conv2d(node: Node, weights: Weights) -> Run:
    """By Winograd's method or by phases where one of them pays, else as torch does it."""
    layer, padding = node.op, node.zeros()
    trains, predicts = (
        not node.phases and winograd.pays(layer, node.shape, padding, training) for training in (True, False)
    )
    # One layout for training and prediction: the variable has only one memory.
    as_keras = node.phases or trains
    layout, form = DENSE if as_keras else KERNEL, None
    if predicts and weights.derives:
        form = _spreader(node, as_keras)
    kernel, bias = weights.kernel(node, layer.kernel, layout, form), weights.bias(node)
    if form:
        return lambda x: winograd.infer(x, kernel, bias, padding[0])
    if node.phases:
        dtype = dtype_of(layer)
        return lambda x: phases.convolve(x, kernel.to(dtype), None if bias is None else bias.to(dtype), padding[0])
    if trains:
        return lambda x: winograd.convolve(x, kernel, bias, padding[0])
    return _convolve(node, weights, lambda: kernel, bias, layer.groups, tuple(layer.kernel_size))


def _spreader(node: Node, as_keras: bool) -> Callable[[Tensor], Tensor]:
    """What transforms the kernel for Winograd's method."""
    return lambda kernel: winograd.spread(kernel if as_keras else kernel.permute(2, 3, 1, 0), node.shape[1:3])


def depthwise_conv2d(node: Node, weights: Weights) -> Run:
    """A group for each input channel."""
    kernel = weights.kernel(node, node.op.kernel, DEPTHWISE)
    channels, multiplier, height, width = kernel.shape
    shape = (channels * multiplier, 1, height, width)
    return _convolve(node, weights, lambda: kernel.view(shape), weights.bias(node), channels, (height, width))


def separable_conv2d(node: Node, weights: Weights) -> Run:
    """Depthwise, then 1×1: a batch norm after it is folded into the second."""
    layer, dtype = node.op, dtype_of(node.op)
    depthwise = weights(layer.depthwise_kernel, DEPTHWISE)
    channels, multiplier, height, width = depthwise.shape
    shape = (channels * multiplier, 1, height, width)
    first = _convolve(node, weights, lambda: depthwise.view(shape), None, channels, (height, width))
    kernel, bias = weights.kernel(node, layer.pointwise_kernel, KERNEL), weights.bias(node)
    return lambda x: F.conv2d(first(x), kernel.to(dtype), None if bias is None else bias.to(dtype))
