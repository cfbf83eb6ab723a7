"""Pictures, each drawn from plain numbers and written to one file; nothing here imports keras or torch."""

from kcnn.plots.lines import curves, range_test, schedule
from kcnn.plots.pictures import features, filters, heat, mistakes
from kcnn.plots.scores import classes, confusion, reliability

__all__ = [
    "classes",
    "confusion",
    "curves",
    "features",
    "filters",
    "heat",
    "mistakes",
    "range_test",
    "reliability",
    "schedule",
]
