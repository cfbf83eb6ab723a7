"""kcnn: train, compare and export convolutional image classifiers on Keras 3."""

from importlib import import_module
from typing import Any

from kcnn.machine import backend as _backend

__version__ = "0.1.0"

_backend.set_default()

# Public name → module, imported at first use, so that `import kcnn` needs neither keras nor torch.
_PUBLIC = {
    "KcnnError": "kcnn.errors",
    "Recipe": "kcnn.recipes.recipe",
    "accelerate": "kcnn.native.acceleration",
    "build_model": "kcnn.models.registry",
    "load_dataset": "kcnn.data.registry",
    "train": "kcnn.training.trainer",
}
_ON_KERAS = ("accelerate", "build_model", "train")
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _ON_KERAS:
        _backend.load_keras()
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'kcnn' has no attribute {name!r}")
