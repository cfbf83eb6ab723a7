"""The picture of a comparison of backends."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.plots.figure import new_figure, plain, write
from kcnn.plots.text import literal

COLORS = {"torch": "#d62728", "jax": "#1f77b4", "tensorflow": "#ff7f0e"}
BARS = (
    ("images_per_second", "images/s", "{:,.0f}"),
    ("compile_seconds", "seconds to the first step", "{:.2f}"),
    ("peak_memory_mb", "peak memory, MB", "{:,.0f}"),
)


def draw_backends(rows: Mapping[str, Mapping[str, Any]], title: str, path: Path) -> None:
    """Loss by epoch, how far the first steps agree, and a bar a backend for speed, start and memory.

    Args:
        rows: backend → the numbers that its worker left.
    """
    figure = new_figure(17, 3.9)
    figure.suptitle(literal(title))
    loss, difference, *bars = figure.subplots(1, 5, width_ratios=(1.3, 1.3, 1, 1, 1))
    _losses(loss, rows)
    _differences(difference, rows)
    for ax, (key, name, form) in zip(bars, BARS, strict=True):
        drawn = ax.bar(list(rows), [row[key] for row in rows.values()], color=[COLORS[name] for name in rows])
        ax.bar_label(drawn, [form.format(row[key]) for row in rows.values()], fontsize="small")
        ax.set(title=name)
        ax.margins(y=0.12)
    plain((loss, difference, *bars))
    write(figure, path)


def _losses(ax: Any, rows: Mapping[str, Mapping[str, Any]]) -> None:
    for width, (name, row) in zip((7, 4, 1.5), rows.items(), strict=False):  # the lines mostly lie on each other
        ax.plot(range(1, len(row["losses"]) + 1), row["losses"], color=COLORS[name], label=name, linewidth=width)
    ax.set(title="training loss", xlabel="epoch")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False)


def _differences(ax: Any, rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Relative difference of the loss from the first backend's; below 1e-8 it is drawn there: a logarithm has no 0."""
    first, *others = rows
    ax.set(title="first steps of plain SGD, no dropout", xlabel="step")
    if not others:
        ax.text(0.5, 0.5, "one backend alone", ha="center", transform=ax.transAxes, color="0.4")
        return
    base = np.array(rows[first]["step_losses"])
    for name in others:
        apart = np.maximum(np.abs(np.array(rows[name]["step_losses"]) / base - 1), 1e-8)
        ax.semilogy(range(len(base)), apart, ".-", color=COLORS[name], label=f"{name} from {first}")
    ax.axhline(1e-3, color="0.5", linestyle="--", linewidth=1)
    ax.set(ylabel="relative difference of the loss", ylim=(7e-9, None))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, fontsize="small")
