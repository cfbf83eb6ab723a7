"""The loss on native tensors: what `compile` was given, and the weights' regularizers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import torch
import torch.nn.functional as F
from keras import losses as L
from keras import tree

from kcnn.machine import keras_internals as internals
from kcnn.native.graph import Unsupported

Tensor = torch.Tensor


def packed(model: Any, outputs: list[Tensor]) -> Any:
    """The outputs in the structure that the model's own call gives."""
    structure = internals.structures(model)[1]
    if isinstance(structure, list | tuple) and len(structure) == 1:
        structure = structure[0]
    return outputs[0] if isinstance(structure, keras.KerasTensor) else tree.pack_sequence_as(structure, outputs)


def single(model: Any) -> bool:
    """Whether what the model's own call gives is one tensor."""
    return isinstance(packed(model, list(model.outputs)), keras.KerasTensor)


def one_hot(y: Any, output: Tensor) -> bool:
    """Whether targets are a tensor with a number for each class of each image."""
    fits = isinstance(y, Tensor) and y.shape == output.shape and y.ndim == 2
    return fits and y.shape[1] > 1 and y.dtype is not torch.bool


def labels(y: Any, output: Tensor) -> bool:
    """Whether targets are a tensor with a label for each image."""
    rows = len(output)
    return isinstance(y, Tensor) and output.ndim == 2 and tuple(y.shape) in ((rows,), (rows, 1))


Fits = Callable[[Any, Tensor], bool]


class Loss:
    """The loss of (targets, outputs, sample weights): native where the table has it, else Keras' own, as compiled.

    Raises:
        Unsupported: there is none, or it is not one number.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        loss = L.get(model.loss) if isinstance(model.loss, str) else model.loss
        fits, native = LOSSES.get(type(loss), (None, None))
        plain = fits is not None and single(model) and not internals.has_loss_weights(model) and _plain(loss)
        self._fits: Fits = fits if plain and fits else lambda y, output: False
        self._native: Any = native
        self._settings = internals.loss_settings(loss) if plain else {}

    def native(self, y: Any, output: Tensor, sample_weight: Any) -> bool:
        """Whether it is computed by native calls for targets and weights like these."""
        return sample_weight is None and self._fits(y, output)

    def __call__(self, y: Any, outputs: list[Tensor], sample_weight: Any) -> Tensor:
        if self.native(y, outputs[0], sample_weight):
            return self._native(y, outputs[0].float(), self._settings)
        compiled = internals.compiled_loss(self.model)
        if compiled is None:
            raise Unsupported("a model that was compiled without a loss")
        loss = compiled(y, packed(self.model, outputs), sample_weight)
        if not isinstance(loss, Tensor) or loss.ndim:
            raise Unsupported("a loss that is not one number")
        return loss


def _plain(loss: Any) -> bool:
    """From logits, over the last axis, and the mean over the batch."""
    settings = internals.loss_settings(loss)
    mean = loss.reduction in ("sum_over_batch_size", "mean") and loss.dtype == "float32"
    logits = settings.get("from_logits") and settings.get("axis", -1) == -1
    return bool(mean and logits and settings.get("ignore_class") is None)


def _categorical(y: Tensor, logits: Tensor, settings: dict[str, Any]) -> Tensor:
    return F.cross_entropy(logits, y.to(logits.dtype), label_smoothing=settings["label_smoothing"])


def _sparse(y: Tensor, logits: Tensor, settings: dict[str, Any]) -> Tensor:
    # Not torch's mean: that leaves out of the count what torch takes for "ignored", which Keras does not know.
    return F.cross_entropy(logits, y.long().view(-1), reduction="sum") / len(logits)


LOSSES: dict[type, tuple[Fits, Callable[[Tensor, Tensor, dict[str, Any]], Tensor]]] = {
    L.CategoricalCrossentropy: (one_hot, _categorical),
    L.SparseCategoricalCrossentropy: (labels, _sparse),
}


@contextmanager
def restored(metrics: Sequence[Any]) -> Iterator[None]:
    """Put the metrics back as they were if what happens here fails: Keras' loss counts those by output as it goes."""
    kept = [(variable, variable.value.clone()) for metric in metrics for variable in metric.variables]
    try:
        yield
    except Exception:
        for variable, value in kept:
            variable.assign(value)
        raise


def penalty(variables: Sequence[Any], values: Sequence[Tensor]) -> Callable[[], Tensor | float]:
    """The sum of the regularizers of the variables that train.

    Args:
        values: what the regularizers are to see, in Keras' order of axes.
    """
    terms = [(v.regularizer, value) for v, value in zip(variables, values, strict=True) if v.regularizer is not None]
    return lambda: sum(torch.sum(regularizer(value)) for regularizer, value in terms)
