"""What the colour transforms take, an entry an image (batch,)."""

import numpy as np

from kcnn.data.augment.geometry import Rng, Shape

LEVELS = 256  # factors and shares are multiples of 1/256: times a byte, they are exact in float32 on every backend


def exact(values: np.ndarray) -> np.ndarray:
    """Round to multiples of 1/256, float32."""
    return (np.rint(values * LEVELS) / LEVELS).astype(np.float32)


def factor(part: float, count: int, shape: Shape, rng: Rng) -> np.ndarray:
    """Float32 from 1 - `part` to 1 + `part`, as torchvision's ColorJitter draws them; 1 is no change."""
    return exact(rng.uniform(1 - part, 1 + part, count))


def upper_bits(strength: np.ndarray) -> np.ndarray:
    """Masks uint8 of the bits to keep: all eight at `strength` 0, the upper four at 1."""
    return (255 << np.rint(4 * strength).astype(int) & 255).astype(np.uint8)


def threshold(strength: np.ndarray) -> np.ndarray:
    """Levels int32 from which up a picture is inverted: 256, none of them, at `strength` 0, and 0 at 1."""
    return np.rint(LEVELS * (1 - strength)).astype(np.int32)
