"""Convolutions that a processor does faster in another form than torch's own.

Imports nothing of kcnn.
"""
