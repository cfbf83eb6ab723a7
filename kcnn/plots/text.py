"""The user's words in pictures: drawn as they are, whatever is in them, in a font that has their characters."""

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

from kcnn.errors import first_ten, printable
from kcnn.machine.terminal import say

# Fonts that come with matplotlib and are no alphabets: they have parts of formulas, or a box for every character.
NO_ALPHABETS = ("cm", "Last Resort", "STIXNonUnicode", "STIXSize")
UNSEEN = {"Cf": "", "Zs": " "}  # category of joiners and of spaces → what is drawn for them


def short(name: str, most: int = 18) -> str:
    """The name, cut if it is longer than `most` letters."""
    return name if len(name) <= most else name[: most - 1] + "…"


def literal(text: str, most: int = 80) -> str:
    r"""The text for matplotlib, which takes `$…$` for a formula and leaves a `_name` out of legends.

    It is cut to `most` letters; characters that no font has are escaped (`\u732b`), and nothing but blanks is quoted.
    """
    seen = "".join(UNSEEN.get(unicodedata.category(char), char) for char in text)
    text = short(printable(seen if seen.strip() else f'"{seen}"'), most)
    text = "".join(char if _has_font(char) else _escape(char) for char in text).replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text


def _escape(char: str) -> str:
    return "" if unicodedata.combining(char) else char.encode("unicode_escape").decode()


def drawable(names: Sequence[str]) -> list[str]:
    """The names of classes, or `#7` for the one of label 7 if no installed font has its characters; says which."""
    return list(_drawable(tuple(names)))


@cache  # so that several pictures of the same classes say it once
def _drawable(names: tuple[str, ...]) -> tuple[str, ...]:
    numbered = {label: name for label, name in enumerate(names) if any(map(_lacks_font, name))}
    if numbered:
        legend = first_ten([f"#{label} = {name}" for label, name in numbered.items()])
        say(f"no font here has the characters of some classes, so pictures have numbers: {legend}")
    return tuple(f"#{label}" if label in numbered else name for label, name in enumerate(names))


def width(text: str) -> int:
    """How many letters wide a text is; a Chinese character is two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def use_fonts(figure: Any) -> None:
    """Give every text of a figure the fonts that its characters need beside matplotlib's own."""
    from matplotlib import rcParams
    from matplotlib.text import Text

    texts = figure.findobj(Text)
    wanted = {char for text in texts for char in text.get_text() if ord(char) not in _own()}
    more = []
    while wanted:
        family, file = max(_fonts(), key=lambda font: sum(ord(char) in _charmap(font[1]) for char in wanted))
        covered = {char for char in wanted if ord(char) in _charmap(file)}
        if not covered:
            break
        more.append(family)
        wanted -= covered
    for text in texts if more else ():
        text.set_fontfamily([*rcParams["font.family"], *more])


def _lacks_font(char: str) -> bool:
    """Whether a name with this character cannot be drawn as it is."""
    return char.isprintable() and not unicodedata.combining(char) and not _has_font(char)


@cache
def _has_font(char: str) -> bool:
    """Whether any font on this machine has the character."""
    return char.isascii() or ord(char) in _own() or any(ord(char) in _charmap(file) for _, file in _fonts())


def _own() -> frozenset[int]:
    """The characters of matplotlib's own font, or the one that the user has set."""
    from matplotlib.font_manager import FontProperties, findfont

    return _charmap(str(findfont(FontProperties())))


@cache
def _fonts() -> tuple[tuple[str, str], ...]:
    """(family, file) of the upright alphabets on this machine, each in the weight that is next to the ordinary."""
    from matplotlib.font_manager import fontManager

    fonts = [font for font in fontManager.ttflist if font.style == "normal" and not font.name.startswith(NO_ALPHABETS)]
    weights = {id(font): font.weight if isinstance(font.weight, int) else 400 for font in fonts}
    return tuple({font.name: font.fname for font in sorted(fonts, key=lambda f: -abs(weights[id(f)] - 400))}.items())


@cache
def _charmap(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):  # a font that was removed, or is damaged
        return frozenset()
