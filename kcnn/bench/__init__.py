"""`kcnn bench`: speed, measured in turns and in processes of their own.

Imports training: the engine kcnn runs what `kcnn train` runs.
"""
