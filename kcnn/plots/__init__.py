"""Pictures, each drawn from plain numbers and written to one file; nothing here imports keras or torch."""

from kcnn.plots.lines import curves, range_test, schedule
from kcnn.plots.pictures import features, filters, heat, mistakes
from kcnn.plots.scores import classes, confusion, reliability
from kcnn.plots.text import drawable

__all__ = [
    "classes",
    "confusion",
    "curves",
    "drawable",
    "features",
    "filters",
    "heat",
    "mistakes",
    "range_test",
    "reliability",
    "schedule",
]
