"""What a person reads while a command works."""

import sys
from typing import Any

from kcnn.errors import printable


def say(text: object) -> None:
    """One line of prose on stderr."""
    print(printable(text), file=sys.stderr)


def never_fail(*streams: Any) -> None:
    """Make the streams escape what their encoding lacks instead of raising: an old terminal knows no emoji."""
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
