"""The functions that Keras' fit, evaluate and predict call for every batch, natively."""

from typing import Any

import keras
import numpy as np
import torch

from kcnn.machine import keras_internals as internals
from kcnn.native.graph import Unsupported, function_of
from kcnn.native.losses import Loss, packed, penalty, restored
from kcnn.native.metrics import Metrics
from kcnn.native.program import Program, lower
from kcnn.native.training import Training

Tensor = torch.Tensor

MANY = 16  # images: for fewer it costs more to see that derived weights are up to date than they save


class Steps:
    """The lowered steps of one compiled model, or of one that is only to predict.

    Raises:
        Unsupported: the model has a part without a native form.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._prepare()

    def _prepare(self) -> None:
        """Lower the model as it is now: for training if it can train."""
        _check(self.model)
        self._training: Training | None = None
        self._inference: dict[bool, Program] = {}
        if self.model.compiled:
            self.loss, self.metrics = Loss(self.model), Metrics(self.model)
            trained = self.model.trainable_variables
            self._penalty = penalty(trained, [variable.value for variable in trained])
        program = self.training().program if self.trains else self.inference(MANY)
        self._shapes = [(getattr(torch, x.dtype), tuple(x.shape)) for x in self.model.inputs]
        self._settings = Settings(self.model, program.read)

    @property
    def trains(self) -> bool:
        """Whether there is something to train."""
        return bool(self.model.compiled and self.model.trainable_variables)

    def train(self, data: list[Any]) -> dict[str, Any]:
        """One training step on `data[0]`, which is (x, y) or (x, y, sample_weight); returns the running means."""
        inputs, y, sample_weight = self._unpack(data)
        self.training()(inputs, y, sample_weight)
        self._inference.pop(True, None)  # its derived weights are of no use any more
        return self.metrics.logs()

    def test(self, data: list[Any]) -> dict[str, Any]:
        """Loss and metrics of one batch, with batch norms folded; returns the running means."""
        inputs, y, sample_weight = self._unpack(data)
        with torch.no_grad(), restored(internals.losses_by_output(self.model)):
            outputs = self.inference(len(inputs[0])).in_parts(*inputs)
            loss = self.loss(y, outputs, sample_weight) + self._penalty()
            self.metrics.count(loss, y, outputs, sample_weight)()
        return self.metrics.logs()

    def predict(self, data: list[Any]) -> Any:
        """The model's outputs for one batch."""
        with torch.no_grad():
            inputs, *_ = self._unpack(data)
            return packed(self.model, self.inference(len(inputs[0])).in_parts(*inputs))

    def half_applied(self) -> bool:
        """Whether a training step that has failed had changed something by then."""
        return self._training is not None and self._training.half_applied()

    def training(self) -> Training:
        """The training step."""
        if self._training is None or self._training.program.weights.moved():
            self._training = Training(self.model, self.loss, self.metrics)
        return self._training

    def inference(self, images: int) -> Program:
        """The program without gradients for so many images, its derived weights up to date."""
        derive = images >= MANY
        program = self._inference.get(derive)
        if program is None or program.weights.moved():
            program = self._inference[derive] = lower(self.model, training=False, derive=derive)
        program.weights.refresh()
        return program

    def _unpack(self, data: list[Any]) -> tuple[list[Tensor], Any, Any]:
        """Inputs as programs take them; targets on the device where they are one array, else as Keras takes them."""
        if len(data) != 1:
            raise Unsupported("several batches in one step")
        if self._settings.changed():
            self._prepare()
        x, y, sample_weight = internals.unpack_x_y_sample_weight(data[0])
        device = internals.torch_device()
        if isinstance(y, Tensor | np.ndarray):
            y = _tensor(y, device)
        return self._standardize(x, device), y, sample_weight

    def _standardize(self, x: Any, device: Any) -> list[Tensor]:
        """The inputs as tensors of the dtype and shape that the model declares; Keras mends what does not fit."""
        parts = x if isinstance(x, list | tuple) else [x]
        plain = isinstance(internals.structures(self.model)[0], list | tuple) or len(self._shapes) == 1
        if plain and len(parts) == len(self._shapes) and all(isinstance(part, Tensor | np.ndarray) for part in parts):
            inputs = [_tensor(part, device) for part in parts]
            if self._fit(inputs):
                return inputs
        inputs = list(internals.standardize_inputs(self.model, x))
        if not all(isinstance(part, Tensor) for part in inputs) or not self._fit(inputs):
            raise Unsupported("inputs of another shape than the model's, or none")
        return inputs

    def _fit(self, inputs: list[Tensor]) -> bool:
        pairs = zip(inputs, self._shapes, strict=True)
        return all(len(part) and part.dtype is dtype and _matches(part.shape, shape) for part, (dtype, shape) in pairs)


def _tensor(part: Tensor | np.ndarray, device: str) -> Tensor:
    return part.to(device, non_blocking=True) if isinstance(part, Tensor) else keras.ops.convert_to_tensor(part)


def _matches(shape: tuple[int, ...], declared: tuple[int | None, ...]) -> bool:
    """But for the number of images."""
    sides = zip(shape[1:], declared[1:], strict=False)
    return len(shape) == len(declared) and all(wanted in (None, side) for side, wanted in sides)


def _check(model: Any) -> None:
    """Raise Unsupported for a model without a graph, or whose steps are not Keras' own for one batch on one device."""
    function_of(model)
    if own := internals.own_step(model):
        raise Unsupported(f"{type(model).__name__}'s own {own}")
    if getattr(model, "activity_regularizer", None) is not None:
        raise Unsupported("an activity regularizer of the whole model")
    if model.steps_per_execution != 1:
        raise Unsupported(f"steps_per_execution={model.steps_per_execution}")
    if internals.replicated(model):
        raise Unsupported("training shared between devices or processes")


class Settings:
    """What lowering has read of a model beside its weights. Keras reads it at every step, so a change counts at once.

    `layer.trainable = False`, `dropout.rate = 0.1` or `optimizer.clipnorm = 1` are such changes.
    """

    def __init__(self, model: Any, operations: list[Any]) -> None:
        things = {id(x): x for x in (*operations, *model.variables, getattr(model, "optimizer", None)) if x is not None}
        reads = [internals.settings(thing) for thing in things.values()]
        self._seen = [(read, read()) for read in reads]

    def changed(self) -> bool:
        """Whether one of them is not what it was when this object was made."""
        try:
            return any(read() != seen for read, seen in self._seen)
        except (KeyError, RuntimeError, ValueError):  # one is gone, or is another array, which does not compare
            return True
