"""kcnn: train, compare and export convolutional image classifiers on Keras 3."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from kcnn import backend as _backend

__version__ = "0.1.0"

_backend.set_default()

# Public name → module, imported at first use, so that `import kcnn` needs neither keras nor torch.
_PUBLIC = {
    "KcnnError": "kcnn.errors",
    "Recipe": "kcnn.recipe",
    "accelerate": "kcnn.accelerate",
    "build_model": "kcnn.models",
    "load_dataset": "kcnn.data",
    "train": "kcnn.train",
}
__all__ = sorted(_PUBLIC)


class _Package(ModuleType):
    """Importing `kcnn.train` must not put the module in the place of the function `kcnn.train`, as Python would."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _PUBLIC or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'kcnn' has no attribute {name!r}")
