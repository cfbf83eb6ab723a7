"""Where data sets lie, and the one sentence for a file that is not there and cannot be fetched."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kcnn.errors import KcnnError


def data_directory(given: str = "") -> Path:
    """`given`, else the environment's KCNN_DATA_DIR, else ~/.cache/kcnn."""
    return Path(given or os.environ.get("KCNN_DATA_DIR") or "~/.cache/kcnn").expanduser()


@contextmanager
def fetching(name: str, wanted: Callable[[], list[Path]]) -> Iterator[None]:
    """Turn torchvision's failure to fetch or verify files into one line that says where to put them.

    Args:
        wanted: finds the files that are missing or damaged; called after a failure only, as it reads them.
    """
    try:
        yield
    except (RuntimeError, OSError) as error:
        files = [] if isinstance(error, PermissionError) else wanted()
        if not files:
            raise
        names = ", ".join(file.name for file in files)
        state = "damaged" if all(file.exists() for file in files) else "missing"
        raise KcnnError(
            f"{name}: {names} {'is' if len(files) == 1 else 'are'} {state} and could not be downloaded "
            f"({_reason(error)}). Put {'it' if len(files) == 1 else 'them'} into {files[0].parent}, "
            f"or name the folder that has it with --data-dir or KCNN_DATA_DIR."
        ) from error


def _reason(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
