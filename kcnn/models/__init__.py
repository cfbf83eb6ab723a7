"""Architectures: one file a family, and their registry.

Imports errors; keras only when a model is built.
"""
