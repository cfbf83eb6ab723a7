"""A table of images: a row for each treatment, a column for each image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kcnn.plots.figure import grid, new_figure, show_image, write
from kcnn.plots.text import literal


def rows(table: Sequence[tuple[str, np.ndarray]], titles: Sequence[str], caption: str, path: Path) -> None:
    """Draw the same images under several treatments.

    Args:
        table: (name of the row, uint8 (columns, height, width, channels)) from top to bottom.
        titles: one a column.
    """
    columns, height = len(titles), table[0][1].shape[1] / table[0][1].shape[2]
    figure = new_figure(1.05 * columns + 1.6, (1.05 * height + 0.06) * len(table) + 0.9)
    figure.suptitle(literal(caption))
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.03, wspace=0.02, hspace=0.02)
    axes = grid(figure, columns * len(table), columns)
    for index, (name, images) in enumerate(table):
        line = axes[index * columns : (index + 1) * columns]
        line[0].text(-0.12, 0.5, literal(name, 24), transform=line[0].transAxes, ha="right", va="center", fontsize=9)
        for ax, image in zip(line, images, strict=True):
            show_image(ax, image)
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(literal(title, 12), fontsize=9)
    write(figure, path)
