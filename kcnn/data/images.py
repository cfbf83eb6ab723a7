"""Pictures from files: one way to read them, for training on a folder and for predicting.

Files may come from anywhere: sizes are checked before anything is decoded, and a large picture is decoded alone.
"""

import io
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data.picture_files import formats, is_picture
from kcnn.data.preparation import Preparation
from kcnn.errors import KcnnError

MOST_PIXELS = 2**28  # decoded, Pillow needs four bytes a pixel
HEAVY = {"AVIF": 2, "JPEG2000": 4, "WEBP": 4}  # times as much memory as that, in the libraries that decode them
LARGE = 2**25  # above so many pixels one picture at a time, made smaller band by band
FINER = 8  # a large picture is first made so many times as large as wanted
TEXT = 2**26  # bytes of text that a PNG may have beside its pixels; Pillow's own limit is 1 MB
BAND = 2**22  # pixels in a band
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # Exif's orientation → Pillow's transposition
_one_thread = ThreadPoolExecutor(1)  # for large pictures; each thread that decodes one keeps its memory for the next


def read_image(path: Path, preparation: Preparation) -> np.ndarray:
    """Decode one picture, turn it upright, and prepare it.

    Returns:
        uint8 (height, width, channels).

    Raises:
        KcnnError: the file is not there, does not decode, is absurdly large, or has pixels of another kind than 8 or
            16 bits.
    """
    try:
        if not path.is_file():
            raise KcnnError(f"There is no file {path}.")
        return preparation.apply(_decode(path, preparation.shape))
    except KcnnError:
        raise
    except Exception as error:  # of any class: a decoder raises what its parser stumbles over
        if isinstance(error, OSError) and error.errno:
            raise KcnnError(f"{path} cannot be read ({error.strerror}): see to its rights, or copy it anew.") from error
        raise KcnnError(f"{path} {_reason(path, error)}") from error


def read_images(paths: Sequence[Path], preparation: Preparation) -> Iterator[np.ndarray | KcnnError]:
    """Each picture, or why there is none, in order; in threads, as Pillow decodes outside Python's lock."""

    def attempt(path: Path) -> np.ndarray | KcnnError:
        try:
            return read_image(path, preparation)
        except KcnnError as error:
            return KcnnError(str(error))  # a new one: the frames of the first keep the pixels

    with ThreadPoolExecutor() as pool:
        yield from pool.map(attempt, paths)


