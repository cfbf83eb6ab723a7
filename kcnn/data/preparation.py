"""How a picture of any size becomes a network's input. One place says it; every file of a network keeps it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kcnn.errors import KcnnError

STRIP = 32  # times as long as wide: of a longer picture only the middle counts


@dataclass(frozen=True)
class Preparation:
    """What a picture goes through before a network sees it.

    Args:
        shape: (height, width, channels) that the network takes, channels 1 (grey) or 3 (RGB).
        resize: bring the shorter side to this many pixels, then cut the middle out, as torchvision's weights expect;
            0: cut the longer side to the shape's proportions, then resize.
    """

    shape: tuple[int, int, int]
    resize: int = 0

    @classmethod
    def of(cls, shape: Sequence[int], info: Mapping[str, Any]) -> "Preparation":
        """That of a network: `info` is what its file keeps, where `kept` has put it.

        Raises:
            KcnnError: the network does not take images.
        """
        if len(shape) != 3:
            raise KcnnError(f"This model takes arrays of {tuple(shape)}, not images (height, width, channels).")
        height, width, channels = shape
        return cls((height, width, channels), int(info.get("resize", 0)))

    def check(self) -> None:
        """Raise a KcnnError unless a picture can be brought to this shape."""
        if self.shape[2] not in (1, 3) or not all(isinstance(side, int) for side in self.shape):
            raise KcnnError(
                f"This model takes images of {self.shape} (height, width, channels). Pictures need a size and 1 or 3 "
                f"channels: name arrays (.npy) instead."
            )

    @property
    def kept(self) -> dict[str, Any]:
        """What a file of the network must keep: all but the shape, which the network itself tells."""
        return {"resize": self.resize} if self.resize else {}

    def apply(self, picture: Any) -> np.ndarray:
        """A Pillow picture with 8 bits a channel → uint8 (height, width, channels)."""
        from PIL import Image, ImageOps

        height, width, channels = self.shape
        picture = picture.convert("L" if channels == 1 else "RGB")
        if self.resize:
            picture = _middle(picture, self.resize, height, width)
        else:
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
        return np.asarray(picture).reshape(self.shape)


def _middle(picture: Any, resize: int, height: int, width: int) -> Any:
    """torchvision's Resize(resize) and CenterCrop((height, width)), to the pixel."""
    short = min(picture.size)
    if max(picture.size) > STRIP * short:  # resized whole it would be as long as it pleases
        sides = [min(side, STRIP * short) for side in picture.size]
        picture = _cut(picture, *sides)
    columns, rows = (int(resize * side / short) for side in picture.size)
    return _cut(picture.resize((columns, rows), 2), width, height)  # 2: bilinear


def _cut(picture: Any, width: int, height: int) -> Any:
    left, top = (round((side - wanted) / 2) for side, wanted in zip(picture.size, (width, height), strict=True))
    return picture.crop((left, top, left + width, top + height))
