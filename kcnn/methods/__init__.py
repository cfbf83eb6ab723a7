"""How weights change: optimizers and learning-rate schedules, from names and numbers alone.

Imports errors only.
"""
