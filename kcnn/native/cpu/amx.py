"""Convolutions in bfloat16 where the processor multiplies tiles of 16 × 32 numbers (Intel's AMX).

oneDNN fills a tile from one row of one image, so a narrow map leaves most of it empty: the weight gradient of 256
channels runs at a seventh of its speed on 3×3 maps, at three quarters on 13×13. Images laid side by side, a column of
zeros between them, are wide maps. Kernels larger than the cache are read again for each image, so there the other two
gain as well. Milliseconds of one core, 128 images, copies included: 512 channels on 4×4 maps forward 23 → 11, for the
input's gradient 26 → 13, for the weights' 83 → 18; 256 channels on 13×13, weights 32 → 23. A 1×1 convolution is one
matrix product. In float32, and with AVX512_BF16 alone, nothing of this pays.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

Tensor = torch.Tensor
Pair = tuple[int, int]

NARROW = 14  # pixels of a row; the weight gradient gains up to there,
SMALL, LARGE = 8, 2**20  # and the rest on maps of so few with kernels of so many numbers
CHANNELS = 128  # on either side, or the copies cost what is gained
LEAST, MOST = 16, 48  # pixels of a row of images


def available() -> bool:
    """Whether this processor has it, and torch knows."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    return bool(capabilities and capabilities().get("amx_bf16"))


def convolution(layer: Any, shape: tuple[int | None, ...]) -> Callable[..., Tensor]:
    """What does best what F.conv2d does, with the same arguments, for a Conv2D with this output shape."""
    here = layer.kernel.value.device.type == "cpu" and layer.compute_dtype == "bfloat16" and available()
    inputs, outputs = layer.kernel.shape[2:]
    if not here or {layer.groups, *layer.dilation_rate} != {1} or min(inputs, outputs) < CHANNELS:
        return F.conv2d
    if tuple(layer.kernel_size) == (1, 1):
        return pointwise
    return side_by_side if (shape[2] or NARROW + 1) <= NARROW else F.conv2d


def pointwise(x: Tensor, kernel: Tensor, bias: Tensor | None, strides: Pair, padding: Pair, *plain: Any) -> Tensor:
    """F.conv2d of a 1×1 kernel."""
    if any(padding):
        return F.conv2d(x, kernel, bias, strides, padding)
    rows = x[:, :, :: strides[0], :: strides[1]].permute(0, 2, 3, 1)
    return F.linear(rows, kernel.flatten(1), bias).permute(0, 3, 1, 2)


def side_by_side(x: Tensor, kernel: Tensor, bias: Tensor | None, strides: Pair, padding: Pair, *plain: Any) -> Tensor:
    """F.conv2d, whose weight gradient, and all of it on the smallest maps, takes several images as one.

    Args:
        x: (batch, in, height, width); kernel: (out, in, height, width).
    """
    pitch = -(-(x.shape[3] + padding[1]) // strides[1]) * strides[1]  # pixels from an image to the next
    count = max((number for number in range(1, MOST // pitch + 1) if len(x) % number == 0), default=0)
    if 2 * padding[1] != kernel.shape[3] - 1 or count * pitch < LEAST:
        return F.conv2d(x, kernel, bias, strides, padding)
    return _SideBySide.apply(x, kernel, bias, strides, padding, count, pitch)


class _SideBySide(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kernel: Tensor, bias: Any, strides: Pair, padding: Pair, count: int, pitch: int
    ) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.numbers = strides, padding, count, pitch
        if not _all_of_it(x, kernel):
            return F.conv2d(x, kernel, bias, strides, padding)
        return _apart(
            F.conv2d(_together(x, count, pitch), kernel, bias, strides, padding), count, -(-x.shape[3] // strides[1])
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, kernel) = gradients, ctx.saved_tensors
        strides, padding, count, pitch = ctx.numbers
        to_x, *to_weights = ctx.needs_input_grad[:3]

        def back(gradient: Tensor, x: Tensor, *wanted: bool) -> Any:
            rest = kernel.shape[:1], strides, padding, (1, 1), False, (0, 0), 1, wanted
            return torch.ops.aten.convolution_backward(gradient, x, kernel, *rest)

        wide = _together(gradient, count, pitch // strides[1]), _together(x, count, pitch)
        if _all_of_it(x, kernel):
            at_row, *at_weights = back(*wide, to_x, *to_weights)
            at_x = _apart(at_row, count, x.shape[3]) if to_x else None
        else:
            at_x = back(gradient, x, True, False, False)[0] if to_x else None
            at_weights = back(*wide, False, *to_weights)[1:] if any(to_weights) else (None, None)
        return at_x, *at_weights, None, None, None, None


def _all_of_it(x: Tensor, kernel: Tensor) -> bool:
    return x.shape[3] <= SMALL and kernel.numel() > LARGE


def _together(x: Tensor, count: int, pitch: int) -> Tensor:
    """(batch / count, channels, height, count * pitch): that many images in a row, zeros after each."""
    batch, channels, height, width = x.shape
    row = x.new_empty(batch // count, height, count, pitch, channels)
    row[:, :, :, :width] = x.permute(0, 2, 3, 1).unflatten(0, (-1, count)).transpose(1, 2)
    row[:, :, :, width:] = 0
    return row.flatten(2, 3).permute(0, 3, 1, 2)


def _apart(row: Tensor, count: int, width: int) -> Tensor:
    """The images of a row without what lies between them: (batch, channels, height, width)."""
    images = row.permute(0, 2, 3, 1).unflatten(2, (count, -1))[:, :, :, :width]
    return images.transpose(1, 2).flatten(0, 1).contiguous().permute(0, 3, 1, 2)
