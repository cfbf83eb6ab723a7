"""`kcnn bench`: speed, measured in turns and in processes of their own.

Imports models, data, native and training's callbacks.
"""
