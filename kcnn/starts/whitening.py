"""The first layer of a speednet, which stands still, fitted to patches of the training images before the first step.

Its outputs have no correlation and the same size, so what is learned after it need not begin with that: Coates and Ng
2012, "Learning feature representations with k-means", section 3.1; frozen as in Jordan 2024 (arXiv:2404.00498).
"""

import math
from typing import Any

import keras
import numpy as np

from kcnn.machine.randomness import generator
from kcnn.models.layers import WHITENING

PATCHES = 2**21  # at most so many are looked at
LEAST = 5e-4  # variance added to each direction, so that the faintest are not blown up


def fit_whitening(model: Any, images: np.ndarray, seed: int) -> None:
    """Set the kernel of the model's whitening layer, from images drawn by the seed; without one nothing happens.

    Args:
        images: uint8 (n, height, width, channels) of the training set.
    """
    layer = next((layer for layer in model.layers if layer.name == WHITENING), None)
    if layer is None:
        return
    count = max(1, PATCHES // math.prod(layer.output.shape[1:3]))
    chosen = generator(seed, "whitening").permutation(len(images))[:count]
    prepared = keras.Model(model.inputs, layer.input).predict(images[np.sort(chosen)], verbose=0)
    layer.kernel.assign(whitening_kernel(np.asarray(prepared, np.float64), layer.kernel_size))


def whitening_kernel(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Filters that make patches of the images white, and their negatives: float32 (*size, channels, filters).

    Args:
        images: float64 (n, height, width, channels), about zero on average.
    """
    windows = np.lib.stride_tricks.sliding_window_view(images, size, (1, 2))  # (…, channels, *size)
    patches = np.moveaxis(windows, 3, -1).reshape(-1, math.prod(size) * images.shape[3])
    variances, directions = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = (directions / np.sqrt(variances + LEAST)).reshape(*size, images.shape[3], -1)
    return np.concatenate([filters, -filters], -1).astype(np.float32)
