"""What the tests of starts ask of a model's variables."""

import keras
import numpy as np


def values(model):
    return {variable.path: np.array(keras.ops.convert_to_numpy(variable)) for variable in model.weights}


def changed(before, after):
    """The names of the layers of which any variable is another."""
    return {path.split("/")[0] for path in before if not np.array_equal(before[path], after[path])}
