"""Factors of the colour transforms, drawn with NumPy: float32 (batch,), 1 for no change."""

import numpy as np

from kcnn.data.augment.geometry import Rng, Shape

LEVELS = 256  # factors and shares are multiples of 1/256: times a byte, they are exact in float32 on every backend


def exact(values: np.ndarray) -> np.ndarray:
    """Round to multiples of 1/256, float32."""
    return (np.rint(values * LEVELS) / LEVELS).astype(np.float32)


def factor(part: float, count: int, shape: Shape, rng: Rng) -> np.ndarray:
    """From 1 - `part` to 1 + `part`, as torchvision's ColorJitter draws them."""
    return exact(rng.uniform(1 - part, 1 + part, count))
