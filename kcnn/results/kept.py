"""What a network said of each test image, kept in a small file for paired tests, ensembles and pages."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from kcnn.errors import KcnnError
from kcnn.machine.array_files import read_arrays
from kcnn.machine.files import atomic
from kcnn.machine.memory import no_room
from kcnn.results.logits import softmax

KEYS = ("labels", "predicted", "probabilities")
HOW = "`kcnn evaluate RUN --predictions FILE`"


class Predictions(NamedTuple):
    """For n images in the order of the data set: true and predicted classes, int64 (n,), and probabilities.

    The probabilities, float32 (n, classes), were rounded to float16, so the largest logits' classes are kept too.
    """

    labels: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray


def keep_predictions(path: Path, logits: np.ndarray, labels: np.ndarray) -> None:
    """Write what the logits (n, classes) say of images with these labels as an `.npz` file, whole or not at all."""
    arrays = {
        "labels": labels.astype(np.uint16),
        "predicted": logits.argmax(-1).astype(np.uint16),
        "probabilities": softmax(logits).astype(np.float16),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_predictions(path: Path) -> Predictions:
    """Read the file back.

    Raises:
        KcnnError: no such file, or damaged.
    """
    try:
        arrays = read_arrays(path, KEYS)
        labels, predicted = (arrays[name].astype(np.int64) for name in KEYS[:2])
        found = Predictions(labels, predicted, arrays[KEYS[2]].astype(np.float32))
    except FileNotFoundError as error:
        raise KcnnError(f"There is no file {path}: {HOW} writes it.") from error
    except (KcnnError, PermissionError):
        raise
    except MemoryError as error:
        raise no_room(path) from error
    except Exception as error:  # see `kcnn.machine.array_files`
        raise KcnnError(f"{path} is damaged: delete it, and {HOW} writes it.") from error
    if not _consistent(found):
        raise KcnnError(f"{path} is damaged: its labels and probabilities do not fit together.")
    return found


def _consistent(found: Predictions) -> bool:
    labels, predicted, probabilities = found
    if probabilities.ndim != 2 or not (labels.shape == predicted.shape == probabilities.shape[:1]) or not len(labels):
        return False
    classes = np.stack([labels, predicted])
    return bool(classes.min() >= 0 and classes.max() < probabilities.shape[1] and np.isfinite(probabilities).all())