def _reason(path: Path, error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if not path.stat().st_size:
        return "is empty (0 bytes): delete or replace it."
    if isinstance(error, UnidentifiedImageError):
        if is_picture(path):
            return "does not decode as an image: delete or replace it."
        return "is of no kind that kcnn reads: if it is a picture, save it as .png or .jpg."
    words = (str(error).splitlines() or [type(error).__name__])[0][:100]
    return f"does not decode as an image ({words}): delete or replace it."


def _decode(path: Path, shape: tuple[int, int, int]) -> Any:
    """A Pillow picture, upright, with 8 bits a channel; a large one not much larger than the shape."""
    with _open(path) as file:
        width, height = file.size
        weight = HEAVY.get(file.format, 1)
        if width * height * weight <= LARGE:
            return _finished(file, path)
    if width * height * weight > MOST_PIXELS:
        raise KcnnError(
            f"{path} has {width:,}×{height:,} pixels; kcnn decodes up to {MOST_PIXELS / weight / 1e6:.0f} million "
            f"in format {file.format}: make it smaller."
        )
    return _one_thread.submit(_decode_large, path, (FINER * shape[1], FINER * shape[0])).result()


def _decode_large(path: Path, enough: tuple[int, int]) -> Any:
    with _open(path) as file:
        return _finished(file, path, enough)


def _finished(file: Any, path: Path, enough: tuple[int, int] | None = None) -> Any:
    picture = _loaded(file, path, enough)
    levels, turn = _levels(picture, path), _turn(picture)
    picture = _smaller(picture, *enough) if enough else picture
    return _eight_bits(picture if turn is None else picture.transpose(turn), levels, path)


def _open(source: Any) -> Any:
    from PIL import Image, PngImagePlugin

    Image.MAX_IMAGE_PIXELS = None  # Pillow's limit has no words on what to do; `_decode` has
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = TEXT
    return Image.open(source, formats=formats())


def _loaded(file: Any, path: Path, enough: tuple[int, int] | None) -> Any:
    """The file, decoded; a JPEG without its end marker is whole all the same.

    Args:
        enough: a (width, height) below which a JPEG need not be decoded; it can be to a half, a quarter or an eighth.
    """
    try:
        if enough:
            file.draft(None, enough)
        file.load()
        return file
    except OSError:
        content = path.read_bytes().removesuffix(b"\xff")
        if file.format not in ("JPEG", "MPO") or (whole := _without_end(content, enough)) is None:
            raise
        return whole


def _without_end(content: bytes, enough: tuple[int, int] | None) -> Any:
    """The picture of a JPEG whose end marker alone is missing; None if some of its pixels are missing too.

    libjpeg takes what follows for pixels only where it still needs some, so then the picture depends on it.
    """
    last_marker = re.findall(rb"\xff([\x01-\xcf\xd8-\xfe])", content)[-1:]
    if last_marker != [b"\xda"]:  # that of a scan, which pixels follow
        return None
    restarts = [bytes((0xFF, 0xD0 + number)) for number in range(8)]
    picture = None
    for more in (b"", b"\x55" * 4096, b"\xb7" * 4096):
        following = b"".join(more + restart for restart in restarts) * 2 if more else b""
        other = _open(io.BytesIO(content + following + b"\xff\xd9"))
        if enough:
            other.draft(None, enough)
        other.load()
        if picture is not None and picture.tobytes() != other.tobytes():
            return None
        picture = other
    return picture


def _turn(picture: Any) -> int | None:
    """The transposition that makes the picture upright, if any; Exif data that are damaged tell none."""
    try:
        return TURNS.get(picture.getexif().get(0x0112))
    except Exception:  # of any class, as above
        return None


def _levels(picture: Any, path: Path) -> tuple[int, int] | None:
    """The lowest and the highest level of a grey picture of more than 8 bits; None for others.

    Raises:
        KcnnError: its pixels are no whole numbers, or too large or small for 16 bits.
    """
    if not picture.mode.startswith(("I", "F")):
        return None
    low, high = (picture.convert("I") if picture.mode == "I;16B" else picture).getextrema()
    if picture.mode == "F" or low < 0 or high >= 2**16:
        raise KcnnError(
            f"{path} has pixels other than whole numbers from 0 to 65535, so nobody knows which is white: "
            f"save it with 8 or 16 bits."
        )
    return low, high


def _smaller(picture: Any, width: int, height: int) -> Any:
    """The picture, by a whole factor smaller but not below this size; a band at a time, as whole copies are large."""
    from PIL import Image

    factor = min(picture.width // width, picture.height // height)
    if factor < 2:
        return picture
    mode = "I" if picture.mode.startswith("I") else "RGBA" if picture.has_transparency_data else "RGB"
    small = Image.new(mode, tuple(-(-side // factor) for side in picture.size))
    rows = factor * max(1, BAND // (picture.width * factor))
    for top in range(0, picture.height, rows):
        band = picture.crop((0, top, picture.width, min(top + rows, picture.height)))
        small.paste(band.convert(mode).reduce(factor), (0, top // factor))
    # The last column and row may stand for a part of a block.
    whole = (picture.width / factor, picture.height / factor)
    return small.resize(tuple(map(round, whole)), Image.Resampling.BILINEAR, box=(0, 0, *whole))


def _eight_bits(picture: Any, levels: tuple[int, int] | None, path: Path) -> Any:
    """The picture with 8 bits a channel, on white where it is transparent; Pillow would clip and drop both.

    Grey ones of 16 bits are divided by 257, unless all their levels fit in 8 bits as they are.
    """
    from PIL import Image

    if levels:
        return Image.fromarray(np.rint(np.asarray(picture) / (257 if levels[1] > 255 else 1)).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        clearest, densest = picture.getchannel("A").getextrema()
        if clearest < 255 and densest > 0 and flat.convert("L").getextrema() == (255, 255):
            raise KcnnError(f"{path} is white on a transparent ground, which counts as white: give it another ground.")
        return flat
    return picture
