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


def keras_order(tensor: Tensor, layout: Layout) -> Tensor:
    """A view of what is in torch's order of axes in that of the Keras variable."""
    return tensor.permute([layout.order.index(axis) for axis in range(tensor.ndim)]) if layout.order else tensor


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
        derives: whether layers may compute other weights from theirs, and keep them.
    """

    def __init__(self, training: bool, trainable: Collection[int] = (), derives: bool = False) -> None:
        self.training, self.derives = training, derives
        self.trainable = trainable if training else ()
        self.variables: dict[int, tuple[Any, Layout, Tensor]] = {}
        # Of each batch norm that learns: (mean, variance, share of a batch, epsilon), and what it found in this step.
        self._averages: list[tuple[Tensor, Tensor, float, float]] = []
        self.found: list[Any] = []
        self._derived: list[Callable[[], Any]] = []
        self._sources: dict[int, tuple[Tensor, Tensor]] = {}

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

    def held(self, variable: Any) -> tuple[Layout, Tensor]:
        """The layout and the view of a variable that a layer has asked for."""
        if id(variable) not in self.variables:
            raise Unsupported(f"variable {variable.path!r}, which no layer of the graph uses")
        return self.variables[id(variable)][1:]

    def kernel(
        self, node: Node, variable: Any, layout: Layout, form: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """The kernel of the node's layer, times the scale of the batch norm that is folded into it.

        Args:
            form: what else to make of it; only the result is kept.
        """
        view, norm = self(variable, layout), node.norm
        if norm is None:
            return view if form is None else self.derived(lambda: form(view), view)
        shape = (*view.shape[: layout.outputs], *[1] * (view.ndim - layout.outputs)) if layout.outputs else (-1,)
        scale, *sources = self._scale(norm)

        def folded() -> Tensor:
            scaled = view * scale().view(shape)
            return scaled if form is None else form(scaled)

        return self.derived(folded, view, *sources)

    def bias(self, node: Node) -> Tensor | None:
        """The layer's bias, with the shift of the batch norm that is folded into it."""
        bias, norm = self.optional(node.op.bias), node.norm
        if norm is None:
            return bias
        mean, beta, (scale, *sources) = self(norm.moving_mean), self.optional(norm.beta), self._scale(norm)

        def folded() -> Tensor:
            shift = (mean.neg() if bias is None else bias - mean) * scale()
            return shift if beta is None else shift + beta

        return self.derived(folded, bias, mean, beta, *sources)

    def _scale(self, norm: Any) -> tuple[Any, ...]:
        """What computes the scale (channels,) of a batch norm, in float32 at least, and what it reads."""
        gamma, variance = self.optional(norm.gamma), self(norm.moving_variance)
        kind = torch.promote_types(variance.dtype, torch.float32)

        def scale() -> Tensor:
            inverse = (variance.to(kind) + norm.epsilon).rsqrt_()
            return inverse if gamma is None else inverse * gamma

        return scale, gamma, variance

    def derived(self, compute: Callable[[], Tensor], *sources: Tensor | None) -> Tensor:
        """What is computed from other weights, and again whenever they have changed; for inference only."""
        with torch.no_grad():
            value = compute()
            for source in sources:
                if source is not None:
                    self._sources.setdefault(id(source), (source, source.clone()))
        self._derived.append(lambda: value.copy_(compute()))
        return value

    def constant(self, value: Any, dtype: torch.dtype) -> Tensor:
        """A number, list or tensor that does not change, on the device of the variables."""
        return torch.as_tensor(value, dtype=dtype, device=internals.torch_device())

    def moved(self) -> bool:
        """Whether a variable has got another memory since (`model.to(…)` does that), so that the views are stale."""
        return any(internals.memory_of(v) != view.data_ptr() for v, _, view in self.variables.values())

    def refresh(self) -> None:
        """Compute the derived weights again if what they come from has other values, whoever wrote them.

        torch counts what is assigned to a tensor, but not what is written by way of `variable.value.data` or NumPy.
        """
        with torch.no_grad():
            # On a graphics card to compare would wait for it, and costs more than to compute.
            if all(not now.is_cuda and torch.equal(now, seen) for now, seen in self._sources.values()):
                return
            for now, seen in self._sources.values():
                seen.copy_(now)
            for compute in self._derived:
                compute()

    def average(self, mean: Tensor, variance: Tensor, share: float, epsilon: float) -> int:
        """Have `keep_statistics` move these towards a batch's mean and inverse deviation: their place in `found`."""
        self._averages.append((mean, variance, share, epsilon))
        self.found.append(None)
        return len(self.found) - 1

    def keep_statistics(self) -> None:
        """Move the averages of the batch norms towards what this step has found."""
        with torch.no_grad():
            for (mean, variance, share, epsilon), (of_batch, inverse) in zip(self._averages, self.found, strict=True):
                # Keras keeps the biased variance; torch's own running variance is the unbiased one.
                mean.lerp_(of_batch.to(mean.dtype), share)
                variance.lerp_(inverse.pow(-2).sub_(epsilon).to(variance.dtype), share)
