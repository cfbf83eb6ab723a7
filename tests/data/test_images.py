"""One picture from a file to bytes: what is cut, which pixels there are, what is damaged, and what is too large."""

import io
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from kcnn.data.images import MOST_PIXELS, read_image, read_images
from kcnn.data.preparation import Preparation
from kcnn.errors import KcnnError

SMALL = Preparation((16, 16, 3))


def photo(width=160, height=120):
    """Smooth colours with some noise, as a camera's."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray(np.clip(pixels + rng.integers(-9, 9, pixels.shape), 0, 255).astype(np.uint8))


def refused(path, *words, preparation=SMALL):
    with pytest.raises(KcnnError) as caught:
        read_image(path, preparation)
    assert "\n" not in str(caught.value)
    for word in (path, *words):
        assert str(word) in str(caught.value)


def test_a_picture_is_turned_upright_and_cut_in_the_middle(tmp_path):
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = (255, 0, 0)  # the middle third
    pixels[:10, 20:40] = (0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    wide = read_image(tmp_path / "wide.png", Preparation((20, 20, 3)))
    np.testing.assert_array_equal(wide, pixels[:, 20:40])
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: the camera was turned, show it a quarter turn clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    turned = read_image(tmp_path / "turned.png", Preparation((20, 20, 3)))
    np.testing.assert_array_equal(turned, np.rot90(pixels[:, 20:40], -1))


def test_a_colour_picture_for_a_grey_model(tmp_path):
    Image.new("RGB", (28, 28), (100, 100, 100)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", Preparation((14, 14, 1)))
    assert image.shape == (14, 14, 1)
    assert (image == 100).all()


# ---- pixels of other kinds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_become_eight(tmp_path, kind, channels):
    levels = (np.arange(28 * 28).reshape(28, 28) * 83).astype(kind)
    Image.fromarray(levels).save(tmp_path / "deep.tif")
    found = read_image(tmp_path / "deep.tif", Preparation((28, 28, channels)))
    np.testing.assert_array_equal(found, np.rint(levels / 257)[..., None].repeat(channels, -1))


def test_eight_bits_kept_in_sixteen_stay_as_they_are(tmp_path):
    levels = np.tile(np.array([0, 100, 200, 255], np.uint16), (8, 2))
    Image.fromarray(levels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", Preparation((8, 8, 1)))[..., 0], levels)


@pytest.mark.parametrize("levels", [np.int32([[2**20]]), np.int32([[-5]]), np.float32([[0.5]])])
def test_pixels_without_a_known_white_are_refused(tmp_path, levels):
    Image.fromarray(np.tile(levels, (8, 8))).save(tmp_path / "a.tif")
    with pytest.raises(KcnnError, match="0 to 65535"):
        read_image(tmp_path / "a.tif", Preparation((8, 8, 1)))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_is_white(tmp_path, mode):
    picture = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (5, 5, 15, 15))
    picture.convert(mode.replace("PA", "P")).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png", Preparation((20, 20, 1)))[..., 0]
    expected = np.full((20, 20), 255)
    expected[5:15, 5:15] = 0
    np.testing.assert_array_equal(found, expected)


def test_white_on_a_transparent_ground_is_refused(tmp_path):
    picture = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    picture.paste((255, 255, 255, 255), (5, 5, 15, 15))
    picture.save(tmp_path / "a.png")
    with pytest.raises(KcnnError, match="white on a transparent ground"):
        read_image(tmp_path / "a.png", Preparation((20, 20, 1)))


@pytest.mark.parametrize("alpha", [0, 255])
def test_an_empty_page_is_white(tmp_path, alpha):
    Image.new("RGBA", (20, 20), (255, 255, 255, alpha)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", Preparation((20, 20, 1))) == 255).all()


# ---- damage ----------------------------------------------------------------------------------------------------------


def test_what_is_no_picture(tmp_path):
    for name, content, words in (
        ("empty.png", b"", "is empty (0 bytes)"),
        ("text.jpg", b"no picture", "does not decode"),
        (
            "page.png",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "does not decode",
        ),  # would start Ghostscript
    ):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, words, "delete or replace")
    refused(tmp_path / "none.png", "There is no file")
    (tmp_path / "link.png").symlink_to(tmp_path / "none.png")
    refused(tmp_path / "link.png", "There is no file")


def jpeg(**options):
    stream = io.BytesIO()
    photo().save(stream, "JPEG", quality=85, **options)
    return stream.getvalue()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}])
def test_a_jpeg_without_its_end_marker_is_whole(tmp_path, options):
    content, path = jpeg(**options), tmp_path / "a.jpg"
    path.write_bytes(content)
    whole = read_image(path, SMALL)
    for missing in (1, 2):
        path.write_bytes(content[:-missing])
        np.testing.assert_array_equal(read_image(path, SMALL), whole)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}])
@pytest.mark.parametrize("missing", [20, 100, 1000, 3000])
def test_a_jpeg_without_some_of_its_pixels_is_bad(tmp_path, options, missing):
    (tmp_path / "a.jpg").write_bytes(jpeg(**options)[:-missing])
    refused(tmp_path / "a.jpg", "does not decode", "truncated")


def test_damaged_exif_data_do_no_harm(tmp_path):
    photo().save(tmp_path / "good.jpg")
    photo().save(tmp_path / "odd.jpg", exif=b"Exif\0\0" + b"\xff" * 40)
    np.testing.assert_array_equal(read_image(tmp_path / "odd.jpg", SMALL), read_image(tmp_path / "good.jpg", SMALL))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(tmp_path, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    photo().save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as file:
        expected = ImageOps.fit(ImageOps.exif_transpose(file), (16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", SMALL), np.asarray(expected))


def test_a_png_with_much_text(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "x" * 5_000_000, zip=True)
    photo().save(tmp_path / "a.png", pnginfo=text)
    assert read_image(tmp_path / "a.png", SMALL).shape == (16, 16, 3)


def test_pictures_and_errors_in_order(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    for number, path in enumerate(paths):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(path)
    paths[4].write_bytes(b"")
    found = list(read_images(paths, SMALL))
    assert isinstance(found[4], KcnnError)
    assert [image[0, 0, 0] for index, image in enumerate(found) if index != 4] == [0, 1, 2, 3, 5, 6, 7, 8]
    assert found[4].__cause__ is None  # which would hold on to the pixels


# ---- size ------------------------------------------------------------------------------------------------------------


def test_absurd_sizes_are_refused_before_decoding(tmp_path):
    """A few bytes that say they are 30,000 pixels a side."""
    photo(8, 8).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = (30_000).to_bytes(4, "big") * 2  # in the header, then its checksum
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)
    refused(tmp_path / "a.png", "30,000×30,000 pixels", f"{MOST_PIXELS / 1e6:.0f} million", "make it smaller")


@pytest.mark.parametrize(("ending", "side"), [("png", 200), ("jpg", 200), ("webp", 100), ("jp2", 100)])
def test_formats_that_need_more_memory_may_be_less_large(tmp_path, monkeypatch, ending, side):
    monkeypatch.setattr("kcnn.data.images.LARGE", 100)
    monkeypatch.setattr("kcnn.data.images.MOST_PIXELS", 200**2)
    for number, more in enumerate((0, 1)):
        photo(side, side + more).save(tmp_path / f"{number}.{ending}")
    assert read_image(tmp_path / f"0.{ending}", SMALL).shape == (16, 16, 3)
    refused(tmp_path / f"1.{ending}", f"{side}×{side + 1} pixels", "make it smaller")


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "RGB", "LA"])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_a_large_picture_looks_as_a_small_one(tmp_path, monkeypatch, mode, ending):
    if ending == "jpg" and mode not in ("L", "RGB"):
        pytest.skip("no such JPEG")
    monkeypatch.setattr("kcnn.data.images.BAND", 3000)
    picture = photo(1200, 900)
    grey = np.asarray(picture.convert("L")).astype(np.uint16) * 200
    picture = Image.fromarray(grey) if mode == "I;16" else picture.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / f"a.{ending}", exif=exif, **({"quality": 95} if ending == "jpg" else {}))
    small = read_image(tmp_path / f"a.{ending}", SMALL)
    monkeypatch.setattr("kcnn.data.images.LARGE", 1000)
    large = read_image(tmp_path / f"a.{ending}", SMALL)
    assert np.abs(large.astype(int) - small).max() <= 6
    assert np.abs(large.astype(int) - small).mean() < 1


MEMORY = """
import re, sys
from pathlib import Path
from kcnn.data.images import read_images
from kcnn.data.preparation import Preparation
found = list(read_images([Path(sys.argv[1])] * 4, Preparation((64, 64, 3))))
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print(found[0].shape, int(peak) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux")
def test_large_pictures_take_turns(tmp_path):
    """Four of 14,000 pixels a side: one byte a pixel is 196 MB, and no two are decoded at a time."""
    path = tmp_path / "a.png"
    Image.new("L", (14_000, 14_000)).save(path)
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shape, megabytes = done.stdout.rsplit(maxsplit=1)
    assert shape == "(64, 64, 3)"
    assert int(megabytes) < 350
    assert "Warning" not in done.stderr


def test_a_very_long_strip(tmp_path):
    """Resized whole, its shorter side of one pixel would make the longer one millions long."""
    Image.new("L", (1, 60_000)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", Preparation((224, 224, 3), 256)).shape == (224, 224, 3)
    assert read_image(tmp_path / "a.png", SMALL).shape == (16, 16, 3)
