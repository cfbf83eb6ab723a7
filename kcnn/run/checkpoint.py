"""A model in one file: an ordinary `.keras` with two more members, which plain Keras does not mind.

`kcnn.json` has the class names, and in a `last.keras` the log so far and what the run was begun with; `optimizer.npz`
the optimizer's variables.
One file, so that weights and state cannot come apart when a run is killed.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import KcnnError, first_ten, shown
from kcnn.machine.array_files import read_arrays
from kcnn.machine.files import atomic
from kcnn.run.directory import RunDir
from kcnn.run.info import check_names, check_shapes
from kcnn.run.keras_file import INFO, read_info, read_member, read_network, unreadable

OPTIMIZER = "optimizer.npz"


def save_model(model: Any, path: Path, info: dict[str, Any], optimizer: Any = None) -> None:
    """Write the functional Keras model, without its compilation: kcnn's optimizers are not known to plain Keras.

    Args:
        info: what `load_model` gives back beside the model, as JSON.
        optimizer: a built Keras optimizer whose variables are kept too.
    """
    import keras

    from kcnn.machine.keras_internals import without_tensorflow

    plain = keras.Model(model.input, model.output, name=model.name)
    with atomic(path) as temporary:
        with without_tensorflow():
            plain.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(INFO, json.dumps(info))
            if optimizer is not None:
                archive.writestr(OPTIMIZER, _pack(optimizer))


def load_model(path: Path) -> tuple[Any, dict[str, Any]]:
    """The model, not compiled, and its `info` (empty for a file that kcnn did not write).

    Raises:
        KcnnError: no such file, not a `.keras` file, or one that could run code or fill the memory.
    """
    from kcnn.models.layers import unfreeze

    info, model = read_info(path), read_network(path)
    unfreeze(model)  # an epoch with a frozen backbone says otherwise
    if names := info.get("class_names"):
        check_names(path, names, check_shapes(path, model.input_shape, model.output_shape))
    return model, info


def check_classes(path: Path, class_names: Sequence[str]) -> None:
    """Refuse data whose classes are not those that the model file learned.

    Raises:
        KcnnError: naming what is gone and what is new; or see `read_info`.
    """
    learned = read_info(path).get("class_names", class_names)
    if list(learned) == list(class_names):
        return
    gone = [shown(name) for name in learned if name not in class_names]
    new = [shown(name) for name in class_names if name not in learned]
    changes = [f"without {first_ten(gone)}"] * bool(gone) + [f"with {first_ten(new)}"] * bool(new)
    raise KcnnError(
        f"{path} has learned {len(learned)} classes, and these data have {len(class_names)}, "
        f"{' and '.join(changes) or 'in another order'}: use data with the same classes, or train a new run."
    )


def file_of(path: Path) -> Path:
    """The `.keras` file that is meant: `path` itself, or the checkpoint of a run directory.

    Raises:
        KcnnError: neither a run with a checkpoint nor a file.
    """
    return path if path.is_file() or path.suffix == ".keras" else RunDir.open(path).checkpoint()


def open_model(path: Path) -> tuple[Any, list[str]]:
    """The model of a run directory or a `.keras` file, and its class names (numbers if the file has none).

    Raises:
        KcnnError: neither a run with a checkpoint nor a `.keras` file, or no classifier of images.
    """
    file = file_of(path)
    model, info = load_model(file)
    outputs = check_shapes(file, model.input_shape, model.output_shape)
    return model, check_names(file, info.get("class_names"), outputs)


def restore_optimizer(optimizer: Any, path: Path) -> None:
    """Give a built optimizer the variables that `save_model` kept.

    Raises:
        KcnnError: the file is damaged, or has none or those of another optimizer.
    """
    arrays = _unpack(path)
    if any(array.dtype.kind not in "fiu" for array in arrays):
        raise KcnnError(f"{path} is damaged: the state of its optimizer is no numbers.")
    if [array.shape for array in arrays] != [tuple(variable.shape) for variable in optimizer.variables]:
        raise KcnnError(f"{path} has no state for this optimizer: its recipe was changed after it began.")
    for variable, array in zip(optimizer.variables, arrays, strict=True):
        variable.assign(array)


def _unpack(path: Path) -> list[np.ndarray]:
    """The reverse of `_pack`; empty for a file without an optimizer."""
    try:
        return list(read_arrays(path, file=io.BytesIO(read_member(path, OPTIMIZER))).values())
    except KeyError:
        return []
    except KcnnError:
        raise
    except Exception as error:  # see `kcnn.machine.array_files`
        raise unreadable(path, error) from error


def _pack(optimizer: Any) -> bytes:
    from keras import ops

    buffer = io.BytesIO()
    # NumPy's files know no bfloat16; float32 holds all of it.
    arrays = [ops.convert_to_numpy(ops.cast(v, "float32") if v.dtype == "bfloat16" else v) for v in optimizer.variables]
    np.savez(buffer, allow_pickle=False, **{f"v{index:05}": array for index, array in enumerate(arrays)})
    return buffer.getvalue()
