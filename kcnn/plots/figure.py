"""What all pictures share: a figure that needs no screen, the look, and writing to a file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import UsageError
from kcnn.machine.files import atomic
from kcnn.plots.text import use_fonts

FORMATS = {".png": "Software", ".svg": "Creator", ".pdf": "Creator"}  # ending → metadata key of the program's name
PROGRAM = "kcnn"


def new_figure(width: float, height: float) -> Any:
    """An empty figure of this size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def grid(figure: Any, count: int, columns: int) -> list[Any]:
    """`count` axes in rows of `columns`, without ticks and frames: for images."""
    rows = -(-count // columns)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes:
        ax.set_axis_off()
    return axes[:count]


def plain(axes: Iterable[Any]) -> None:
    """A light grid and no box around the lines."""
    for ax in axes:
        ax.grid(alpha=0.25, linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)


def show_image(ax: Any, image: np.ndarray) -> None:
    """A uint8 image (height, width, 1 or 3), every pixel a sharp square where it is small."""
    smooth = "nearest" if image.shape[0] <= 96 else "antialiased"
    ax.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255, interpolation=smooth)


def write(figure: Any, path: Path) -> None:
    """Write the figure in the format of the file's ending, marked as drawn by kcnn.

    Raises:
        UsageError: another ending than those in `FORMATS`.
    """
    check_format(path)
    use_fonts(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=130, metadata={FORMATS[path.suffix.lower()]: PROGRAM})


def check_format(path: Path) -> None:
    """Raise a UsageError unless the file's ending is one that `write` knows."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: a picture's name ends in {', '.join(FORMATS)}.")


def may_redraw(path: Path) -> bool:
    """Whether nothing is lost by writing there: no such file, or a PNG that kcnn itself drew."""
    from PIL import Image

    if not path.exists():
        return True
    try:
        with Image.open(path) as picture:
            return bool(picture.info.get("Software") == PROGRAM)
    except OSError:
        return False
