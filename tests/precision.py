"""What tests of precision share: tiny images, and a recipe that uses all that a precision could spoil."""

import torch

from helpers import random_images, write_tensors
from kcnn.machine import backend
from kcnn.recipes.recipe import Recipe

SIZES = {"lenet5": 16, "resnet20": 8}  # pixels; float16 is slow on a processor
HALF = backend.PRECISIONS[1:]
CASES = [(model, precision) for model in SIZES for precision in backend.PRECISIONS]


def write_data(folder, size):
    """42 and 12 grey images of three classes, each of its own brightness."""
    labels, test_labels = torch.arange(42) % 3, torch.arange(12) % 3
    images, test_images = (
        (torch.from_numpy(random_images(len(part), size, size, 1)[..., 0] // 4) + part[:, None, None] * 80)
        for part in (labels, test_labels)
    )
    write_tensors(folder, images, labels, test_images, test_labels)
    return folder


def recipe_of(model, precision, folder, name="torch"):
    """Two epochs of three steps on `write_data`'s images."""
    clips = (name, precision) != ("tensorflow", "bfloat16")
    return Recipe.of(
        {
            **{"model": model, "dataset": "tensors", "data_dir": str(folder), "backend": name, "precision": precision},
            **{"validation": 0.3, "epochs": 2, "batch_size": 12, "augment": {"shift": 1}},
            **{"learning_rate": 0.02, "momentum": 0.9, "weight_decay": 1e-4, "clip_norm": 1.0 * clips, "ema": 0.5},
        }
    )
