"""Write a trained model for use elsewhere, open the file again, and compare its logits with the model's."""

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import KcnnError, UsageError, unknown
from kcnn.machine.stopping import ending

TOLERANCE = 1e-4  # largest difference, relative to the largest logit

# Format → its module in this folder.
FORMATS = {
    "keras": "to_keras",
    "onnx": "to_onnx",
    "torch": "to_torch",
    "torchvision": "to_torchvision",
    "openvino": "to_openvino",
    "tensorflow": "to_tensorflow",
}


def check_target(kind: str, path: Path) -> None:
    """Refuse an unknown format, a name that the format cannot have, and a file that is there.

    Raises:
        UsageError: one of those.
        KcnnError: a package that the format needs is not installed.
    """
    if kind not in FORMATS:
        raise UsageError(unknown("format", kind, FORMATS))
    module = _format(kind)
    suffix = getattr(module, "SUFFIX", "")
    if suffix and path.suffix != suffix:
        others = ", ".join(name for name in FORMATS if name != kind)
        raise UsageError(
            f"Format {kind} needs a file name that ends in {suffix}; received {path}. Rename it, or choose another "
            f"--format: {others}."
        )
    for file in _files(kind, path):
        if file.exists():
            raise _taken(file)
    for package in module.PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise KcnnError(f"Format {kind} needs the package {package}. Run: pip install 'kcnn[{kind}]'")


def _format(kind: str) -> Any:
    return import_module(f"kcnn.export.{FORMATS[kind]}")


def _files(kind: str, path: Path) -> list[Path]:
    beside = getattr(_format(kind), "BESIDE", "")
    return [path, path.with_suffix(beside)] if beside else [path]


def _taken(file: object) -> UsageError:
    return UsageError(f"{file} already exists: delete it, or name another file with -o.")


def export_model(model: Any, class_names: list[str], kind: str, path: Path, resize: int = 0) -> float:
    """Write `model` as `kind` to `path` and return the largest difference of its logits, relative to the largest.

    Images of a batch of 1 and of 5 are compared, so that a fixed batch size would show.

    Args:
        resize: see `kcnn.data.images.read_image`; kept in a `.keras` file for `kcnn predict`.

    Raises:
        UsageError: see `check_target`.
        KcnnError: likewise, or the file gives other logits than the model; it is then removed.
    """
    check_target(kind, path)
    with _claimed(kind, path) as keep:
        info = {"class_names": class_names, **({"resize": resize} if resize else {})}
        difference = _write_and_compare(_format(kind), model, path, info)
        if not difference <= TOLERANCE:
            raise KcnnError(
                f"The exported file's logits differ by {difference:.1e} (allowed: {TOLERANCE:g}). Removed it."
            )
        keep()
    return difference


@contextmanager
def _claimed(kind: str, path: Path) -> Iterator[Callable[[], None]]:
    """The names of the export for this process alone; what lies there is removed at the end, unless `keep` is called.

    Raises:
        UsageError: another process was quicker.
    """
    ours: list[Path] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with ending(lambda: _remove(ours)):
        try:
            for file in _files(kind, path):
                file.touch(exist_ok=False) if hasattr(_format(kind), "SUFFIX") else file.mkdir()
                ours.append(file)
        except FileExistsError as error:
            raise _taken(error.filename) from error
        yield ours.clear


def _remove(files: list[Path]) -> None:
    for file in files:
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)


def _write_and_compare(target: Any, model: Any, path: Path, info: dict[str, Any]) -> float:
    target.write(model, path, info)
    images = np.random.default_rng(0).integers(0, 256, (5, *model.input_shape[1:]), np.uint8)
    expected = np.asarray(model.predict(images, verbose=0))
    found = np.concatenate([target.run(model, path, images[:1]), target.run(model, path, images)])
    return float(np.abs(found - np.concatenate([expected[:1], expected])).max() / np.abs(expected).max())
