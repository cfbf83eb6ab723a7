"""Line plots: runs by epoch, a schedule before its run, a learning-rate range test."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.plots.figure import new_figure, plain, write
from kcnn.plots.text import literal
from kcnn.run.history import History

PALETTE = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#e377c2", "#8c564b", "#bcbd22", "#7f7f7f")


def curves(histories: Mapping[str, History], path: Path) -> None:
    """Loss, accuracy and learning rate by epoch; validation is the full line, training the dashed one.

    The dot is the best epoch, whose weights were kept.

    Args:
        histories: the runs to overlay, by name; each has at least one row.
    """
    figure = new_figure(15, 4.4 + 0.25 * -(-len(histories) // 4))
    loss, accuracy, rate = figure.subplots(1, 3)
    for index, history in enumerate(histories.values()):
        color = PALETTE[index % len(PALETTE)]
        _run_lines(loss, accuracy, history, color)
        _line(rate, history, "learning_rate", color=color, linewidth=1.8)
    for ax, title in ((loss, "loss"), (accuracy, "accuracy"), (rate, "learning rate, at the end of the epoch")):
        ax.set(title=title, xlabel="epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    plain((loss, accuracy, rate))
    _legend(figure, list(histories))
    write(figure, path)


def _run_lines(loss: Any, accuracy: Any, history: History, color: str) -> None:
    best = history.rows[history.best_epoch - 1]
    for ax, column in ((loss, "loss"), (accuracy, "accuracy")):
        validated = f"val_{column}" in history.rows[-1]
        _line(ax, history, column, color=color, linestyle="--", linewidth=1.2, alpha=0.7)
        if validated:
            _line(ax, history, f"val_{column}", color=color, linewidth=1.8)
        ax.plot(best["epoch"], best[f"val_{column}" if validated else column], "o", color=color, markersize=6)


def _line(ax: Any, history: History, column: str, **style: Any) -> None:
    rows = [row for row in history.rows if column in row]
    marker = "." if len(rows) < 3 else ""  # one point alone draws no line
    ax.plot([row["epoch"] for row in rows], [row[column] for row in rows], marker=marker, **style)


def _legend(figure: Any, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=PALETTE[i % len(PALETTE)], linewidth=2.5) for i in range(len(names))]
    kinds = [Line2D([], [], color="0.3"), Line2D([], [], color="0.3", linestyle="--")]
    kinds.append(Line2D([], [], color="0.3", marker="o", linestyle=""))
    labels = [*(literal(name, 32) for name in names), "validation", "training", "best epoch"]
    figure.legend([*handles, *kinds], labels, loc="outside lower center", ncols=min(len(labels), 6), frameon=False)


def schedule(points: Sequence[tuple[float, float, int]], title: str, path: Path) -> None:
    """The learning rate over a run that has not begun, and the batch size below where it changes.

    Args:
        points: (time in epochs, learning rate, batch size), in order of time.
    """
    times, rates, sizes = (np.asarray(column) for column in zip(*points, strict=True))
    staged = len(set(sizes.tolist())) > 1
    figure = new_figure(8, 5.6 if staged else 4.2)
    axes = figure.subplots(2 if staged else 1, 1, sharex=True, squeeze=False, height_ratios=[3, 1] if staged else None)
    rate = axes[0, 0]
    rate.plot(times, rates, color=PALETTE[0], linewidth=1.8)
    rate.set(title=literal(title, 60), ylabel="learning rate")
    if rates.min() > 0 and rates.max() > 50 * rates.min() and staged:
        rate.set_yscale("log")
    else:
        rate.set_ylim(bottom=0)
    if staged:
        axes[1, 0].plot(times, sizes, color=PALETTE[1], linewidth=1.8)
        axes[1, 0].set(ylabel="batch size", ylim=(0, None))
    axes[-1, 0].set(xlabel="epoch", xlim=(times[0], times[-1]))
    plain(axes.flat)
    write(figure, path)


def range_test(
    rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, marks: Mapping[str, float], path: Path
) -> None:
    """Loss against a rising learning rate (logarithmic), with the rates in `marks` named.

    Args:
        rates, losses, smoothed: one number a step.
    """
    figure = new_figure(8, 4.6)
    ax = figure.subplots()
    ax.plot(rates, losses, color="0.75", linewidth=0.8, label="loss of a batch")
    ax.plot(rates, smoothed, color=PALETTE[0], linewidth=2, label="smoothed")
    for index, (name, value) in enumerate(marks.items(), start=1):
        ax.axvline(value, color=PALETTE[index], linewidth=1.4, linestyle="--", label=f"{name}: {value:.2g}")
    low, high = smoothed.min(), smoothed[0]
    ax.set(xscale="log", xlabel="learning rate", ylabel="loss", xlim=(rates[0], rates[-1]))
    ax.set_ylim(max(0, low - 0.3 * (high - low)), high + 0.5 * (high - low) + 1e-3)
    plain([ax])
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    write(figure, path)
