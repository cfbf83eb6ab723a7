"""A native training step: first what changes nothing, then all changes at once."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from kcnn.machine import keras_internals as internals
from kcnn.native.cuda import Recorded, compiled
from kcnn.native.graph import Unsupported
from kcnn.native.losses import Loss, penalty, restored
from kcnn.native.metrics import Metrics
from kcnn.native.optimizers import optimizer_step
from kcnn.native.program import lower
from kcnn.native.weights import keras_order

Tensor = torch.Tensor


class Training:
    """The steps of a model as it is now: its layers, what of it is trainable, its optimizer.

    Raises:
        Unsupported: the model has a part without a native form, or nothing to train.
    """

    def __init__(self, model: Any, loss: Loss, metrics: Metrics) -> None:
        self.model, self.loss, self.metrics = model, loss, metrics
        self.variables = model.trainable_variables
        if not self.variables:
            raise Unsupported("a model without trainable variables")
        self.program = lower(model, True, {id(v) for v in self.variables})
        held = [self.program.weights.held(variable) for variable in self.variables]
        self.leaves = [leaf for _, leaf in held]
        self.penalty = penalty(self.variables, [keras_order(leaf, layout) for layout, leaf in held])
        self.forward: Callable[..., list[Tensor]] = self.program
        self.recorded: Recorded | None = None
        self._apply: Callable[[Sequence[Tensor]], None] | None = None
        self._state: list[Any] = []
        self._before: list[int] | None = None

    def __call__(self, inputs: Sequence[Tensor], y: Any, sample_weight: Any) -> None:
        """One step on a batch."""
        if self._apply is None:
            self._prepare()
        if self.recorded and sample_weight is None and isinstance(y, Tensor) and self._on_device(y):
            self.recorded(inputs, y)
        else:
            self.step(inputs, y, sample_weight)

    def _prepare(self) -> None:
        """Now and not sooner, as Keras builds the optimizer at the first step, for what is trainable then."""
        optimizer = self.model.optimizer
        self._apply, native = optimizer_step(optimizer, self.variables, self.program.weights)
        self._state = [*self.variables, *optimizer.variables]
        if self.leaves[0].is_cuda:
            self.forward = compiled(self.program)
            self.recorded = Recorded(self.step) if native else None

    def _on_device(self, y: Tensor) -> bool:
        """Whether a step with these targets never waits for the device."""
        shape = self.model.outputs[0].shape
        if len(shape) != 2 or shape[1] is None:
            return False
        output = torch.empty(len(y), shape[1], device="meta")
        return self.loss.native(y, output, None) and self.metrics.native(y, output)

    def step(self, inputs: Sequence[Tensor], y: Any, sample_weight: Any = None) -> None:
        """Forward and backward, which change nothing, then the weights, the statistics and the metrics."""
        outputs = self.forward(*inputs)
        with restored(internals.losses_by_output(self.model)):
            loss = self.loss(y, outputs, sample_weight) + self.penalty()
            scaled = self.model.optimizer.scale_loss(loss)
            gradients = torch.autograd.grad(scaled, self.leaves, allow_unused=True)
            with torch.no_grad():
                count = self.metrics.count(loss, y, [output.detach() for output in outputs], sample_weight)
        self._before = internals.versions(self._state)
        self._apply(gradients)  # type: ignore[misc]
        with torch.no_grad():
            self.program.weights.keep_statistics()
            count()
        self._before = None

    def half_applied(self) -> bool:
        """Whether a step that has failed had changed a weight, or the optimizer's state."""
        return self._before is not None and self._before != internals.versions(self._state)
