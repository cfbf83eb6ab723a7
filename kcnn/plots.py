"""Pictures of runs. Each function draws one and writes it to a PNG file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.history import History
from kcnn.rundir import atomic


def _figure(columns: int, height: float = 4.2, width: float = 5.4) -> tuple[Any, Any]:
    """A figure with a row of axes that needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _write(figure: Any, path: Path) -> None:
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def curves(histories: Mapping[str, History], path: Path) -> None:
    """Loss, accuracy and learning rate by epoch; validation is the full line, training the dashed one.

    Args:
        histories: the runs to overlay, by name.
    """
    figure, (loss, accuracy, rate) = _figure(3)
    for index, (name, history) in enumerate(histories.items()):
        rows, color = history.rows, f"C{index % 10}"
        epochs = [row["epoch"] for row in rows]
        for axes, column in ((loss, "loss"), (accuracy, "accuracy")):
            axes.plot(epochs, [row[column] for row in rows], "--", color=color, alpha=0.6, label=f"{name} training")
            if "val_loss" in rows[-1]:
                axes.plot(epochs, [row[f"val_{column}"] for row in rows], color=color, label=f"{name} validation")
                axes.axvline(history.best_epoch, color=color, linewidth=0.8, alpha=0.4)
        rate.plot(epochs, [row["learning_rate"] for row in rows], color=color, label=name, drawstyle="steps-post")
    for axes, title in ((loss, "loss"), (accuracy, "accuracy"), (rate, "learning rate at the end of the epoch")):
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    accuracy.legend(fontsize="small")
    _write(figure, path)


def confusion(matrix: Sequence[Sequence[int]], class_names: Sequence[str], path: Path) -> None:
    """Confusion matrix, rows true, columns predicted; shades are shares of each row, numbers are images."""
    counts = np.asarray(matrix)
    size = max(4.8, 0.42 * min(len(counts), 40) + 1.8)
    figure, (axes,) = _figure(1, height=size, width=size + 0.8)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the true class")
    axes.set(xlabel="predicted", ylabel="true", title=f"{np.trace(counts):,} of {counts.sum():,} images right")
    if len(counts) <= 40:
        axes.set_xticks(range(len(counts)), class_names, rotation=90 if max(map(len, class_names)) > 2 else 0)
        axes.set_yticks(range(len(counts)), class_names)
    if len(counts) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                shade = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=shade, fontsize="small")
    _write(figure, path)
