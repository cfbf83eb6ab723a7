"""Pictures from files: one way to read them, for training on a folder and for predicting."""

from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import KcnnError

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def read_image(path: Path, shape: tuple[int, int, int], resize: int = 0) -> np.ndarray:
    """Decode one picture, turn it upright, cut the longer side to the shape's proportions, and resize.

    Args:
        shape: (height, width, channels), channels 1 (grey) or 3 (RGB).
        resize: bring the shorter side to this many pixels, then cut the middle out, as torchvision's weights expect.

    Returns:
        uint8 (height, width, channels).

    Raises:
        KcnnError: the file is not there, does not decode, or has pixels of another kind than 8 or 16 bits.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    height, width, channels = shape
    try:
        with Image.open(path) as file:
            picture = _eight_bits(ImageOps.exif_transpose(file), path).convert("L" if channels == 1 else "RGB")
            if resize:
                picture = _middle(picture, resize, height, width)
            else:
                picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
    except FileNotFoundError as error:
        raise KcnnError(f"There is no file {path}.") from error
    except PermissionError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise KcnnError(f"{path} does not decode as an image: delete or replace it.") from error
    return np.asarray(picture).reshape(shape)


def hidden(path: Path) -> bool:
    """Left by a system or a tool: .ipynb_checkpoints, and __MACOSX and ._photo.jpg of archives made on a Mac."""
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def is_picture(path: Path, root: Path) -> bool:
    """Whether a file below `root` has a picture's extension and is not `hidden` in it."""
    return path.suffix.lower() in EXTENSIONS and not hidden(path.relative_to(root))


def _eight_bits(picture: Any, path: Path) -> Any:
    """The picture with 8 bits a channel, on white where it is transparent; Pillow would clip and drop both.

    Grey ones of 16 bits are divided by 257, unless all their levels fit in 8 bits as they are.
    """
    from PIL import Image

    if picture.mode.startswith(("I", "F")):
        levels = np.asarray(picture)
        if picture.mode == "F" or levels.min() < 0 or levels.max() >= 2**16:
            raise KcnnError(
                f"{path} has pixels other than whole numbers from 0 to 65535, so nobody knows which is white: "
                f"save it with 8 or 16 bits."
            )
        return Image.fromarray(np.rint(levels / (257 if levels.max() > 255 else 1)).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        clearest, densest = picture.getchannel("A").getextrema()
        if clearest < 255 and densest > 0 and flat.convert("L").getextrema() == (255, 255):
            raise KcnnError(f"{path} is white on a transparent ground, which counts as white: give it another ground.")
        return flat
    return picture


def _middle(picture: Any, resize: int, height: int, width: int) -> Any:
    """torchvision's Resize(resize) and CenterCrop((height, width)), to the pixel."""
    short = min(picture.size)
    columns, rows = (int(resize * side / short) for side in picture.size)
    left, top = round((columns - width) / 2), round((rows - height) / 2)
    return picture.resize((columns, rows), 2).crop((left, top, left + width, top + height))  # 2: bilinear
