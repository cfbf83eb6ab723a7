"""3×3 convolutions with a quarter of the multiplications, for float32 on the CPU.

Lavin and Gray 2015, "Fast algorithms for convolutional neural networks": a tile of `size`×`size` outputs is an
elementwise product of the transformed input and kernel, summed over the channels, which is one matrix product for
each of the (size + 2)² places. torch's CPU library multiplies directly; for many channels on small maps this is 1.4
times as fast in training and up to twice in prediction, where the kernels are transformed once. It reads more memory,
and where neighbours on the machine use that too it gains little. Relative to float64 it is off by 1.5e-6 for size 4 and
2e-7 for size 2, the direct way by 4e-7.
"""

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from kcnn.native.graph import MOST_DERIVED

Tensor = torch.Tensor

LEAST_GAIN = 1.9  # in multiplications, where those of the transforms, which wait for memory, count more:
TRANSFORM = 4  # as many each, for images and results
KERNEL = 70 / 64  # for a weight in each place of a tile; training transforms the kernel again for each batch, say of 64
CACHED = 2**20  # bytes of transformed input that are worked on at a time
TILES = 64  # at least so many at a time, for the kernel is read again for each

# For tiles of 4 and 2: the transforms of the input and of the kernel, and the one back to the output, for one axis.
_ONE_AXIS = {
    4: (
        [
            *([4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0]),
            *([0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]),
        ],
        [
            *([1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6]),
            *([1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]),
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
}


@cache
def transforms(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The transforms of both axes at once: ((size+2)², (size+2)²), ((size+2)², 9) and (size², (size+2)²)."""
    axis = [torch.tensor(matrix, dtype=torch.float64) for matrix in _ONE_AXIS[size]]
    image, kernel, back = (torch.kron(matrix, matrix).float() for matrix in axis)
    return image, kernel, back


def pays(layer: Any, shape: tuple[int | None, ...], padding: tuple[int, ...], training: bool) -> bool:
    """Whether a Conv2D with this output shape, and so many zeros before and after each axis, gains by it.

    Args:
        shape: (batch, height, width, channels).
        padding: top, bottom, left, right.
    """
    plain = tuple(layer.kernel_size) == (3, 3) and {*layer.strides, *layer.dilation_rate, layer.groups} == {1}
    here = layer.kernel.value.device.type == "cpu" and layer.compute_dtype == layer.kernel.dtype == "float32"
    height, width, outputs = (side or 0 for side in shape[1:])
    small = layer.kernel.value.numel() <= MOST_DERIVED
    if not (plain and here and small and height and width and len(set(padding)) == 1):
        return False
    inputs, size = layer.kernel.shape[2], _size((height, width))
    tiles, places = -(-height // size) * -(-width // size), (size + 2) ** 2
    transforms = places * tiles * (inputs * places + outputs * size * size)
    products = places * inputs * outputs
    cost = tiles * products + TRANSFORM * transforms + (KERNEL * products if training else 0)
    return 9 * height * width * inputs * outputs >= LEAST_GAIN * cost


def convolve(x: Tensor, kernel: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """The convolution, with its gradients.

    Args:
        x: (batch, in, height, width), float32.
        kernel: (3, 3, in, out), as Keras has it.
        padding: zeros on every side.

    Returns:
        (batch, out, height, width), channels last in memory.
    """
    return _Convolution.apply(x, kernel, bias, padding)


def spread(kernel: Tensor, sides: Iterable[int | None]) -> Tensor:
    """The transformed kernel, ((size+2)², in, out), for outputs of this height and width."""
    return (transforms(_size(sides))[1] @ kernel.reshape(9, -1)).view(-1, *kernel.shape[2:])


def infer(x: Tensor, kernel: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """As `convolve` without gradients, with the kernel that `spread` gave."""
    return _forward(x, kernel, bias, padding)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.padding = padding
        return _forward(x, spread(kernel, [side + 2 * padding - 2 for side in x.shape[2:]]), bias, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, kernel = ctx.saved_tensors
        to_x = to_kernel = to_bias = None
        if ctx.needs_input_grad[0]:
            turned = spread(kernel.flip(0, 1), x.shape[2:]).transpose(1, 2)
            to_x = _forward(gradient, turned, None, 2 - ctx.padding)
        if ctx.needs_input_grad[1]:
            to_kernel = _kernel_gradient(x, gradient, ctx.padding).view(kernel.shape)
        if ctx.needs_input_grad[2]:
            to_bias = gradient.sum((0, 2, 3))
        return to_x, to_kernel, to_bias, None


def _size(sides: Iterable[int | None]) -> int:
    """Of the tiles, for an output of this size: larger ones save more, if the map is not smaller than one."""
    return 4 if max(side or 0 for side in sides) > 2 else 2


def _forward(x: Tensor, kernel: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """The convolution with a transformed kernel."""
    size = math.isqrt(len(kernel)) - 2
    back, outputs = transforms(size)[2], kernel.shape[2]
    batch, _, height, width = x.shape
    height, width = height + 2 * padding - 2, width + 2 * padding - 2
    rows, columns = -(-height // size), -(-width // size)
    # The result is no view of something else, so that what follows may overwrite it.
    result = torch.empty(batch, outputs, height, width, memory_format=torch.channels_last)
    whole = (height, width) == (rows * size, columns * size)
    image = result.permute(0, 2, 3, 1) if whole else x.new_empty(batch, rows * size, columns * size, outputs)
    y = image.view(batch, rows, size, columns, size, outputs)
    for part, spots in _tiles(x, padding, size, rows, columns, max(x.shape[1], outputs)):
        products = torch.bmm(spots, kernel).view(len(kernel), -1)
        tiles = (back @ products).view(size, size, -1, rows, columns, outputs).permute(2, 3, 0, 4, 1, 5)
        if bias is None:
            y[part].copy_(tiles)
        else:
            torch.add(tiles, bias, out=y[part])
    return result if whole else result.copy_(image[:, :height, :width].permute(0, 3, 1, 2))


def _kernel_gradient(x: Tensor, gradient: Tensor, padding: int) -> Tensor:
    """(9, in * out)"""
    batch, outputs, height, width = gradient.shape
    size = _size((height, width))
    _, onto, back = transforms(size)
    rows, columns = -(-height // size), -(-width // size)
    whole = F.pad(gradient.permute(0, 2, 3, 1), (0, 0, 0, columns * size - width, 0, rows * size - height)).contiguous()
    whole = whole.view(batch, rows, size, columns, size, outputs)
    total = x.new_zeros(len(onto), x.shape[1], outputs)
    for part, image in _tiles(x, padding, size, rows, columns, max(x.shape[1], outputs)):
        tiles = whole[part].permute(2, 4, 0, 1, 3, 5).reshape(size * size, -1)
        total.baddbmm_(image.transpose(1, 2), (back.T @ tiles).view(len(onto), -1, outputs))
    return onto.T @ total.view(len(onto), -1)


def _tiles(x: Tensor, padding: int, size: int, rows: int, columns: int, channels: int) -> Any:
    """Some images at a time: which, and their transformed tiles ((size+2)², tiles, in)."""
    edge, (batch, inputs, height, width) = size + 2, x.shape
    down, right = rows * size + 2 - height - padding, columns * size + 2 - width - padding
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding, right, padding, down)).contiguous()
    image, line, column = x.stride()[:3]
    strides = (line, column, image, size * line, size * column, 1)
    tiles = rows * columns
    step = max(1, TILES // tiles, CACHED // (4 * edge * edge * tiles * channels))
    for start in range(0, batch, step):
        part = x[start : start + step]
        shape = (edge, edge, len(part), rows, columns, inputs)
        windows = part.as_strided(shape, strides, part.storage_offset()).reshape(edge * edge, -1)
        yield slice(start, start + step), (transforms(size)[0] @ windows).view(edge * edge, -1, inputs)
