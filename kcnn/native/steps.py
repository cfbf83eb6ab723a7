"""The functions that Keras' fit, evaluate and predict call for every batch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from keras import tree

from kcnn.machine.keras_internals import standardize_inputs, torch_device, unpack_x_y_sample_weight
from kcnn.native.cuda import Recorded, compiled
from kcnn.native.losses import Metrics, loss_function, packed, penalty
from kcnn.native.optimizers import optimizer_step
from kcnn.native.program import Program, lower

Tensor = torch.Tensor


class Steps:
    """The lowered steps of one compiled model, or of one that is only to predict.

    Raises:
        Unsupported: the model has a part without a native form.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._inputs = [(x.dtype, len(x.shape)) for x in model.inputs]
        self._inference: Program | None = None
        if model.compiled:
            self.metrics = Metrics(model)
            self.loss, self._native_loss = loss_function(model)
        if model.compiled and model.trainable_variables:
            self._prepare_training()
        else:
            self._prepare_inference()

    def _prepare_training(self) -> None:
        variables = self.model.trainable_variables
        self.program = lower(self.model, True, {id(v) for v in variables})
        weights = self.program.weights
        self.penalty = penalty(weights)
        self.leaves = [weights.variables[id(v)][2] for v in variables]
        self.apply, native = optimizer_step(self.model.optimizer, variables, weights)
        self.forward: Callable[..., list[Tensor]] = self.program
        self.recorded: Recorded | None = None
        if self.leaves[0].is_cuda:
            torch.backends.cudnn.benchmark = True
            self.forward = compiled(self.program)
            self.recorded = Recorded(self._step) if native and self._native_loss else None

    def train(self, data: list[Any]) -> dict[str, Any]:
        """One training step on `data[0]`, which is (x, y) or (x, y, sample_weight); returns the running means."""
        if self.program.weights.moved():
            self._prepare_training()
        inputs, y, sample_weight = self._unpack(data)
        if self.recorded and sample_weight is None and isinstance(y, Tensor) and self.metrics.native():
            self.recorded(inputs, y)
        else:
            self._step(inputs, y, sample_weight)
        self._inference = None  # its folded weights are of no use any more
        return self.metrics.logs()

    def _step(self, inputs: Sequence[Tensor], y: Any, sample_weight: Any = None) -> None:
        outputs = self.forward(*inputs)
        loss = self.loss(y, outputs, sample_weight) + self.penalty()
        scaled = self.model.optimizer.scale_loss(loss)
        self.apply(torch.autograd.grad(scaled, self.leaves, allow_unused=True))
        with torch.no_grad():
            self.metrics.update(loss, y, [output.detach() for output in outputs], sample_weight)

    def test(self, data: list[Any]) -> dict[str, Any]:
        """Loss and metrics of one batch, with batch norms folded; returns the running means."""
        inputs, y, sample_weight = self._unpack(data)
        with torch.no_grad():
            outputs = self.inference().in_parts(*inputs)
            loss = self.loss(y, outputs, sample_weight) + self.inference_penalty()
            self.metrics.update(loss, y, outputs, sample_weight)
            return self.metrics.logs()

    def predict(self, data: list[Any]) -> Any:
        """The model's outputs for one batch."""
        with torch.no_grad():
            return packed(self.model, self.inference().in_parts(*self._unpack(data)[0]))

    def _prepare_inference(self) -> Program:
        self._inference = lower(self.model, training=False)
        self._seen = self._inference.weights.versions()
        self.inference_penalty = penalty(self._inference.weights)
        return self._inference

    def inference(self) -> Program:
        """The program without gradients, its folded weights up to date."""
        program = self._inference
        if program is None or program.weights.moved():
            return self._prepare_inference()
        seen = program.weights.versions()
        if seen != self._seen:
            program.weights.refresh()
            self._seen = seen
        return program

    def _unpack(self, data: list[Any]) -> tuple[list[Tensor], Any, Any]:
        x, y, sample_weight = unpack_x_y_sample_weight(data[0])
        device = torch_device()
        if isinstance(y, Tensor):
            y = y.to(device, non_blocking=True)
        elif y is not None:
            y = tree.map_structure(lambda part: torch.as_tensor(part, device=device), y)
        return self._standardize(x, device), y, sample_weight

    def _standardize(self, x: Any, device: Any) -> list[Tensor]:
        """The inputs as tensors of the dtype and rank that the model declares; Keras mends what does not fit."""
        inputs = [torch.as_tensor(part, device=device) for part in tree.flatten(x)]
        for part, (dtype, rank) in zip(inputs, self._inputs, strict=True):
            if part.ndim != rank or part.dtype is not getattr(torch, dtype):
                return tree.flatten(standardize_inputs(self.model, x))
        return inputs
