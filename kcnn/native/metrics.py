"""The metrics on native tensors, accumulated on the device in Keras' own metric variables."""

from collections.abc import Callable
from typing import Any

import torch
from keras import metrics as M

from kcnn.machine import keras_internals as internals
from kcnn.native.losses import Fits, labels, one_hot, packed, single

Tensor = torch.Tensor


class Metrics:
    """The model's loss tracker and compiled metrics.

    Metrics in the table are counted in place by native calls; others get the targets and outputs as ever.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._seen, self._plain = False, False
        self._known: list[_Counted] = []

    def native(self, y: Any, output: Tensor) -> bool:
        """Whether every metric is in the table for targets like these, so that counting never leaves the device."""
        return self.plain() and all(metric.fits(y, output) for metric in self._known)

    def plain(self) -> bool:
        """Whether all that is to be told are the loss and metrics of the table, each with a name of its own."""
        compiled = internals.compiled_metrics(self.model)
        if not self._seen and (compiled is None or compiled.built):
            metrics = [] if compiled is None else compiled.metrics
            known = all(type(x) in METRICS and not getattr(x, "from_sorted_ids", False) for x in metrics)
            alone = single(self.model) and (compiled is None or not internals.has_weighted_metrics(self.model))
            distinct = len({"loss", *(metric.name for metric in metrics)}) == 1 + len(metrics)
            self._seen, self._plain = True, known and alone and distinct and internals.tracks_only_compiled(self.model)
            self._known = [_Counted(metric) for metric in metrics] if self._plain else []
            self._loss = _Counted(internals.loss_tracker(self.model))
            # Keras 3.13 tells numbers of Python's, in another order.
            self._by_keras = not self._plain or isinstance(self.model.get_metrics_result()["loss"], float)
        return self._plain

    def count(self, loss: Tensor, y: Any, outputs: list[Tensor], sample_weight: Any) -> Callable[[], None]:
        """Look at a batch without changing anything; what it returns adds it to the metrics."""
        if not self.native(y, outputs[0]):
            return lambda: self._update(loss, y, outputs, sample_weight)
        rows, total = len(outputs[0]), loss.detach() * len(outputs[0])
        found = [metric.hits(y, outputs[0]) for metric in self._known]

        def add() -> None:
            self._loss.add(total, rows)
            for metric, hits in zip(self._known, found, strict=True):
                metric.add(hits, rows)

        return add

    def _update(self, loss: Tensor, y: Any, outputs: list[Tensor], sample_weight: Any) -> None:
        internals.loss_tracker(self.model).update_state(loss, sample_weight=len(outputs[0]))
        compiled = internals.compiled_metrics(self.model)
        if compiled is not None:
            compiled.update_state(y, packed(self.model, outputs), sample_weight)

    def logs(self) -> dict[str, Any]:
        """The values so far, on the device."""
        if not self.plain() or self._by_keras:
            return dict(self.model.get_metrics_result())
        return {counted.metric.name: counted.result() for counted in (self._loss, *self._known)}


class _Counted:
    """A metric that is a mean of numbers, with its sum and its count as native tensors."""

    def __init__(self, metric: Any) -> None:
        self.metric = metric
        self.total, self.count = metric.total.value.detach(), metric.count.value.detach()
        self.fits, self._hits = METRICS.get(type(metric), _NOTHING)

    def hits(self, y: Tensor, output: Tensor) -> Tensor:
        """How often it was right."""
        return self._hits(self.metric, y, output).sum()

    def add(self, total: Tensor, count: int) -> None:
        """Count so many more."""
        self.total.add_(total)
        self.count.add_(count)

    def result(self) -> Tensor:
        """The mean so far."""
        return self.total / self.count


Hits = Callable[[Any, Tensor, Tensor], Tensor]
_NOTHING: tuple[Fits, Hits] = (lambda y, output: False, lambda metric, y, output: output)  # of the tracker of the loss


def _among(k: int, labels: Tensor, output: Tensor) -> Tensor:
    """As Keras does it: what is as large as the k-th largest is among them."""
    return output.gather(1, labels.long().view(-1, 1)) >= output.topk(k).values[:, -1:]


# Each gives a tensor of booleans, one an image: was it right?
METRICS: dict[type, tuple[Fits, Hits]] = {
    M.CategoricalAccuracy: (one_hot, lambda metric, y, output: output.argmax(-1) == y.argmax(-1)),
    M.SparseCategoricalAccuracy: (labels, lambda metric, y, output: output.argmax(-1) == y.view(-1)),
    M.TopKCategoricalAccuracy: (one_hot, lambda metric, y, output: _among(metric.k, y.argmax(-1), output)),
    M.SparseTopKCategoricalAccuracy: (labels, lambda metric, y, output: _among(metric.k, y, output)),
}
