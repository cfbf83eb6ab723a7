"""Lines and bars as plain numbers, which the page's template draws."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kcnn.run.history import History
from kcnn.studies.study import SETTINGS, Row
from kcnn.studies.table import Report
from kcnn.studies.words import headings

COLOURS = 8  # in the style sheet; after them lines are dashed, then dotted
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 330, 52, 12, 12, 40


@dataclass(frozen=True)
class Curve:
    """A named line in one of the style sheet's colours; `points` as SVG has them."""

    name: str
    colour: int
    dash: str
    points: str


@dataclass(frozen=True)
class Chart:
    """Curves with their axes: (place in the picture, text) of each tick."""

    title: str
    curves: Sequence[Curve]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def charts(histories: Mapping[str, History]) -> list[Chart]:
    """Accuracy and loss by epoch: of validation, or of training where there is none."""
    found = []
    for key in ("accuracy", "loss"):
        validated = all(f"val_{key}" in history.rows[-1] for history in histories.values())
        column, part = (f"val_{key}", "validation") if validated else (key, "training")
        points = {
            name: [(row["epoch"], row[column]) for row in history.rows if column in row]
            for name, history in histories.items()
        }
        found.append(_chart(f"{part} {key} by epoch", points, most=1.0 if key == "accuracy" else math.inf))
    return found


def _chart(title: str, points: Mapping[str, Sequence[tuple[float, float]]], most: float) -> Chart:
    epochs, values = zip(*(point for line in points.values() for point in line), strict=True)
    x_ticks, y_ticks = _ticks(0, max(epochs), 8, whole=True), _ticks(min(values), max(values), 6)
    x_ends, y_ends = (0, max(epochs)), (y_ticks[0], min(y_ticks[-1], most))

    def across(epoch: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (epoch - x_ends[0]) / (x_ends[1] - x_ends[0]), 1)

    def down(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - y_ends[0]) / (y_ends[1] - y_ends[0]), 1)

    curves = [
        # A single point is drawn twice: a line of no length has round ends.
        Curve(name, index % COLOURS, _dash(index), " ".join(f"{across(x)},{down(y)}" for x, y in (*line, line[-1])))
        for index, (name, line) in enumerate(points.items())
    ]
    x_marks = [(across(tick), f"{tick:g}") for tick in x_ticks if x_ends[0] <= tick <= x_ends[1]]
    return Chart(title, curves, x_marks, [(down(tick), f"{tick:g}") for tick in y_ticks if tick <= y_ends[1]])


def _dash(index: int) -> str:
    return ("", "7 4", "2 3")[index // COLOURS % 3]


def _ticks(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """Round numbers around the range; never a single one."""
    from matplotlib.ticker import MaxNLocator

    if high <= low:
        high = low + 1
    return [round(float(tick), 10) for tick in MaxNLocator(most, integer=whole).tick_values(low, high)]


@dataclass(frozen=True)
class Bar:
    """The test error (0…1) of one number in the table, its deviation, and the places of both in 0…100."""

    kind: str  # its class in the style sheet
    title: str
    error: float
    std: float
    largest: float

    @property
    def width(self) -> float:
        """Of the bar."""
        return round(100 * self.error / self.largest, 2)

    @property
    def whisker(self) -> tuple[float, float]:
        """Where the deviation begins, and how long it is."""
        low, high = max(self.error - self.std, 0), self.error + self.std
        return round(100 * low / self.largest, 2), round(100 * (high - low) / self.largest, 2)

    @property
    def text(self) -> str:
        """In per cent."""
        return f"{100 * self.error:.2f} %" + (f" ± {100 * self.std:.2f}" if self.std else "")


def bars(report: Report) -> dict[str, list[Bar]]:
    """Row with results → what was reported and ours, as bars of the test error from 0.

    Errors, because a bar must begin at 0 and accuracies near 1 would then look alike.
    """
    done = {line.row.name for line in report.lines if line.outcomes}
    errors = {row.name: _errors(report, row) for row in report.rows if row.name in done}
    largest = max([error + std for row in errors.values() for _, _, error, std in row], default=0) or 1
    return {name: [Bar(*entry, largest) for entry in row] for name, row in errors.items()}


def _errors(report: Report, row: Row) -> list[tuple[str, str, float, float]]:
    """(kind, title, test error, deviation) of each number of a row."""
    found = [("reported", "reported", 1 - row.reported, 0.0)] if isinstance(row.reported, float) else []
    for settings, title in headings(report).items():
        line = report.shown(row, settings)
        if line and (mean := line.mean()) is not None:
            found.append((f"ours-{settings}", title, 1 - mean, line.std or 0.0))
    return found


def curve_name(name: str, settings: str, two_columns: bool) -> str:
    """Of a line in the legend."""
    return f"{name}, {SETTINGS[settings]}" if two_columns else name
