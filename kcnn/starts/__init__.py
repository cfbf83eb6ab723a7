"""Where weights begin: torchvision's, a file's, or those of another run.

Imports models, run and recipes.
"""
