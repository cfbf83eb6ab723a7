"""From a recipe to a run directory; read `trainer` first.

Imports every room below it: data, models, methods, native, recipes, run, starts, results and plots.
"""
