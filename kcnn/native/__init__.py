"""Keras models in native torch calls; read `acceleration` first.

Imports machine and methods; nothing here knows kcnn's own models or recipes.
"""
