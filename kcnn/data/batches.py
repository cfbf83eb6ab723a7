"""Batches for Keras: a pure function of (seed, step), so that backends agree and a resumed run goes on exactly."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from kcnn.data.augment import operations as augment
from kcnn.data.augment.pixels import take
from kcnn.data.dataset import Split, count_steps
from kcnn.machine.keras_internals import PyDatasetAdapter
from kcnn.machine.randomness import generator


class _InMemory(keras.utils.PyDataset):
    """Images on the backend's device as uint8, labels as float32 rows: one-hot, or smoothed."""

    def __init__(self, split: Split, num_classes: int, batch_size: int, label_smoothing: float = 0.0) -> None:
        super().__init__()
        rows = np.eye(num_classes, dtype=np.float32) * (1 - label_smoothing) + label_smoothing / num_classes
        self.images = ops.convert_to_tensor(split.images)
        self.targets = ops.convert_to_tensor(rows.astype(np.float32)[split.labels])
        self.count = len(split)
        self.batch_size = batch_size


class TrainingBatches(_InMemory):
    """Shuffled, augmented batches of all epochs in one row: use with `fit(steps_per_epoch=…)`.

    The last, smaller batch of an epoch is part of it unless it is dropped.

    Args:
        first_epoch: where to begin, for a resumed run.
        augment: names and magnitudes, see `kcnn.data.augment.operations`.
        label_smoothing: part of the target that is spread over all classes.
        drop_last: leave out the last batch of an epoch if it is smaller.
    """

    def __init__(
        self,
        split: Split,
        num_classes: int,
        batch_size: int,
        *,
        epochs: int,
        first_epoch: int = 0,
        seed: int = 0,
        augment: Mapping[str, float] | None = None,
        label_smoothing: float = 0.0,
        drop_last: bool = False,
    ) -> None:
        super().__init__(split, num_classes, batch_size, label_smoothing)
        self.seed, self.augment = seed, augment or {}
        self.first_epoch, self.epochs = first_epoch, epochs
        self.steps_per_epoch = count_steps(self.count, batch_size, drop_last)
        self._known: tuple[int, Any, Any] = (-1, None, None)
        self._bits = generator(seed, "turns").random(self.count) < 0.5

    @property
    def num_batches(self) -> int:
        return self.steps_per_epoch * (self.epochs - self.first_epoch)

    @property
    def images_per_epoch(self) -> int:
        """All, but for those of a batch that is dropped."""
        return min(self.count, self.steps_per_epoch * self.batch_size)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Images uint8 (batch, height, width, channels) and targets float32 (batch, classes)."""
        epoch, step = divmod(index, self.steps_per_epoch)
        epoch += self.first_epoch
        part = slice(step * self.batch_size, (step + 1) * self.batch_size)
        order, there = self._shuffled(epoch)
        images, targets = take(self.images, there[part]), take(self.targets, there[part])
        if self.augment:
            rng = generator(self.seed, "augmentation", epoch, step)
            turn = augment.Turn(epoch, self._bits[order[part]])
            steps = augment.draw(self.augment, len(images), tuple(images.shape[1:]), rng, turn)
            images, targets = augment.apply(images, targets, steps)
        return images, targets

    def _shuffled(self, epoch: int) -> tuple[np.ndarray, Any]:
        """The order of the images, int32 (n,), here and on the device.

        Read and kept as one object, as a backend may prefetch in threads.
        """
        known, order, there = self._known
        if known != epoch:
            order = generator(self.seed, "shuffle", epoch).permutation(self.count).astype(np.int32)
            there = ops.convert_to_tensor(order)
            self._known = (epoch, order, there)
        return order, there


class EvaluationBatches(_InMemory):
    """The images as they are, in order, in large batches."""

    def __init__(self, split: Split, num_classes: int, batch_size: int = 256) -> None:
        super().__init__(split, num_classes, batch_size)

    @property
    def num_batches(self) -> int:
        return -(-self.count // self.batch_size)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Images uint8 (batch, height, width, channels) and targets float32 (batch, classes)."""
        part = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return self.images[part], self.targets[part]


class Direct(PyDatasetAdapter):
    """Batches for `fit` that are tensors already: torch's data loader, Keras' way, would only pass them on."""

    def get_torch_dataloader(self) -> Any:
        """The batches in order."""
        return self._get_iterator()
