"""Keras layers in native torch calls: one function a layer, and the table of them.

Inside the lowered model a tensor of rank 4 has torch's shape (batch, channels, height, width), with the channels
innermost in memory ("channels last"); any other rank is as in Keras. A function here takes a node of the graph
and the weights, reads the layer's settings once, and returns what runs at every step.
"""

from collections.abc import Callable
from typing import Any

import keras
import torch
import torch.nn.functional as F
from keras import layers as K

from kcnn.machine.keras_internals import takes_training
from kcnn.native.convolutions import (
    Run,
    Tensor,
    conv2d,
    depthwise_conv2d,
    dtype_of,
    nchw,
    nhwc,
    padder,
    separable_conv2d,
)
from kcnn.native.cpu import phases
from kcnn.native.graph import Node, Unsupported
from kcnn.native.rewrites import is_relu
from kcnn.native.weights import DENSE, Weights


def dense(node: Node, weights: Weights) -> Run:
    """On the last axis, whatever the rank."""
    dtype = dtype_of(node.op)
    kernel, bias = weights.kernel(node, node.op.kernel, DENSE), weights.bias(node)

    def run(x: Tensor) -> Tensor:
        x, matrix = nhwc(x), kernel.to(dtype)
        if bias is None:
            return nchw(x @ matrix)
        # Not F.linear: with its transposed kernel the gradient would lie in memory in another order than the variable.
        y = torch.addmm(bias.to(dtype), x.reshape(-1, x.shape[-1]), matrix)
        return nchw(y.view(*x.shape[:-1], -1)) if x.ndim > 2 else y

    return run


def plain_norm(node: Node) -> bool:
    """Whether a batch norm is one of the last axis, with statistics of its own and nothing more."""
    layer = node.op
    special = getattr(layer, "renorm", False) or getattr(layer, "synchronized", False)  # not in every version of Keras
    return layer.axis in (-1, len(node.shape) - 1) and len(node.shape) in (2, 4) and not special


def batch_normalization(node: Node, weights: Weights) -> Run:
    """With the batch's statistics and Keras' way of averaging them in training, the averages elsewhere.

    In float32 at least, as Keras does it.
    """
    layer, dtype = node.op, dtype_of(node.op)
    if not plain_norm(node):
        raise Unsupported(f"{node.name} with axis={layer.axis}, renorm, synchronized or {len(node.shape)} axes")
    gamma, beta = weights.optional(layer.gamma), weights.optional(layer.beta)
    mean, variance = weights(layer.moving_mean), weights(layer.moving_variance)
    epsilon, moves = layer.epsilon, weights.training and layer.trainable
    place = weights.average(mean, variance, 1 - layer.momentum, epsilon) if moves else 0

    def wide(part: Tensor | None, x: Tensor) -> Any:
        return None if part is None else part.to(torch.promote_types(x.dtype, torch.float32))

    def still(x: Tensor) -> Tensor:
        statistics = wide(mean, x), wide(variance, x)
        return F.batch_norm(x, *statistics, wide(gamma, x), wide(beta, x), False, 0.0, epsilon).to(dtype)

    def moving(x: Tensor) -> Tensor:
        y, *weights.found[place] = torch.native_batch_norm(
            x, wide(gamma, x), wide(beta, x), None, None, True, 0.0, epsilon
        )
        return y.to(dtype)

    return moving if moves else still


def layer_normalization(node: Node, weights: Weights) -> Run:
    """On the last axis, in float32 at least, as Keras does it."""
    layer, dtype = node.op, dtype_of(node.op)
    axis = layer.axis if isinstance(layer.axis, int) else tuple(layer.axis)
    if axis not in (-1, (-1,), len(node.shape) - 1, (len(node.shape) - 1,)) or getattr(layer, "rms_scaling", False):
        raise Unsupported(f"{node.name} with axis={axis} or rms_scaling")
    parameters = weights.optional(layer.gamma), weights.optional(layer.beta)

    def run(x: Tensor) -> Tensor:
        x = nhwc(x).to(torch.promote_types(x.dtype, torch.float32))
        gamma, beta = (part if part is None else part.to(x.dtype) for part in parameters)
        return nchw(F.layer_norm(x, x.shape[-1:], gamma, beta, layer.epsilon).to(dtype))

    return run


def max_pooling2d(node: Node, weights: Weights) -> Run:
    """The second half of a pooling by phases, or torch's."""
    if node.phases:
        return phases.pool
    size, strides = tuple(node.op.pool_size), tuple(node.op.strides)
    # Copies of the border never win against the border itself, so they stand for Keras' padding.
    pad = padder(node.op, size, node, mode="replicate")

    def run(x: Tensor) -> Tensor:
        x, padding = pad(x)
        return F.max_pool2d(x, size, strides, padding)

    return run


def average_pooling2d(node: Node, weights: Weights) -> Run:
    """Of what lies in the image: Keras leaves the padding out of the mean."""
    size, strides = tuple(node.op.pool_size), tuple(node.op.strides)
    pad = padder(node.op, size, node, mode="replicate")

    def run(x: Tensor) -> Tensor:
        x, padding = pad(x)
        return F.avg_pool2d(x, size, strides, padding, count_include_pad=False)

    return run


def global_average_pooling2d(node: Node, weights: Weights) -> Run:
    keep = node.op.keepdims
    return lambda x: x.mean((2, 3), keepdim=keep)


def global_max_pooling2d(node: Node, weights: Weights) -> Run:
    keep = node.op.keepdims
    return lambda x: x.amax((2, 3), keepdim=keep)


