"""A narrow convolution with 2×2 max-pooling after it, as one convolution of stride 2 and a maximum of channels.

The processor works on sixteen channels at once; the six of LeNet's first layer waste the most of it. With a kernel
for each of the four places of a pooling window there are 24 channels at a quarter of the positions, and pooling
them is a maximum of whole blocks of memory.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

Tensor = torch.Tensor

MOST_FILTERS = 8


def pays(layer: Any, shape: tuple[int | None, ...], padding: tuple[int, ...]) -> bool:
    """Whether a Conv2D with this output shape, and so many zeros before and after each axis, gains by it.

    Args:
        shape: (batch, height, width, channels).
        padding: top, bottom, left, right.
    """
    plain = {*layer.strides, *layer.dilation_rate, layer.groups} == {1} and len(set(padding)) == 1
    even = None not in shape[1:3] and not (shape[1] % 2 or shape[2] % 2)  # type: ignore[operator]
    return plain and even and layer.filters <= MOST_FILTERS and layer.kernel.value.device.type == "cpu"


def convolve(x: Tensor, kernel: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """The four results of each pooling window, (batch, 4 * out, height / 2, width / 2).

    Args:
        x: (batch, in, height, width).
        kernel: (height, width, in, out), as Keras has it.
    """
    height, width, inputs, outputs = kernel.shape
    four = (_places(height, width).to(kernel.dtype) @ kernel.reshape(height * width, -1)).view(
        4, height + 1, width + 1, inputs, outputs
    )
    four = four.permute(0, 4, 3, 1, 2).reshape(4 * outputs, inputs, height + 1, width + 1)
    return F.conv2d(x, four, None if bias is None else bias.repeat(4), 2, padding)


@cache
def _places(height: int, width: int) -> Tensor:
    """Zeros and ones, (4 * (height+1) * (width+1), height * width): the kernel, moved by 0 or 1 right and down."""
    one = torch.eye(height * width).view(1, height, width, height * width)
    moved = [F.pad(one, (0, 0, right, 1 - right, down, 1 - down)) for right in (0, 1) for down in (0, 1)]
    return torch.cat(moved).view(-1, height * width)


def pool(x: Tensor) -> Tensor:
    """The largest of the four, (batch, out, height / 2, width / 2); the gradient goes to the first of equals."""
    return _Pool.apply(x)


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        upper, lower = torch.maximum(left, right).chunk(2, 1)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(right - left, lower - upper)
        return torch.maximum(upper, lower)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0]
        for difference in reversed(ctx.saved_tensors):
            second = torch.ops.aten.threshold_backward(gradient, difference, 0)
            gradient = torch.cat([gradient - second, second], 1)
        return gradient
