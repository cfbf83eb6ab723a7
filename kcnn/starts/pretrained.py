"""Weights that torchvision's networks come with, or a file of such weights: where they are, and what they expect.

torchvision knows for each network the address, the hash, the classes and the preprocessing; its files lie in torch's
cache. Nothing in a file is executed.
"""

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import KcnnError, shown
from kcnn.machine.torch_files import load_tensors, to_array
from kcnn.models.counterparts import IMAGENET, torchvision_name

HEADS = {"resnet": "fc.bias", "vgg": "classifier.6.bias"}  # family → the tensor that has a number for each class
TIMEOUT = 20  # seconds that a server may be silent


@dataclass(frozen=True)
class Pretrained:
    """A torch state dict as arrays, and the preprocessing and classes that go with it.

    `mean` and `std` are of images scaled to 0…1. Pictures are resized so that the shorter side has `resize` pixels,
    and the middle `image_size` × `image_size` are cut out. `class_names` is None where they are not known.
    `layers` are the kinds of layers that a model of kcnn's own had; None for torchvision's.
    """

    title: str
    state: dict[str, np.ndarray]
    mean: list[float]
    std: list[float]
    image_size: int = 0
    resize: int = 0
    class_names: list[str] | None = None
    layers: list[str] | None = None

    @property
    def classes(self) -> int:
        """Outputs of torchvision's head; 0 if the state dict has none."""
        return next((self.state[key].size for key in HEADS.values() if key in self.state), 0)


def load_pretrained(source: str, model: str, options: Mapping[str, Any]) -> Pretrained:
    """torchvision's default ImageNet weights of a model (`source` is "imagenet"), or those in a file of its kind.

    A file is taken to be trained with the preprocessing of torchvision's own weights, and on ImageNet's classes if
    it has 1000.

    Raises:
        UsageError: torchvision has no such network.
        KcnnError: the weights cannot be fetched, or the file is none, damaged, or not plain weights.
    """
    from torchvision.models import get_model_weights

    weights = get_model_weights(torchvision_name(model, options)).DEFAULT
    state = read_state_dict(fetch(weights) if source == IMAGENET else Path(source).expanduser())
    transforms = weights.transforms()
    names = list(weights.meta["categories"])
    found = Pretrained(
        title=str(weights) if source == IMAGENET else source,
        state=state,
        mean=transforms.mean,
        std=transforms.std,
        image_size=transforms.crop_size[0],
        resize=transforms.resize_size[0],
    )
    return replace(found, class_names=names) if found.classes == len(names) else found


def fetch(weights: Any) -> Path:
    """The file of one of torchvision's weights in torch's cache, downloaded if need be; its hash is checked.

    Raises:
        KcnnError: it cannot be downloaded, or the file's hash is not the one in its name.
    """
    import torch.hub

    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with _fetching(path, weights):
            torch.hub.download_url_to_file(weights.url, str(path), _hash(path), progress=sys.stderr.isatty())
    elif not _digest(path).startswith(_hash(path)):
        raise KcnnError(f"{path} is damaged: its SHA-256 is not {_hash(path)}…. Delete it, then run again.")
    return path


@contextmanager
def _fetching(path: Path, weights: Any) -> Iterator[None]:
    """One line for a download that fails: what is missing, where it belongs, and what else can be done."""
    import socket
    from http.client import HTTPException
    from urllib.error import URLError

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    except (URLError, HTTPException, ConnectionError, TimeoutError, RuntimeError) as error:
        size = weights.meta["_file_size"]
        reason = "wrong hash" if "invalid hash" in str(error) else str(getattr(error, "reason", error))
        raise KcnnError(
            f"{path.name} ({size:.0f} MB) could not be downloaded ({reason}). Put the file from {weights.url} into "
            f"{path.parent}, or name a local one with --pretrained FILE, or start from a run of kcnn's own with "
            f"--weights RUN, or leave out --pretrained to train from scratch."
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _hash(path: Path) -> str:
    """The first digits of the SHA-256, which torch's files have in their names; empty if there are none."""
    found = re.search(r"-([0-9a-f]{8,})\.", path.name)
    return found.group(1) if found else ""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a torchvision `.pth` or a `.safetensors` file; nothing in it is executed.

    Floating numbers of any precision become float32. A state dict may lie under the key `model` or `state_dict`, as
    in training checkpoints.

    Raises:
        KcnnError: no such file, a damaged file, or one that is more than plain tensors.
    """
    if not path.is_file():
        raise KcnnError(
            f"There is no weights file {path}. Without a file name, --pretrained takes torchvision's weights."
        )
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content or not all(hasattr(value, "numpy") for value in content.values()):
        raise KcnnError(f"{path} holds no state dict: a table of names and tensors is needed.")
    return {str(key).removeprefix("module."): _array(path, str(key), tensor) for key, tensor in content.items()}


def _array(path: Path, key: str, tensor: Any) -> np.ndarray:
    try:
        array = to_array(path, tensor)
    except KcnnError:
        raise
    except Exception as error:  # a sparse or quantized one, or one without numbers
        raise KcnnError(f"{path}: the tensor {shown(key)} is of a special kind; plain tensors are needed.") from error
    return array.astype(np.float32) if np.issubdtype(array.dtype, np.floating) else array


def _read_torch(path: Path) -> Any:
    try:
        return load_tensors(path)
    except KcnnError:
        raise
    except Exception as error:  # whatever it is, the file holds no plain tensors
        if any(word in str(error) for word in ("Unsupported", "GLOBAL", "TorchScript")):
            raise KcnnError(
                f"{path} is refused: it holds more than tensors, and loading it could run code. "
                f"Save the state dict alone: torch.save(model.state_dict(), FILE)."
            ) from error
        raise KcnnError(f"{path} is damaged or not a file of torch.save: fetch or write it again.") from error


def _read_safetensors(path: Path) -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise KcnnError("A .safetensors file needs its package. Run: pip install 'kcnn[safetensors]'") from error
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:  # its own kind, or torch's for a shape or type that there is not
        raise KcnnError(f"{path} is damaged or not a safetensors file: fetch or write it again.") from error
