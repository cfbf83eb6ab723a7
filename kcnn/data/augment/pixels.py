"""The drawn numbers applied to a batch of uint8 images (batch, height, width, channels), by array operations.

All arithmetic is exact: integers, or float32 on multiples of a power of two that stay below 2**24 of them. So neither
the order of a sum nor a fused multiply-add can change a pixel, and torch, jax and tensorflow give the same bytes.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from kcnn.data.augment.geometry import FRACTION_BITS

GREY = (19595 / 65536, 38470 / 65536, 7471 / 65536)  # ITU-R 601's 0.299, 0.587, 0.114


def sample(images: Any, matrices: np.ndarray, reflected: bool = False, bends: np.ndarray | None = None) -> Any:
    """Sample the images at the places of `matrices`, int32 (batch, 2, 3) of `fixed_point`; black outside.

    Whole-numbered matrices move pixels unchanged; others blend the four nearest, with weights in 1/256.

    Args:
        reflected: outside is the mirror image, of which the border pixel is the axis.
        bends: added to the places, int32 (batch, 2, height, width) in 1/65536 pixel.
    """
    batch, height, width, channels = images.shape
    # Shifts, flips and scale have rows of rows and columns of columns: thin arrays, quicker done on the host.
    thin = bends is None and not (matrices[:, 0, 1].any() or matrices[:, 1, 0].any())
    array = np if thin else ops
    y, x = (
        _inside_of(array, _places(array, matrices[:, axis], (height, width), bends, axis), side, reflected)
        for axis, side in ((0, height), (1, width))
    )
    # A black frame, with places clipped to it, makes everything outside black and needs no mask.
    framed = ops.reshape(ops.pad(images, ((0, 0), (1, 2), (1, 2), (0, 0))), (-1, channels))
    line = width + 3
    corner = np.arange(batch, dtype=np.int32)[:, None, None] * ((height + 3) * line) + line + 1
    lines = array.add(array.right_shift(y, FRACTION_BITS) * line, corner)
    first = ops.reshape(ops.add(lines, array.right_shift(x, FRACTION_BITS)), (-1,))
    if bends is None and not (matrices % (1 << FRACTION_BITS)).any():
        return ops.reshape(take(framed, first), images.shape)
    down, right = (_fraction(array, places, images.shape) for places in (y, x))
    above, below = (_across(framed, first + step, right) for step in (0, line))
    return ops.reshape(_bytes(above + (below - above) * down), images.shape)


def take(array: Any, places: Any) -> Any:
    """`array[places]` for int32 places (n,). On torch `ops.take` also looks for negative ones, for as long."""
    if keras.backend.backend() == "torch":
        return array.index_select(0, places)
    return ops.take(array, places, axis=0)


def _places(array: Any, matrix: np.ndarray, size: tuple[int, int], bends: np.ndarray | None, axis: int) -> Any:
    """Old places on one axis: int32, broadcasting against (batch, height, width).

    `array` is `keras.ops` or NumPy, whose functions have the same names.
    """
    rows, columns = np.arange(size[0], dtype=np.int32)[:, None], np.arange(size[1], dtype=np.int32)
    by_row, by_column, offset = matrix.T[:, :, None, None]
    places = by_row * rows + offset if by_row.any() else offset
    if by_column.any():
        places = array.add(places, by_column * columns)
    return places if bends is None else array.add(places, bends[:, axis])


def _inside_of(array: Any, places: Any, side: int, reflected: bool) -> Any:
    """The places, clipped to one pixel outside or reflected into the image."""
    if not reflected:
        return array.clip(places, -(1 << FRACTION_BITS), side << FRACTION_BITS)
    last = (side - 1) << FRACTION_BITS
    return array.clip(last - array.abs(last - array.abs(places)), 0, last)


def _fraction(array: Any, places: Any, shape: Any) -> Any:
    """How far places lie past their pixel, 0…255/256: float32 (pixels × channels,)."""
    part = array.bitwise_and(array.right_shift(places, FRACTION_BITS - 8), 255)
    return ops.reshape(ops.broadcast_to((_float(part) / 256)[..., None], shape), (-1,))


def _across(framed: Any, start: Any, right: Any) -> Any:
    """The blend of the pixels at `start` and their right neighbours, float32 (pixels × channels,)."""
    here, beyond = (_float(ops.reshape(take(framed, start + step), (-1,))) for step in (0, 1))
    return here + (beyond - here) * right


def _float(images: Any) -> Any:
    return ops.cast(images, "float32")


def _bytes(values: Any) -> Any:
    """Round to the nearest of 0…255, halves up."""
    return ops.cast(ops.clip(values + 0.5, 0, 255), "uint8")


def _each(values: np.ndarray) -> Any:
    """Numbers (batch,) that broadcast over images."""
    return ops.convert_to_tensor(values[:, None, None, None])


def _grey(images: Any) -> Any:
    """Luminance in whole levels, float32 (batch, height, width, 1); grey images as they are."""
    if images.shape[-1] == 1:
        return images
    red, green, blue = (images[..., channel : channel + 1] * weight for channel, weight in enumerate(GREY))
    return ops.floor(red + green + blue + 0.5)


def brightness(images: Any, factor: np.ndarray) -> Any:
    """Multiply by `factor`, float32 (batch,) in 1/256."""
    return _bytes(_float(images) * _each(factor))


def contrast(images: Any, factor: np.ndarray) -> Any:
    """Blend with the mean luminance of the image, in whole levels: `factor` of the image, the rest of the mean."""
    values, count = _float(images), images.shape[1] * images.shape[2]
    total = ops.sum(ops.cast(_grey(values), "int32"), axis=(1, 2, 3), keepdims=True)
    mean = _float(ops.floor_divide(total + count // 2, count))
    return _bytes(values * _each(factor) + mean * _each(1 - factor))


def saturation(images: Any, factor: np.ndarray) -> Any:
    """Blend with the luminance of each pixel: `factor` of the image, the rest of the grey one."""
    values = _float(images)
    return _bytes(values * _each(factor) + _grey(values) * _each(1 - factor))


def posterize(images: Any, mask: np.ndarray) -> Any:
    """Keep the bits of `mask`, uint8 (batch,)."""
    return ops.bitwise_and(images, _each(mask))


def solarize(images: Any, threshold: np.ndarray) -> Any:
    """Invert the levels from `threshold`, int32 (batch,), up; 256 changes nothing."""
    return ops.where(ops.cast(images, "int32") >= _each(threshold), 255 - images, images)


def sharpness(images: Any, factor: np.ndarray) -> Any:
    """Blend with a smoothed copy, 3 × 3 with the centre five times, as Pillow and torchvision; the edge stays."""
    if min(images.shape[1:3]) < 3:
        return images  # all edge
    values = ops.cast(images, "int32")
    rows = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * values[:, 1:-1, 1:-1]
    smooth = ops.pad(ops.floor_divide(total + 6, 13), ((0, 0), (1, 1), (1, 1), (0, 0)))
    inner = np.pad(np.ones([size - 2 for size in images.shape[1:3]], bool), 1)[None, :, :, None]
    smooth = _float(ops.where(ops.convert_to_tensor(inner), smooth, values))
    return _bytes(_float(images) * _each(factor) + smooth * _each(1 - factor))


def autocontrast(images: Any, chosen: np.ndarray) -> Any:
    """Stretch each channel of the images `chosen`, bool (batch,), to 0…255."""
    values = ops.cast(images, "int32")
    low, high = (reduce(values, axis=(1, 2), keepdims=True) for reduce in (ops.min, ops.max))
    stretched = ops.floor_divide((values - low) * 255, ops.maximum(high - low, 1))
    changes = ops.logical_and(_each(chosen), high > low)
    return ops.where(changes, ops.cast(stretched, "uint8"), images)


def equalize(images: Any, chosen: np.ndarray) -> Any:
    """Map the levels of each channel of the images `chosen`, bool (batch,), so that all are as frequent (Pillow's)."""
    batch, height, width, channels = images.shape
    planes = np.arange(batch * channels, dtype=np.int32).reshape(batch, 1, 1, channels) * 256
    places = ops.reshape(ops.cast(images, "int32") + ops.convert_to_tensor(planes), (-1,))
    counts = ops.segment_sum(ops.ones_like(places), places, batch * channels * 256)
    counts = ops.reshape(counts, (-1, 256))
    highest = ops.max(ops.where(counts > 0, np.arange(256, dtype=np.int32), 0), axis=1, keepdims=True)
    last = ops.take_along_axis(counts, highest, axis=1)
    step = ops.floor_divide(height * width - last, 255)
    below = ops.cumsum(counts, axis=1) - counts
    levels = ops.clip(ops.floor_divide(below + ops.floor_divide(step, 2), ops.maximum(step, 1)), 0, 255)
    mapped = ops.where(step > 0, levels, np.arange(256, dtype=np.int32))
    equal = ops.cast(ops.reshape(take(ops.reshape(mapped, (-1,)), places), images.shape), "uint8")
    return ops.where(_each(chosen), equal, images)


def _inside(boxes: np.ndarray, shape: Any) -> Any:
    """Whether a value lies in its image's rectangle: bool (batch, height, width × channels)."""
    _, height, width, channels = shape
    top, left, bottom, right = boxes.T[:, :, None, None]
    row, column = np.arange(height)[:, None], np.arange(width * channels) // channels
    rows, columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
    return ops.logical_and(ops.convert_to_tensor(rows), ops.convert_to_tensor(columns))


def erase(images: Any, boxes: np.ndarray) -> Any:
    """Black in the rectangles `boxes`, int32 (batch, 4)."""
    batch, height, width, channels = images.shape
    lines = ops.reshape(images, (batch, height, width * channels))
    keep = ops.cast(ops.logical_not(_inside(boxes, images.shape)), "uint8")
    return ops.reshape(lines * keep, images.shape)


def mix(images: Any, targets: Any, partner: np.ndarray, share: np.ndarray) -> tuple[Any, Any]:
    """`share`, float32 (batch,) in 1/256, of each image and target, and the rest of its partner's."""
    others = ops.take(images, ops.convert_to_tensor(partner), axis=0)
    mixed = _float(images) * _each(share) + _float(others) * _each(1 - share)
    return _bytes(mixed), _mixed_targets(targets, partner, share)


def paste(images: Any, targets: Any, partner: np.ndarray, boxes: np.ndarray, share: np.ndarray) -> tuple[Any, Any]:
    """The rectangles `boxes` from each image's partner; `share` is the part of the area that is its own."""
    batch, height, width, channels = images.shape
    lines = ops.reshape(images, (batch, height, width * channels))
    others = ops.take(lines, ops.convert_to_tensor(partner), axis=0)
    pasted = ops.where(_inside(boxes, images.shape), others, lines)
    return ops.reshape(pasted, images.shape), _mixed_targets(targets, partner, share)


def _mixed_targets(targets: Any, partner: np.ndarray, share: np.ndarray) -> Any:
    own = ops.convert_to_tensor(share[:, None])
    return targets * own + ops.take(targets, ops.convert_to_tensor(partner), axis=0) * (1 - own)
