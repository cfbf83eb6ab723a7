"""The user's words in pictures: every one is drawn as it is, in every kind, and in a font that has its characters."""

import warnings

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.text import Text
from PIL import Image

from helpers import random_images
from kcnn import plots
from kcnn.plots import figure, image_table, text
from kcnn.plots.text import literal, short, width
from kcnn.run.history import History

NAMES = (
    *("$a$", "\\alpha", "a_b^c", "<b>", "&amp;", "new\nline", "", " ", "\u3000", "x" * 200, "$\\frac{", "_hidden"),
    *("\udcff", "猫", "🐈", "ünï", "\\$a\\$", "{x}", "%s", "\u202eright to left", "a\u200db"),
)
RNG = np.random.default_rng(0)
HISTORY = History(
    [{"epoch": epoch, **dict.fromkeys(("loss", "accuracy", "learning_rate"), 0.5 / epoch)} for epoch in (1, 2, 3)]
)


def drawings(names, path):
    """Every kind of picture that has words of the user's in it."""
    count, drawn = len(names), plots.drawable(names)[:3]
    images = random_images(len(drawn), 9, 9, 3)
    rows = [{"class": name, "precision": 0.5, "recall": 0.7, "f1": 0.6, "images": 5} for name in names]
    yield plots.confusion(np.eye(count, dtype=int), names, path)
    yield plots.classes(rows, path)
    yield plots.curves(dict.fromkeys(names, HISTORY), path)
    yield plots.schedule([(0.0, 0.1, 3), (1.0, 0.2, 5)], names[0], path)
    yield plots.mistakes(images, [(name, name, 0.5) for name in drawn], names[0], path)
    yield plots.heat(
        [(image, RNG.random((3, 3)), name) for image, name in zip(images, drawn, strict=True)], names[0], path
    )
    yield plots.features(images[0], [(names[0], RNG.random((4, 4, 8)))], names[0], path)
    yield plots.filters(RNG.random((3, 3, 3, 8)), names[0], path)
    yield image_table.rows([(names[0], images)], drawn, names[0], path)


@pytest.fixture
def written(monkeypatch):
    """The words of each figure, as they stand in it when it is written."""
    words = []
    original = figure.use_fonts

    def keep(drawn):
        original(drawn)
        words.append([found for found in drawn.findobj(Text) if found.get_text()])

    monkeypatch.setattr(figure, "use_fonts", keep)
    return words


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        *((name, "png") for name in ("$\\frac{", "new\nline", "x" * 200, "", "_a")),
        *(("$a$ \udcff 猫", ending) for ending in ("png", "svg", "pdf")),
    ],
)
def test_every_kind_draws_every_name(tmp_path, name, ending):
    path = tmp_path / f"a.{ending}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in drawings([name, "other"], path):
            assert path.stat().st_size > 1000
            path.unlink()


def test_words_are_literal(tmp_path, written):
    """What matplotlib makes of them is the word itself, not a formula."""
    list(drawings(NAMES, tmp_path / "a.png"))
    assert len(written) == 9
    shown = {found._preprocess_math(found.get_text()) for texts in written for found in texts}
    assert not any(math for _, math in shown)
    words = {word.removeprefix("\u200b") for word, _ in shown}
    for word in (
        "$a$",
        "\\alpha",
        "a_b^c",
        "<b>",
        "new\\nline",
        '""',
        '" "',
        "$\\frac{",
        "_hidden",
        "\\xff",
        "\\$a\\$",
    ):
        assert word in words, word


def test_every_run_is_in_the_legend(tmp_path, written):
    plots.curves(dict.fromkeys(NAMES, HISTORY), tmp_path / "a.png")
    (texts,) = written
    assert sum(found.get_text() in {literal(name, 32) for name in NAMES} for found in texts) >= len(NAMES)


def test_literal():
    assert literal("a" * 30, 18) == short("a" * 30) == "a" * 17 + "…"
    assert literal("$a$") == "\\$a\\$"
    assert literal("_a") == "\u200b_a"
    assert literal("猫") == "\\u732b"
    assert literal("a\u3000b") == "a b"
    assert (width("ab"), width("猫")) == (2, 2)


# ---- fonts -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cat_font(tmp_path, monkeypatch):
    """A font that has a black square for 猫 and nothing else, as if it were installed."""
    pen = TTGlyphPen(None)
    for place in ((0, 0), (0, 1000), (1000, 1000), (1000, 0)):
        (pen.lineTo if place != (0, 0) else pen.moveTo)(place)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({ord("猫"): "cat"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "cat": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "cat": (1000, 0)})
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": "Cats", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "cats.ttf")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    font_manager.fontManager.addfont(tmp_path / "cats.ttf")
    caches = (text._fonts, text._has_font, text._drawable)
    for function in caches:
        function.cache_clear()
    yield
    for function in caches:
        function.cache_clear()


def test_a_font_that_has_the_characters_is_used(cat_font, tmp_path, written, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.confusion(np.eye(2, dtype=int), ["猫猫猫", "dog"], tmp_path / "a.png")
    assert "Cats" in written[0][0].get_fontfamily()
    assert "猫猫猫" in [found.get_text() for found in written[0]]
    assert capsys.readouterr().err == ""
    dark = np.asarray(Image.open(tmp_path / "a.png").convert("L")) < 60
    rows = dark[:, :200].sum(1)
    assert rows.max() > 30  # three squares beside each other are wider than any other word's black


def test_without_a_font_there_are_numbers_and_it_is_said_once(tmp_path, written, capsys):
    text._drawable.cache_clear()
    names = ["dog", "猫", "b", "狗"]
    assert plots.drawable(names) == ["dog", "#1", "b", "#3"]
    plots.confusion(np.eye(4, dtype=int), names, tmp_path / "a.png")
    assert {"#1", "#3", "dog"} <= {found.get_text() for found in written[0]}
    assert capsys.readouterr().err.count("#1 = 猫, #3 = 狗") == 1


def test_a_box_for_every_character_is_no_font():
    assert not any(family.startswith(("Last Resort", "cm")) for family, _ in text._fonts())
    assert any(family == "DejaVu Sans" for family, _ in text._fonts())
