"""Data sets, augmentation and batches: one file a source.

Imports machine. Nothing here imports torchvision before a set is loaded.
"""
