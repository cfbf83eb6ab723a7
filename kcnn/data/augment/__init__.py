"""Augmentation of whole batches: drawn with NumPy, applied by array operations on the device."""
