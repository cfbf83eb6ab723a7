"""Weights and a picture for the tests of starts."""

import pytest
import torch
import torchvision
from PIL import Image

from helpers import random_images


@pytest.fixture(scope="session")
def resnet18(tmp_path_factory):
    """(a `.pth` file, its state dict) of torchvision's resnet18 with random weights."""
    torch.manual_seed(0)
    state = torchvision.models.resnet18().state_dict()
    for key, tensor in state.items():
        if key.endswith("running_mean"):
            tensor.uniform_(-0.1, 0.1)
    path = tmp_path_factory.mktemp("weights") / "mine.pth"
    torch.save(state, path)
    return path, {key: tensor.numpy() for key, tensor in state.items()}


@pytest.fixture(scope="session")
def photo(tmp_path_factory):
    """A picture that is neither square nor 224 pixels wide."""
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    small = random_images(1, 9, 12, 3)[0]
    Image.fromarray(small).resize((413, 300)).save(path)
    return path
