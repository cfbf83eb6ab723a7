"""Trained models for use elsewhere: one file a format, each with `write`, `run`, and the PACKAGES that it needs.

Imports run and starts.
"""