def zero_padding2d(node: Node, weights: Weights) -> Run:
    (top, bottom), (left, right) = node.op.padding
    return lambda x: F.pad(x, (left, right, top, bottom))


def dropout(node: Node, weights: Weights) -> Run:
    """Draws from torch's generator, not from Keras' of the layer."""
    if node.op.noise_shape is not None:
        raise Unsupported(f"{node.name} with noise_shape")
    rate = node.op.rate if weights.training else 0
    return (lambda x: F.dropout(x, rate, True)) if rate else (lambda x: x)


def activation(node: Node, weights: Weights) -> Run:
    """Native where torch has the function; a ReLU in place where nobody else reads its input."""
    if is_relu(node.op):
        return torch.relu_ if node.inplace else torch.relu
    if isinstance(node.op, K.Activation) and node.op.activation in ELEMENTWISE:
        return ELEMENTWISE[node.op.activation]
    return weightless(node, weights)


def add(node: Node, weights: Weights) -> Run:
    if len(node.inputs) == 2:
        return torch.Tensor.add_ if node.inplace else torch.add
    return lambda *xs: sum(xs[1:], xs[0])


def concatenate(node: Node, weights: Weights) -> Run:
    rank = len(node.shape)
    axis = node.op.axis % rank
    if axis == 0:
        raise Unsupported(f"{node.name} along the batch")
    axis = {1: 2, 2: 3, 3: 1}.get(axis, axis) if rank == 4 else axis
    return lambda *xs: torch.cat(xs, axis)


def flatten(node: Node, weights: Weights) -> Run:
    return lambda x: nhwc(x).flatten(1) if x.ndim > 1 else x[:, None]


def reshape(node: Node, weights: Weights) -> Run:
    shape = tuple(node.op.target_shape)
    return lambda x: nchw(nhwc(x).reshape(x.shape[0], *shape))


def rescaling(node: Node, weights: Weights) -> Run:
    dtype = dtype_of(node.op)
    scale, offset = (weights.constant(value, dtype) for value in (node.op.scale, node.op.offset))
    return lambda x: nchw(torch.addcmul(offset, nhwc(x).to(dtype), scale))


def normalization(node: Node, weights: Weights) -> Run:
    """Of a layer that has been adapted, or was given its mean and variance."""
    layer, dtype = node.op, dtype_of(node.op)
    if layer.invert or layer.mean is None:
        raise Unsupported(f"{node.name} with invert, or not adapted")
    mean = weights.constant(layer.mean, dtype)
    deviation = weights.constant(layer.variance, dtype).sqrt().clamp(min=keras.backend.epsilon())
    return lambda x: nchw((nhwc(x).to(dtype) - mean) / deviation)


def weightless(node: Node, weights: Weights) -> Run:
    """Any operation without variables is called as it is, on views in Keras' order of axes."""
    op, arguments = node.op, node.arguments
    mode = {"training": weights.training} if takes_training(op) else {}
    if arguments is None:
        return lambda *xs: nchw(op(*map(nhwc, xs), **mode))
    keys = [id(x) for x in arguments.keras_tensors]

    def run(*xs: Tensor) -> Tensor:
        args, kwargs = arguments.fill_in(dict(zip(keys, map(nhwc, xs), strict=True)))
        return nchw(op(*args, **{**kwargs, **mode}))

    return run


ELEMENTWISE: dict[Any, Run] = {
    keras.activations.relu: torch.relu,
    keras.activations.relu6: F.relu6,
    keras.activations.sigmoid: torch.sigmoid,
    keras.activations.tanh: torch.tanh,
    keras.activations.silu: F.silu,
    keras.activations.gelu: lambda x: nchw(F.gelu(nhwc(x))),  # which oneDNN does only for what it takes as contiguous
    keras.activations.elu: F.elu,
    keras.activations.softplus: F.softplus,
    keras.activations.linear: lambda x: x,
}

LAYERS: dict[type, Callable[[Node, Weights], Run]] = {
    K.Conv2D: conv2d,
    K.DepthwiseConv2D: depthwise_conv2d,
    K.SeparableConv2D: separable_conv2d,
    K.Dense: dense,
    K.BatchNormalization: batch_normalization,
    K.LayerNormalization: layer_normalization,
    K.MaxPooling2D: max_pooling2d,
    K.AveragePooling2D: average_pooling2d,
    K.GlobalAveragePooling2D: global_average_pooling2d,
    K.GlobalMaxPooling2D: global_max_pooling2d,
    K.ZeroPadding2D: zero_padding2d,
    K.Dropout: dropout,
    K.Activation: activation,
    K.ReLU: activation,
    K.Add: add,
    K.Concatenate: concatenate,
    K.Flatten: flatten,
    K.Reshape: reshape,
    K.Rescaling: rescaling,
    K.Normalization: normalization,
}

# Zero padding can become theirs.
CONVOLUTIONS = (K.Conv2D, K.DepthwiseConv2D)
# They may have an activation of their own, and a batch norm after them is a scaling of their last kernel.
WEIGHTED = (K.Conv2D, K.DepthwiseConv2D, K.SeparableConv2D, K.Dense)
_FRESH = (*WEIGHTED, K.BatchNormalization, K.MaxPooling2D, K.AveragePooling2D, K.Add)


def fresh(node: Node) -> bool:
    """Whether it gives a new tensor, no view of another, that its own gradient does not need again."""
    viewed = type(node.op) is K.Dense and len(node.shape) > 2
    return type(node.op) in _FRESH and not viewed
