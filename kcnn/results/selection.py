"""Which images the user means who names files, folders and patterns."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from kcnn.data.picture_files import Found, hidden, is_kcnns, is_picture, look_below, passed_over
from kcnn.errors import KcnnError
from kcnn.results.prediction import is_array


def find_images(names: Sequence[str]) -> Found:
    """The pictures and arrays that files, folders (searched through for pictures) and patterns such as `*.png` name.

    A file that is named itself is an image whatever its ending; how it decodes will show.

    Raises:
        KcnnError: a name that matches none.
    """
    found = Found()
    for name in names:
        path = Path(name)
        more = Found([path]) if path.is_file() else _searched([path] if name and path.exists() else _matches(name))
        if not more.pictures:
            others = passed_over(more.others)
            raise KcnnError(
                f"{name} is no picture, no folder with pictures and no pattern that matches any."
                f"{f' Passed over: {others}.' if others else ''}"
            )
        found.pictures += more.pictures
        found.others += more.others
    return found


def _searched(paths: Iterable[Path]) -> Found:
    """Files, and what lies below folders."""
    found = Found()
    for path in paths:
        if path.is_dir():
            below = look_below(path)
            found.pictures += below.pictures
            found.others += below.others
        else:
            (found.pictures if is_picture(path) or is_array(path) else found.others).append(path)
    return found


def _matches(pattern: str) -> list[Path]:
    """What a pattern matches, but for what is `hidden` and kcnn's own runs; `**` goes through folders, not links."""
    anchor, asked = Path(pattern).anchor, Path(pattern).parts
    everywhere = "**" in asked
    rest = pattern.removeprefix(anchor) + ("/*" if asked[-1:] == ("**",) else "")
    try:
        matches = sorted(Path(anchor).glob(rest))
    except (ValueError, NotImplementedError):  # no pattern at all
        return []
    matches = [path for path in matches if not any(hidden(part) and part not in asked for part in path.parts)]
    return [path for path in matches if not path.is_dir() or not (everywhere or is_kcnns(path))]
