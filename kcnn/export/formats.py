"""Write a trained model for use elsewhere, open the file again, and compare its logits with the model's."""

import importlib.util
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import KcnnError, UsageError, shown, unknown
from kcnn.export.precision import in_float32
from kcnn.machine.randomness import generator
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


def export_model(
    model: Any, class_names: list[str], kind: str, path: Path, kept: Mapping[str, Any] | None = None
) -> float:
    """Write `model` as `kind` to `path` and return the largest difference of its logits, relative to the largest.

    Images of a batch of 1 and of 5 are compared, so that a fixed batch size would show. A model in half precision is
    written as its copy in float32, but as it is in the format keras, which holds any precision; compared in float32.

    Args:
        kept: what the file must keep of the pictures' preparation, see `kcnn.data.preparation`, if its format can.

    Raises:
        UsageError: see `check_target`.
        KcnnError: likewise, or the file cannot be written, or gives other logits than the model; nothing is left then.
    """
    check_target(kind, path)
    with _claimed(kind, path) as place:
        try:
            wide = in_float32(model)
            info = {"class_names": class_names, **(kept or {})}
            difference = _write_and_compare(_format(kind), model if kind == "keras" else wide, wide, place, info)
        except (KcnnError, OSError):
            raise
        except Exception as error:  # exporters raise anything
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise KcnnError(f"Format {kind} cannot be written for {model.name} ({shown(reason)}).") from error
        if not difference <= TOLERANCE:
            raise KcnnError(
                f"The exported file's logits differ by {difference:.1e} (allowed: {TOLERANCE:g}). Removed it."
            )
    return difference


def _write_and_compare(target: Any, model: Any, wide: Any, place: Path, info: dict[str, Any]) -> float:
    """The largest difference of the file's logits from those of `wide`, the model in float32."""
    target.write(model, place, info)
    images = generator(0, "check").integers(0, 256, (5, *model.input_shape[1:]), np.uint8)
    expected = np.asarray(wide.predict(images, verbose=0))
    found = np.concatenate([target.run(wide, place, images[:1]), target.run(wide, place, images)])
    return float(np.abs(found - np.concatenate([expected[:1], expected])).max() / np.abs(expected).max())


@contextmanager
def _claimed(kind: str, path: Path) -> Iterator[Path]:
    """The names of the export for this process alone, and where to write: the same name in a folder of its own.

    What lies there, all of it, takes the place of the names at the end; after an error nothing is left of either.

    Raises:
        UsageError: another process was quicker.
    """
    folder = path.with_name(f".{path.name}.{os.getpid()}")
    ours = [folder]
    path.parent.mkdir(parents=True, exist_ok=True)
    with ending(lambda: _remove(ours)):
        try:
            for file in _files(kind, path):
                file.touch(exist_ok=False) if hasattr(_format(kind), "SUFFIX") else file.mkdir()
                ours.append(file)
        except FileExistsError as error:
            raise _taken(error.filename) from error
        folder.mkdir()
        yield folder / path.name
        _move(folder, ours)
        ours[:] = [folder]


def _move(folder: Path, ours: list[Path]) -> None:
    """Everything in the folder to beside it, where nothing is that is not of `ours`; there it counts as ours, too."""
    for file in folder.iterdir():
        target = folder.parent / file.name
        if target in ours:
            _remove([target])
        elif target.exists():
            raise _taken(target)
        ours.append(target)
        file.replace(target)


def _remove(files: list[Path]) -> None:
    for file in files:
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
