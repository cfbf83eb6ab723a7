"""Memory that a file may fill: what it claims to hold is compared with what is free before any of it is unpacked."""

import math
import os
import sys
from pathlib import Path

from kcnn.errors import KcnnError

SHARE = 0.5  # of the free memory, for one file
UNKNOWN = 2**32  # bytes taken to be free where the system does not tell
CONTAINERS = (  # folder, limit and use of this process's container: cgroups of version 2 and 1
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def check_room(path: object, needed: int, what: str = "it unpacks to") -> None:
    """Refuse what would fill more than `SHARE` of the free memory.

    Args:
        path: what is to blame.
        needed: bytes.

    Raises:
        KcnnError: with both numbers.
    """
    room = SHARE * free_memory()
    if needed > room:
        raise KcnnError(
            f"{path} is refused: {what} {size(needed)}, and {size(room)}, half of the free memory, is the limit. "
            f"Free some memory, or check where the file comes from."
        )


def no_room(path: object) -> KcnnError:
    """The sentence for a file that has been tried, in vain."""
    return KcnnError(f"{path} finds no room in the memory, of which {size(free_memory())} are free. Free some memory.")


def free_memory() -> int:
    """Bytes that this process can still fill: what the system says is available, or less in a container."""
    return max(0, min([_available(), *(_left(*names) for names in CONTAINERS)]))


def _left(folder: str, limit: str, used: str) -> int:
    """What a container may still take; cached files make room when it is needed."""
    try:
        most, now = (int((Path(folder) / name).read_text()) for name in (limit, used))
        words = [line.split() for line in (Path(folder) / "memory.stat").read_text().splitlines()]
        return most - now + sum(int(number) for name, number in words if name in ("active_file", "inactive_file"))
    except (OSError, ValueError):  # no such container, or its limit is "max"
        return sys.maxsize


def _available() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return _built_in()


def _built_in() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN


def size(count: float) -> str:
    """Bytes in words: `3.2 GB`."""
    power = min(int(math.log10(max(count, 1)) / 3), len(UNITS) - 1)
    number = count / 1000**power
    return f"{number:.0f} {UNITS[power]}" if power == 0 or number >= 100 else f"{number:.1f} {UNITS[power]}"
