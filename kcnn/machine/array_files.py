"""NumPy's archives of arrays that anyone may have made: no code in them is run, and none fills the memory.

Damage inside leads NumPy, zipfile, zlib and tokenize to errors of their own: whoever reads catches every kind.
"""

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np

from kcnn.machine.memory import check_room


def array_names(path: Path) -> list[str]:
    """The names of the arrays in an `.npz` file."""
    with np.load(path, allow_pickle=False) as arrays:
        return list(arrays.files)


def read_arrays(path: Path, names: Collection[str] = (), file: IO[bytes] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file by their names, or some of them.

    Args:
        file: what to read, if it lies within `path`.

    Raises:
        KcnnError: they unpack to more than fits.
    """
    with np.load(file or path, allow_pickle=False) as arrays:
        chosen = names or arrays.files
        members = [m for m in arrays.zip.infolist() if m.filename.removesuffix(".npy") in chosen]
        check_room(path, sum(member.file_size for member in members))
        for member in members:
            _check_claim(arrays.zip, member)
        return {name: arrays[name] for name in chosen}


def _check_claim(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raise a ValueError if an array says that it is larger than its bytes: NumPy would make room for it first."""
    with archive.open(member) as file:
        version, _ = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == 1 else np.lib.format.read_array_header_2_0
        shape, _, kind = read(file)
    if math.prod(shape) * kind.itemsize > member.file_size:
        raise ValueError("the array is cut off")
