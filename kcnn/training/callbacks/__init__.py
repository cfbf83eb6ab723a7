"""Keras callbacks of a training run: one class each.

A callback that overrides `on_train_batch_end` makes Keras wait for every step unless it is `async_safe`.
"""
