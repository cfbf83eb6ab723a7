"""TensorBoard's event files in the run directory: `tensorboard --logdir runs` shows all runs in one view.

Written by torch's own writer, which needs the package tensorboard but not TensorFlow.
"""

import importlib.util
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kcnn.errors import KcnnError
from kcnn.run.directory import RunDir
from kcnn.run.history import History

# Column of the log → tag; the part before the slash is the chart that runs and parts share.
TAGS = {
    "loss": "loss/training",
    "val_loss": "loss/validation",
    "accuracy": "accuracy/training",
    "val_accuracy": "accuracy/validation",
    "learning_rate": "learning_rate",
    "images_per_second": "images_per_second",
    "gpu_memory": "gpu/memory_gib",
    "gpu_utilization": "gpu/utilization_percent",
}


def check_installed() -> None:
    """Raise a KcnnError, before anything is trained, if the package tensorboard is not there."""
    if importlib.util.find_spec("tensorboard") is None:
        raise KcnnError("TensorBoard's files need the package tensorboard. Run: pip install 'kcnn[tensorboard]'")


class TensorBoard(keras.callbacks.Callback):
    """After each epoch: the last row of the log; comes after the callback that writes it."""

    def __init__(self, run: RunDir, history: History) -> None:
        super().__init__()
        self.run, self.history = run, history

    def on_train_begin(self, logs: Any = None) -> None:
        # A resumed run replaces what an epoch that was cut off may have left.
        self.writer = _writer(self.run.path, purge_step=self.history.epochs + 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        row = self.history.rows[-1]
        for column, tag in TAGS.items():
            if column in row:
                self.writer.add_scalar(tag, row[column], row["epoch"])
        self.writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        self.writer.close()


def add_picture(run: RunDir, name: str, path: Path, epoch: int) -> None:
    """Show a PNG file, such as the confusion matrix, beside the run's curves."""
    from PIL import Image

    with Image.open(path) as picture, _writer(run.path) as writer:
        writer.add_image(name, np.asarray(picture.convert("RGB")), epoch, dataformats="HWC")


def _writer(folder: Path, **options: Any) -> Any:
    check_installed()
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder, **options)
