"""What a run is to be: recipes, their stages, and the recipes that come with kcnn.

Imports data, models and methods, but never keras.
"""
