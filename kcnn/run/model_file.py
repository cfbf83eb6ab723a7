"""Reading a `.keras` that anyone may have made: no code in it is run, and nothing is unpacked that finds no room.

The archive is opened here and not by Keras, which would unpack every member of it to a temporary folder. Only three are
read: the configuration, the weights, and what kcnn adds.
"""

import errno
import json
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from kcnn.errors import KcnnError, shown
from kcnn.machine.archives import HARMLESS, MOST_SWELLING, check_members
from kcnn.machine.memory import check_room, no_room, size
from kcnn.run.info import check_info
from kcnn.run.model_config import check_config

CONFIG, WEIGHTS, INFO = "config.json", "model.weights.h5", "kcnn.json"
MOST_JSON = 2**25  # bytes; the configuration of resnet152 has 400 kB, a log 200 an epoch
OURS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EMFILE)  # the machine's fault, not the file's
FLOAT = 4  # bytes


def read_network(path: Path) -> Any:
    """The Keras model of a `.keras` file, not compiled.

    Raises:
        KcnnError: no such file, a damaged one, or one that is more than ordinary layers and their weights.
    """
    with _opened(path) as archive, TemporaryDirectory() as folder:
        config = check_config(path, _read_json(path, archive, CONFIG))
        check_members(path, [archive.getinfo(WEIGHTS)])
        weights = Path(archive.extract(WEIGHTS, folder))  # its checksum is compared
        model = _build(path, config, _stored(path, weights))
        model.load_weights(weights)
        _check_finite(path, model)
        return model


def read_info(path: Path) -> dict[str, Any]:
    """What kcnn added to a `.keras` file; empty for one that kcnn did not write. Needs no keras.

    Raises:
        KcnnError: no such file, or a damaged one.
    """
    with _opened(path) as archive:
        return check_info(path, _read_json(path, archive, INFO)) if INFO in archive.namelist() else {}


def read_name(path: Path) -> str:
    """The name of the network in a `.keras` file. Needs no keras.

    Raises:
        KcnnError: no such file, or a damaged one.
    """
    with _opened(path) as archive:
        return str(check_config(path, _read_json(path, archive, CONFIG))["config"]["name"])


def read_member(path: Path, name: str) -> bytes:
    """A member of a `.keras` file.

    Raises:
        KcnnError: no such file, or a damaged one.
        KeyError: no such member.
    """
    with _opened(path) as archive:
        check_members(path, [archive.getinfo(name)])
        return archive.read(name)


def unreadable(path: Path, error: Exception) -> KcnnError:
    """The sentence for a file that is damaged, or no `.keras` at all."""
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return KcnnError(f"{path} is not a .keras file that Keras can read ({shown(reason[0], 120)}).")


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever Keras or HDF5 make of damage inside becomes one sentence."""
    if not path.exists():
        raise KcnnError(f"There is no model file {path}.")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except KcnnError:
        raise
    except MemoryError as error:
        raise no_room(path) from error
    except Exception as error:  # of every kind: a configuration is arguments for constructors
        if isinstance(error, OSError) and error.errno in OURS:
            raise
        raise unreadable(path, error) from error


def _read_json(path: Path, archive: zipfile.ZipFile, name: str) -> Any:
    claimed = archive.getinfo(name).file_size
    if claimed > MOST_JSON:
        raise KcnnError(f"{path} is refused: {name} in it has {size(claimed)}; {size(MOST_JSON)} is the limit.")
    return json.loads(archive.read(name))


def _stored(path: Path, weights: Path) -> int:
    """How many bytes of numbers are in the weights file, if all of them are in it and not in others.

    Raises:
        KcnnError: it reads other files, or claims far more numbers than it has room for.
    """
    import h5py

    with h5py.File(weights, "r") as file:
        links: list[tuple[str, Any]] = []  # an error inside a visit would be lost
        file.visititems_links(lambda name, link: links.append((name, link)))
        if not all(isinstance(link, h5py.HardLink) for _, link in links):
            raise KcnnError(f"{path} is refused: its weights are links, which may lead to other files.")
        arrays = [item for name, _ in links if isinstance(item := file[name], h5py.Dataset)]
        if any(array.external or array.is_virtual for array in arrays):
            raise KcnnError(f"{path} is refused: its weights are in other files.")
        sizes = [math.prod(array.shape) * array.dtype.itemsize for array in arrays]
    if sum(sizes) > max(HARMLESS, MOST_SWELLING * weights.stat().st_size):
        raise KcnnError(f"{path} is refused: its weights claim to be {size(sum(sizes))}. Check where it comes from.")
    check_room(path, sum(sizes), "its weights take")
    return sum(sizes)


def _build(path: Path, config: dict[str, Any], stored: int) -> Any:
    """The model of a configuration; its variables get their memory once it is sure that the file can fill them.

    Raises:
        KcnnError: its weights or the maps between its layers are far larger than they can be.
    """
    import keras

    from kcnn.machine.keras_internals import hold_variables, memory_later

    with memory_later():
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        needed = sum(_bytes(variable.shape) for variable in model.variables)
        if needed > HARMLESS + FLOAT * stored:
            raise KcnnError(
                f"{path} is damaged: its layers need {size(needed)} of weights, but it holds {size(stored)}."
            )
        check_room(path, max(map(_bytes, _maps(model)), default=0), "one image in it takes")
    hold_variables(model)
    return model


def _maps(model: Any) -> Iterator[tuple[int | None, ...]]:
    """The shapes of what the layers of a functional or sequential model give."""
    from kcnn.machine.keras_internals import calls, functional

    for node in calls(graph) if (graph := functional(model)) else ():
        yield from (tensor.shape for tensor in node.outputs)


def _bytes(shape: tuple[int | None, ...]) -> int:
    """Of float32 numbers of this shape; an axis of any length counts as 1."""
    return FLOAT * math.prod(axis or 1 for axis in shape)


def _check_finite(path: Path, model: Any) -> None:
    """Refuse weights that are no numbers: every prediction would be NaN."""
    from keras import ops

    for variable in model.weights:
        array = np.asarray(ops.convert_to_numpy(variable))
        if "float" in variable.dtype and array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
            raise KcnnError(
                f"{path} is damaged: the weight {shown(variable.path)} has NaN or infinite numbers. Train or fetch it "
                f"again."
            )
