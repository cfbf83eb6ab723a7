"""Errors that reach the user as one line: what is wrong, what is allowed, what came in, what to do next."""

import difflib
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

MOST = 60  # letters of a word that somebody else chose


class KcnnError(Exception):
    """Something that the user can put right: bad data, a missing file, a run that cannot go on. Exit code 1."""

    exit_code = 1


class UsageError(KcnnError):
    """A wrong name, key or value, found before any work is done. Exit code 2."""

    exit_code = 2


class Diverged(KcnnError):
    """The loss became NaN or infinite during training."""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    """The sentence for a name that is not in a table, with the nearest allowed one."""
    allowed = sorted(allowed)
    near = difflib.get_close_matches(str(name)[:MOST].lower(), allowed, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {shown(repr(name))}.{hint} Allowed: {', '.join(allowed)}."


def shown(text: str, most: int = MOST) -> str:
    """Any text in one line of a terminal: see `printable`; and cut if it is longer than `most` letters."""
    text = printable(text[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "…"


def printable(text: object) -> str:
    r"""The text with an escape for what is no character to look at: `\n`, `\x1b`, and `\xff` for a stray byte."""
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in str(text))


def _escape(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # how Python keeps a byte of a file name that is no UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


def command(*words: object) -> str:
    """A command to type next, as this program was called: `kcnn train --resume 'runs/my run'`."""
    program = Path(sys.argv[0]).name
    caller = {"cli.py": "python cli.py", "__main__.py": "python -m kcnn"}.get(program, "kcnn")
    return f"{caller} {shlex.join(str(word) for word in words)}"


def listed(kind: str, text: str, allowed: Iterable[str]) -> list[str]:
    """`a, b,a` → its names, each once.

    Raises:
        UsageError: naming every unknown one, or that there is none.
    """
    allowed = list(allowed)
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if wrong := [unknown(kind, name, allowed) for name in names or [""] if name not in allowed]:
        raise UsageError(" ".join(wrong))
    return names


def first_ten(items: Sequence[str], between: str = ", ") -> str:
    """The items in a row; of many the first ten, and how many more."""
    more = [f"and {len(items) - 10:,} more"] if len(items) > 10 else []
    return between.join([*items[:10], *more])
