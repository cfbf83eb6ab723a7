"""Pictures of scores: confusion matrix, scores a class, calibration."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.plots.figure import new_figure, plain, write
from kcnn.plots.text import drawable, literal, width

MOST_LABELS = 120  # with more classes no axis has room for their names
MOST_NUMBERS = 25


def confusion(matrix: Sequence[Sequence[int]], class_names: Sequence[str], path: Path) -> None:
    """Confusion matrix, rows true, columns predicted; shades are shares of each row, numbers are images."""
    from matplotlib.colors import PowerNorm

    counts = np.asarray(matrix)
    names = [literal(name, 18) for name in drawable(class_names)]
    cell = 0.46 if len(counts) <= MOST_NUMBERS else 0.135
    size = max(4.2, cell * min(len(counts), MOST_LABELS)) + 0.075 * max(map(width, names))
    figure = new_figure(size + 1.2, size + 0.4)
    ax = figure.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    # With many classes a mistake is a faint dot: the root of the share makes it visible.
    picture = ax.imshow(shares, cmap="Blues", norm=PowerNorm(1 if len(counts) <= MOST_NUMBERS else 0.5, 0, 1))
    figure.colorbar(picture, ax=ax, shrink=0.7, aspect=5 * size, label="share of the true class")
    ax.set(xlabel="predicted", ylabel="true", title=f"{np.trace(counts):,} of {counts.sum():,} images right")
    ax.spines[:].set_visible(False)
    _name_classes(ax, names, size / len(counts))
    if len(counts) <= MOST_NUMBERS:
        _numbers(ax, counts, shares)
    write(figure, path)


def _name_classes(ax: Any, names: Sequence[str], cell: float) -> None:
    """Names on both axes, upright under the columns where they are wider than a `cell` (inches)."""
    if len(names) > MOST_LABELS:
        return
    small = 9 if len(names) <= MOST_NUMBERS else 6.5
    ax.set_xticks(range(len(names)), names, rotation=90 if max(map(width, names)) * 0.09 > cell else 0, fontsize=small)
    ax.set_yticks(range(len(names)), names, fontsize=small)
    ax.tick_params(length=0)


def _numbers(ax: Any, counts: np.ndarray, shares: np.ndarray) -> None:
    size = 8 if counts.max() < 10_000 else 6.5
    for (row, column), count in np.ndenumerate(counts):
        if count:
            shade = "white" if shares[row, column] > 0.55 else "0.15"
            ax.text(column, row, str(count), ha="center", va="center", color=shade, fontsize=size)


def classes(per_class: Sequence[Mapping[str, Any]], path: Path) -> None:
    """F1 of each class as a bar, precision and recall as dots on it; the weakest class last.

    Args:
        per_class: rows with class, precision, recall, f1 (0…1) and images; see `kcnn.results.scores.full_report`.
    """
    names = drawable([row["class"] for row in per_class])
    named = [{**row, "class": name} for row, name in zip(per_class, names, strict=True)]
    rows = sorted(named, key=lambda row: -row["f1"])
    columns = min(-(-len(rows) // 25), 4)
    length = -(-len(rows) // columns)
    figure = new_figure(max(7.5, 4.4 * columns), 1.5 + 0.27 * length)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    highest = max(row[key] for row in rows for key in ("precision", "recall"))
    for index, ax in enumerate(axes):
        _class_bars(ax, rows[index * length : (index + 1) * length])
        ax.set(xlim=(0, max(0.1, 1.04 * highest)), ylim=(length - 0.4, -0.6))
    mean = sum(row["f1"] for row in rows) / len(rows)
    figure.suptitle(f"scores of {len(rows)} classes, mean F1 {mean:.3f}")
    figure.legend(handles=[*axes[0].containers, *axes[0].lines], loc="outside lower center", ncols=3, frameon=False)
    write(figure, path)


def _class_bars(ax: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    places = np.arange(len(rows))
    values = {key: [row[key] for row in rows] for key in ("f1", "precision", "recall")}
    ax.barh(places, values["f1"], color="#a6c8e4", height=0.72, label="F1")
    ax.plot(values["precision"], places, "o", color="#d62728", markersize=4.5, label="precision")
    ax.plot(values["recall"], places, "D", color="#1a3c5a", markersize=4, label="recall")
    ax.set_yticks(places, [f"{literal(row['class'], 18)}  {row['f1']:.2f}" for row in rows], fontsize=9)
    ax.tick_params(axis="y", length=0)
    plain([ax])
    ax.grid(axis="y", visible=False)


def reliability(bins: Sequence[Mapping[str, float]], ece: float, path: Path) -> None:
    """Accuracy against confidence, with the share of images in each bin below; the diagonal is perfect calibration.

    Args:
        bins: rows with low, high, images, accuracy, confidence, as `kcnn.results.scores.calibration` gives them.
        ece: expected calibration error, 0…1.
    """
    figure = new_figure(5.6, 6.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    full = [row for row in bins if row["images"]]
    middles = [(row["low"] + row["high"]) / 2 for row in full]
    width = 0.92 * (bins[0]["high"] - bins[0]["low"])
    accuracy = np.asarray([row["accuracy"] for row in full])
    gap = np.asarray([row["confidence"] for row in full]) - accuracy
    upper.bar(middles, accuracy, width, color="#4a90c4", label="accuracy")
    upper.bar(middles, gap, width, accuracy, color="#d62728", alpha=0.45, label="gap to the mean confidence")
    upper.plot([0, 1], [0, 1], "--", color="0.4", linewidth=1, label="perfect")
    upper.set(ylabel="accuracy", ylim=(0, 1), title=f"expected calibration error {ece:.4f}")
    upper.legend(frameon=False, loc="upper left")
    total = sum(row["images"] for row in bins)
    lower.bar(middles, [row["images"] / total for row in full], width, color="0.6")
    lower.set(xlabel="confidence: probability of the predicted class", ylabel="share of images", xlim=(0, 1))
    plain((upper, lower))
    write(figure, path)
