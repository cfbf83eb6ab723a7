"""Files of torch.save that anyone may have made: no code in them is run, and none fills the memory."""

from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import KcnnError
from kcnn.machine.archives import HARMLESS, check_weights_archive
from kcnn.machine.memory import check_room, size

ZIP = b"PK\x03\x04"  # how torch tells its two formats apart, too


def load_tensors(path: Path) -> Any:
    """What torch.save wrote, on the CPU, if it is made of plain tensors only.

    Raises:
        KcnnError: it unpacks to more than fits.
        Exception: of any kind, where it is damaged or holds something else; torch has many.
    """
    import torch

    check_room(path, path.stat().st_size, "it has")
    with path.open("rb") as file:
        zipped = file.read(len(ZIP)) == ZIP
    if zipped:
        check_weights_archive(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def to_array(path: Path, tensor: Any) -> np.ndarray:
    """A plain tensor as an array; half precision becomes float32.

    Raises:
        KcnnError: it repeats a few numbers over a huge shape.
        Exception: of any kind, for a tensor without numbers or of a special form.
    """
    import torch

    claimed = tensor.numel() * tensor.element_size()
    if claimed > max(HARMLESS, tensor.untyped_storage().nbytes()):
        raise KcnnError(
            f"{path} is refused: a tensor in it repeats a few numbers to {size(claimed)}. Save it as it is."
        )
    tensor = tensor.detach().cpu()
    return np.asarray(tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor)
