"""What a `.keras` file may be made of: Keras' ordinary layers and the functions of its layers, and nothing that acts.

Keras' own safe mode refuses most of this; what it lets through has differed between its versions (CVE-2025-1550,
2025-8747, 2025-9905, 2025-9906, 2025-12058), so nothing reaches it that a network of layers does not need.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kcnn.errors import KcnnError, shown

# Modules of Keras, without the `src` of those that have no public name.
CLASSES = {
    *("constraints", "dtype_policies", "initializers", "layers", "models", "ops", "quantizers", "random"),
    *("regularizers",),
}
FUNCTIONS = {"activations", "constraints", "initializers", "ops", "regularizers"}
ROOT = {"DTypePolicy", "FloatDTypePolicy", "Functional", "Model", "Sequential"}  # classes of `keras` itself
OTHERS = {("keras.src.applications.convnext", "LayerScale")}
PLAIN = {"__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"}
# They hold code, or the names of files that they read.
ACTIVE = {
    *("FlaxLayer", "HashedCrossing", "IntegerLookup", "JaxLayer", "Lambda", "StringLookup", "TFSMLayer"),
    *("TextVectorization", "TorchModuleWrapper"),
}


def check_config(path: Path, config: Any) -> dict[str, Any]:
    """The configuration of a model without its compilation, if it is made of what is allowed.

    Raises:
        KcnnError: naming the first thing that is not.
    """
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise KcnnError(f"{path} is damaged: its config.json is not that of a model. Get or make the file again.")
    for part in _parts(config):
        part.pop("compile_config", None)
        if not _allowed(part):
            module, name = shown(str(part.get("module"))), shown(str(part["class_name"]))
            raise KcnnError(
                f"{path} is not a .keras file that Keras can read without risk: its part {name!r} of {module!r} may "
                f"hold code or the names of other files. kcnn opens networks of Keras' ordinary layers only."
            )
    return config


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object in a configuration that Keras would make; the tree may be deep."""
    left = [tree]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            left += value.values()
        elif isinstance(value, list):
            left += value


def _allowed(part: dict[str, Any]) -> bool:
    name, module, registered = part["class_name"], part.get("module"), part.get("registered_name")
    if not isinstance(name, str):
        return False
    if name == "function":
        return module == "builtins" or _place(module) in FUNCTIONS
    if name in PLAIN:
        return True
    if name in ACTIVE or registered not in (None, name) or not name[:1].isupper():  # `keras.models.load_model`
        return False
    return name in ROOT if module == "keras" else (module, name) in OTHERS or _place(module) in CLASSES


def _place(module: Any) -> str:
    """`keras.src.layers.core.dense` → `layers`; "" for what is not Keras'."""
    names = module.split(".") if isinstance(module, str) else []
    if names[:1] != ["keras"]:
        return ""
    return next((name for name in names[1:] if name != "src"), "")
