"""Which files are pictures, and what else lies among them: one way to look, for training and for predicting."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

# Pillow's formats of photographs and drawings. Not: documents and films, what needs another program (EPS), icons and
# working files (PSD), which lie beside the pictures that were made from them. TGA, which has no signature, comes last.
FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PCX"),
    *("PNG", "PPM", "QOI", "SGI", "SUN", "TIFF", "WEBP", "TGA"),
)
MARKS = (
    "recipe.toml",
    "compare.toml",
    "study.toml",
)  # of runs, comparisons, studies: no folders of pictures


@cache
def formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow reads."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@cache
def endings() -> frozenset[str]:
    """The endings of their files' names, in small letters."""
    from PIL import Image

    known = formats()
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in known)


def is_picture(path: Path) -> bool:
    """Whether the file's name ends as a picture's."""
    return path.suffix.lower() in endings()


def hidden(name: str) -> bool:
    """Left by a system or a tool: .ipynb_checkpoints, and __MACOSX and ._photo.jpg of archives made on a Mac."""
    return name.startswith((".", "__MACOSX"))


@dataclass
class Found:
    """The pictures that lie somewhere, in order, the other files, and the number of kcnn's own folders left out."""

    pictures: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    runs: int = 0


def look_below(folder: Path) -> Found:
    """Search a folder through, without what is `hidden` in it and without kcnn's own runs.

    Links to folders are followed, but no folder is entered twice, so that links in a circle come to an end.
    """
    found = Found()
    _look(folder, found, set())
    return found


def _look(folder: Path, found: Found, entered: set[tuple[int, int]]) -> None:
    here = folder.stat()
    if (here.st_dev, here.st_ino) in entered:
        return
    entered.add((here.st_dev, here.st_ino))
    for path in sorted(folder.iterdir()):
        if hidden(path.name):
            continue
        if not path.is_dir():
            (found.pictures if is_picture(path) else found.others).append(path)
        elif _is_run(path):
            found.runs += 1
        else:
            _look(path, found, entered)


def _is_run(folder: Path) -> bool:
    return any((folder / mark).is_file() for mark in MARKS)


def is_kcnns(folder: Path) -> bool:
    """A run or a comparison, a folder that holds such and no picture beside them, or a `runs` with nothing in it."""
    if _is_run(folder):
        return True
    if any(is_picture(path) for path in folder.iterdir()):
        return False
    below = look_below(folder)
    return not below.pictures and (bool(below.runs) or (folder.name == "runs" and not below.others))


def passed_over(files: Iterable[Path]) -> str:
    """`4 files that are no pictures (3 .heic, 1 .db)`; "" for none."""
    kinds = Counter(path.suffix.lower() or "without an ending" for path in files)
    if not kinds:
        return ""
    total = sum(kinds.values())
    words = "file that is no picture" if total == 1 else "files that are no pictures"
    return f"{total} {words} ({', '.join(f'{count} {kind}' for kind, count in kinds.most_common())})"
