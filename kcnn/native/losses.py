"""The loss and the metrics on native tensors, accumulated on the device in Keras' own metric variables."""

from collections.abc import Callable
from typing import Any

import keras
import torch
import torch.nn.functional as F
from keras import losses as L
from keras import metrics as M
from keras import tree

from kcnn.machine import keras_internals as internals
from kcnn.native.graph import Unsupported
from kcnn.native.weights import Weights

Tensor = torch.Tensor


def loss_function(model: Any) -> tuple[Callable[[Any, list[Tensor], Any], Tensor], bool]:
    """The compiled loss of (targets, outputs, sample weights), native if it is in the table, else Keras' own.

    Returns:
        The function, and whether it is native.
    """
    loss = model.loss
    if isinstance(loss, str):
        loss = L.get(loss)
    native = LOSSES.get(type(loss))
    if len(model.outputs) != 1 or native is None or not _plain(loss) or internals.has_loss_weights(model):
        native = None

    def compute(y: Any, outputs: list[Tensor], sample_weight: Any) -> Tensor:
        if native is not None and sample_weight is None and isinstance(y, Tensor) and outputs[0].ndim == 2:
            return native(loss, y, outputs[0].float())
        return internals.compiled_loss(model)(y, packed(model, outputs), sample_weight)

    return compute, native is not None


def _plain(loss: Any) -> bool:
    """From logits, over the last axis, and the mean over the batch."""
    mean = loss.reduction in ("sum_over_batch_size", "mean")
    settings = loss.get_config()
    return mean and loss.dtype == "float32" and settings["from_logits"] and settings.get("axis", -1) == -1


def packed(model: Any, outputs: list[Tensor]) -> Any:
    """The outputs in the structure that the model's own call gives."""
    # Keras gives the one output itself, also where the model was built from a list of one.
    return outputs[0] if len(outputs) == 1 else tree.pack_sequence_as(internals.outputs_struct(model), outputs)


def _categorical(loss: Any, y: Tensor, logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, y.to(logits.dtype), label_smoothing=loss.label_smoothing)


def _sparse(loss: Any, y: Tensor, logits: Tensor) -> Tensor:
    ignored = -100 if loss.ignore_class is None else loss.ignore_class
    return F.cross_entropy(logits, y.long().view(-1), ignore_index=ignored)


LOSSES: dict[type, Callable[[Any, Tensor, Tensor], Tensor]] = {
    L.CategoricalCrossentropy: _categorical,
    L.SparseCategoricalCrossentropy: _sparse,
}


def penalty(weights: Weights) -> Callable[[], Tensor | float]:
    """The sum of the weights' regularizers. Raises Unsupported for one that depends on the order of axes."""
    terms = [(v.regularizer, view) for v, _, view in weights.variables.values() if v.regularizer is not None]
    for regularizer, _ in terms:
        if type(regularizer) not in (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2):
            raise Unsupported(f"regularizer {type(regularizer).__name__}")
    return lambda: sum(regularizer(view) for regularizer, view in terms)


class Metrics:
    """The model's loss tracker and compiled metrics.

    Metrics in the table are counted in place by native calls; others get the targets and outputs as ever.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._counters: dict[int, tuple[Tensor, Tensor]] = {}

    def native(self) -> bool:
        """Whether every metric is in the table, so that counting never leaves the device."""
        compiled = internals.compiled_metrics(self.model)
        if compiled is None:
            return True
        listed = compiled.built and all(type(metric) in METRICS for metric in compiled.metrics)
        return listed and len(self.model.outputs) == 1 and not internals.has_weighted_metrics(self.model)

    def update(self, loss: Tensor, y: Any, outputs: list[Tensor], sample_weight: Any) -> None:
        """Count a batch."""
        count = outputs[0].shape[0]
        total, seen = self._of(internals.loss_tracker(self.model))
        total.add_(loss.detach(), alpha=count)
        seen.add_(count)
        compiled = internals.compiled_metrics(self.model)
        if compiled is None:
            return
        if (
            sample_weight is not None
            or not compiled.built
            or len(outputs) != 1
            or internals.has_weighted_metrics(self.model)
        ):
            compiled.update_state(y, packed(self.model, outputs), sample_weight)
            return
        for metric in compiled.metrics:
            self._update_one(metric, y, outputs[0])

    def logs(self) -> dict[str, Any]:
        """The values so far, on the device."""
        logs: dict[str, Any] = {}
        compiled = internals.compiled_metrics(self.model)
        if compiled is not None:
            logs = (
                {metric.name: self._result(metric) for metric in compiled.metrics}
                if self.native()
                else compiled.result()
            )
        total, seen = self._of(internals.loss_tracker(self.model))
        return {"loss": total / seen, **logs}

    def _result(self, metric: Any) -> Tensor:
        total, seen = self._of(metric)
        return total / seen

    def _update_one(self, metric: Any, y: Any, output: Tensor) -> None:
        hits = METRICS.get(type(metric))
        if hits is None or not isinstance(y, Tensor) or output.ndim != 2:
            metric.update_state(y, output)
            return
        total, seen = self._of(metric)
        total.add_(hits(metric, y, output).sum())
        seen.add_(len(output))

    def _of(self, metric: Any) -> tuple[Tensor, Tensor]:
        if id(metric) not in self._counters:
            self._counters[id(metric)] = (metric.total.value.detach(), metric.count.value.detach())
        return self._counters[id(metric)]


def _among(k: int, labels: Tensor, output: Tensor) -> Tensor:
    return (output.topk(min(k, output.shape[-1])).indices == labels[:, None]).any(-1)


# Each gives a tensor (batch,) of booleans: was it right?
METRICS: dict[type, Callable[[Any, Tensor, Tensor], Tensor]] = {
    M.CategoricalAccuracy: lambda metric, y, output: output.argmax(-1) == y.argmax(-1),
    M.SparseCategoricalAccuracy: lambda metric, y, output: output.argmax(-1) == y.view(-1),
    M.TopKCategoricalAccuracy: lambda metric, y, output: _among(metric.k, y.argmax(-1), output),
    M.SparseTopKCategoricalAccuracy: lambda metric, y, output: _among(metric.k, y.view(-1), output),
}
