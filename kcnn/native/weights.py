"""The Keras variables as torch tensors in torch's order of axes. No copies: the variables stay the owners."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import torch

from kcnn.machine import keras_internals as internals
from kcnn.native.graph import Node, Unsupported

Tensor = torch.Tensor


class Layout(NamedTuple):
    """How torch wants a variable: its order of axes, and the order in memory.

    `outputs` is the number of leading axes, in torch's order, that together are the output channels; 0: the last is.
    """

    order: tuple[int, ...] = ()
    memory: tuple[int, ...] = ()
    outputs: int = 1


PLAIN = Layout()
# Keras (height, width, in, out) → torch (out, in, height, width), in memory (out, height, width, in).
KERNEL = Layout((3, 2, 0, 1), (3, 0, 1, 2))
# Keras (height, width, in, multiplier) → (in, multiplier, height, width), which torch takes as (outputs, 1, …).
DEPTHWISE = Layout((2, 3, 0, 1), (2, 3, 0, 1), outputs=2)
# Keras (in, out), as it is.
DENSE = Layout(outputs=0)


def arrange(variable: Any, layout: Layout) -> Tensor:
    """Lay the variable out in memory as torch wants it, and return a view of it in torch's order of axes.

    The variable keeps its shape and values; only its strides change, so that torch need not copy it at every step.
    """
    parameter = variable.value
    if layout.memory:
        back = [layout.memory.index(axis) for axis in range(parameter.ndim)]
        parameter.data = parameter.data.permute(layout.memory).contiguous().permute(back)
    view = parameter.detach()
    return view.permute(layout.order) if layout.order else view


class Weights:
    """Gives lowering functions the tensors of a model's variables.

    Args:
        training: whether the lowered model trains.
        trainable: ids of the variables that get gradients.
    """

    def __init__(self, training: bool, trainable: Collection[int] = ()) -> None:
        self.training = training
        self.trainable = trainable if training else ()
        self.variables: dict[int, tuple[Any, Layout, Tensor]] = {}
        self._refresh: list[Callable[[], Any]] = []

    def __call__(self, variable: Any, layout: Layout = PLAIN) -> Tensor:
        """A view of the variable in torch's order of axes; it collects gradients if the variable trains."""
        if id(variable) not in self.variables:
            view = arrange(variable, layout).requires_grad_(id(variable) in self.trainable)
            self.variables[id(variable)] = (variable, layout, view)
        _, known, view = self.variables[id(variable)]
        if known != layout:
            raise Unsupported(f"variable {variable.path!r}, which layers of different kinds share")
        return view

    def optional(self, variable: Any | None) -> Tensor | None:
        """The same for a variable that the layer may not have."""
        return None if variable is None else self(variable)

    def kernel(
        self, node: Node, variable: Any, layout: Layout, form: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """The kernel of the node's layer, times the scale of the batch norm that is folded into it.

        Args:
            form: what else to make of it; only the result is kept.
        """
        view, norm = self(variable, layout), node.norm
        if norm is None:
            return view if form is None else self.derived(lambda: form(view))
        shape = (*view.shape[: layout.outputs], *[1] * (view.ndim - layout.outputs)) if layout.outputs else (-1,)

        def folded() -> Tensor:
            scaled = view * self._scale(norm).view(shape)
            return scaled if form is None else form(scaled)

        return self.derived(folded)

    def bias(self, node: Node) -> Tensor | None:
        """The layer's bias, with the shift of the batch norm that is folded into it."""
        bias, norm = self.optional(node.op.bias), node.norm
        if norm is None:
            return bias
        mean, beta = self(norm.moving_mean), self.optional(norm.beta)

        def folded() -> Tensor:
            shift, scale = mean.neg() if bias is None else bias - mean, self._scale(norm)
            return shift.mul_(scale) if beta is None else torch.addcmul(beta, shift, scale)

        return self.derived(folded)

    def _scale(self, norm: Any) -> Tensor:
        """(channels,)"""
        gamma, scale = self.optional(norm.gamma), (self(norm.moving_variance) + norm.epsilon).rsqrt_()
        return scale if gamma is None else scale.mul_(gamma)

    def derived(self, compute: Callable[[], Tensor]) -> Tensor:
        """What is computed from other weights, and again whenever they have changed; for inference only."""
        with torch.no_grad():
            value = compute()
        self._refresh.append(lambda: value.copy_(compute()))
        return value

    def constant(self, value: Any, dtype: torch.dtype) -> Tensor:
        """A number, list or tensor that does not change, on the device of the variables."""
        return torch.as_tensor(value, dtype=dtype, device=internals.torch_device())

    def moved(self) -> bool:
        """Whether a variable has got another memory since (`model.to(…)` does that), so that the views are stale."""
        return any(internals.memory_of(v) != view.data_ptr() for v, _, view in self.variables.values())

    def versions(self) -> list[int]:
        """Numbers that change when a variable is assigned to."""
        return internals.versions([variable for variable, _, _ in self.variables.values()])

    def refresh(self) -> None:
        """Compute the derived weights again from the variables."""
        with torch.no_grad():
            for compute in self._refresh:
                compute()
