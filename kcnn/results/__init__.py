"""What a trained model says: scores, predictions, and what its pictures are drawn from.

Imports run, data, native and plots.
"""
