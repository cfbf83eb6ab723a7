"""A model in one file: an ordinary `.keras` with two more members, which plain Keras does not mind.

`kcnn.json` has the class names, and in a `last.keras` the log so far and what the run was begun with; `optimizer.npz`
the optimizer's variables.
One file, so that weights and state cannot come apart when a run is killed.
"""

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import KcnnError
from kcnn.machine.files import atomic
from kcnn.run.directory import RunDir

ORIGIN = ("recipe", "images")  # see `kcnn.recipes.origin`
INFO, OPTIMIZER = "kcnn.json", "optimizer.npz"

# What `info` may have, and what each must be.
SHAPES: dict[str, Callable[[Any], bool]] = {
    "class_names": lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
    "epoch": lambda value: type(value) is int,
    "history": lambda value: isinstance(value, list),
    "origin": lambda value: isinstance(value, dict) and all(isinstance(value.get(key), dict) for key in ORIGIN),
    "resize": lambda value: type(value) is int,
}


def save_model(model: Any, path: Path, info: dict[str, Any], optimizer: Any = None) -> None:
    """Write the functional Keras model, without its compilation: kcnn's optimizers are not known to plain Keras.

    Args:
        info: what `load_model` gives back beside the model, as JSON.
        optimizer: a built Keras optimizer whose variables are kept too.
    """
    import keras

    plain = keras.Model(model.input, model.output, name=model.name)
    with atomic(path) as temporary:
        plain.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(INFO, json.dumps(info))
            if optimizer is not None:
                archive.writestr(OPTIMIZER, _pack(optimizer))


def load_model(path: Path) -> tuple[Any, dict[str, Any]]:
    """The model, not compiled, and its `info` (empty for a file that kcnn did not write).

    Raises:
        KcnnError: no such file, or not a `.keras` file.
    """
    import keras

    info = read_info(path)
    try:
        model = keras.saving.load_model(path, compile=False)
        model.trainable = True  # an epoch with a frozen backbone says otherwise
        names, classes = info.get("class_names"), model.output_shape[-1]
    except Exception as error:  # a damaged file leads Keras, h5py and zipfile to any of theirs
        raise _unreadable(path, error) from error
    if names and len(names) != classes:
        raise KcnnError(f"{path} is damaged: it has the names of {len(names)} classes, but its model tells {classes}.")
    return model, info


def read_info(path: Path) -> dict[str, Any]:
    """The `info` of a model file alone, without keras.

    Raises:
        KcnnError: no such file, or not a `.keras` file, or an `info` that kcnn did not write.
    """
    if not path.exists():
        raise KcnnError(f"There is no model file {path}.")
    try:
        with zipfile.ZipFile(path) as archive:
            info = json.loads(archive.read(INFO)) if INFO in archive.namelist() else {}
    except PermissionError:
        raise
    except Exception as error:  # zipfile and zlib have many for damage
        raise _unreadable(path, error) from error
    wrong = [key for key, right in SHAPES.items() if isinstance(info, dict) and key in info and not right(info[key])]
    if wrong or not isinstance(info, dict):
        raise KcnnError(f"{path} is damaged: the {wrong[0] if wrong else 'contents'} of its {INFO} cannot be kcnn's.")
    return info


def check_classes(path: Path, class_names: Sequence[str]) -> None:
    """Refuse data whose classes are not those that the model file learned.

    Raises:
        KcnnError: naming what is gone and what is new; or see `read_info`.
    """
    learned = read_info(path).get("class_names", class_names)
    if list(learned) == list(class_names):
        return
    gone = ", ".join(name for name in learned if name not in class_names)
    new = ", ".join(name for name in class_names if name not in learned)
    changes = [f"without {gone}"] * bool(gone) + [f"with {new}"] * bool(new)
    raise KcnnError(
        f"{path} has learned {len(learned)} classes, and these data have {len(class_names)}, "
        f"{' and '.join(changes) or 'in another order'}: use data with the same classes, or train a new run."
    )


def _unreadable(path: Path, error: Exception) -> KcnnError:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return KcnnError(f"{path} is not a .keras file that Keras can read ({reason[0][:120]}).")


def open_model(path: Path) -> tuple[Any, list[str]]:
    """The model of a run directory or a `.keras` file, and its class names (numbers if the file has none).

    Raises:
        KcnnError: neither a run with a checkpoint nor a `.keras` file.
    """
    model, info = load_model(path if path.is_file() or path.suffix == ".keras" else RunDir.open(path).checkpoint())
    classes = model.output_shape[-1]
    return model, info.get("class_names") or [str(index) for index in range(classes)]


def restore_optimizer(optimizer: Any, path: Path) -> None:
    """Give a built optimizer the variables that `save_model` kept.

    Raises:
        KcnnError: they are damaged, or another optimizer's.
    """
    try:
        with zipfile.ZipFile(path) as archive, np.load(io.BytesIO(archive.read(OPTIMIZER))) as arrays:
            for variable, name in zip(optimizer.variables, arrays.files, strict=True):
                variable.assign(arrays[name])
    except Exception as error:  # NumPy's and zipfile's for damage, the backend's for another shape
        raise KcnnError(f"{path} has no state for this optimizer: it is damaged, or the recipe was changed.") from error


def _pack(optimizer: Any) -> bytes:
    from keras import ops

    buffer = io.BytesIO()
    arrays = [ops.convert_to_numpy(variable) for variable in optimizer.variables]
    np.savez(buffer, allow_pickle=False, **{f"v{index:05}": array for index, array in enumerate(arrays)})
    return buffer.getvalue()
