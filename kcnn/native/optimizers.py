"""What applies gradients: decay, clipping, the update itself and the moving average, in lists of native tensors."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from keras import optimizers as K

from kcnn.machine import keras_internals as internals
from kcnn.methods.optimizers import MIXINS, Factored
from kcnn.native.updates import OPTIMIZERS, Slots, Tensors, Update
from kcnn.native.weights import Layout, Weights, arrange, keras_order

Tensor = torch.Tensor


def optimizer_step(
    optimizer: Any, variables: Sequence[Any], weights: Weights
) -> tuple[Callable[[Sequence[Tensor]], None], bool]:
    """What applies gradients, given in torch's layout and in the order of `variables`.

    An optimizer, or a feature of one, that is not in the table goes through Keras' own `apply`.

    Returns:
        The function, and whether it stays on the device: native, with the learning rate in a variable.
    """
    if not optimizer.built:
        optimizer.build(list(variables))
    layouts, views = zip(*map(weights.held, variables), strict=True)
    apply = _keras_apply(optimizer, variables, layouts)
    make = _native(optimizer, variables)
    if make is None:
        return apply, False
    places = [internals.variable_index(optimizer, variable) for variable in variables]

    def slots(name: str, members: Sequence[int]) -> Tensors:
        found = getattr(optimizer, name)
        return [arrange(found[places[member]], layouts[member]) for member in members]

    parameters = [view.detach() for view in views]
    groups = [
        (members, numbers, [parameters[i] for i in members], make(optimizer, partial(slots, members=members)))
        for numbers, members in _groups(optimizer, variables).items()
    ]
    averages = slots(internals.AVERAGES, range(len(variables))) if optimizer.use_ema else []
    iterations = optimizer.iterations.value.detach()

    def step(gradients: Sequence[Tensor]) -> None:
        if any(gradient is None for gradient in gradients):
            return apply(gradients)
        with torch.no_grad():
            aligned = _clip(optimizer, [_aligned(g, p) for g, p in zip(gradients, parameters, strict=True)])
            rate, t = _learning_rate(optimizer, parameters[0]), (iterations + 1).to(parameters[0].dtype)
            for members, numbers, values, update in groups:
                changes = [aligned[i] for i in members]
                if numbers.decoupled:
                    torch._foreach_mul_(values, 1 - numbers.decoupled * rate)
                if numbers.coupled:
                    torch._foreach_add_(changes, values, alpha=numbers.coupled)
                update(values, changes, rate * numbers.rate, t)
            iterations.add_(1)
            if averages:
                change = 1 - optimizer.ema_momentum * (t > 1)  # the first average is the weights themselves
                torch._foreach_lerp_(averages, parameters, [change] * len(averages))

    return step, internals.rate_is_variable(optimizer)


def _native(optimizer: Any, variables: Sequence[Any]) -> Callable[[Any, Slots], Update] | None:
    """The entry of the table, unless the optimizer does something that only Keras' own `apply` does."""
    base: Any = next((cls for cls in type(optimizer).__mro__ if cls in OPTIMIZERS), None)
    if base is None or optimizer.gradient_accumulation_steps or optimizer.loss_scale_factor:
        return None
    if optimizer.use_ema and (optimizer.ema_overwrite_frequency or _frozen_since(optimizer, variables)):
        return None
    if base is K.Nadam and len(_groups(optimizer, variables)) > 1:  # its product of momenta advances once a step
        return None
    special = any(v.constraint is not None or v.dtype not in ("float32", "float64") for v in variables)
    special = special or len({v.dtype for v in variables}) > 1
    special = special or any(getattr(v, "overwrite_with_gradient", False) for v in variables)
    ours = _ours(optimizer, base) and not internals.updates_its_own_way(optimizer, Factored.__module__)
    return OPTIMIZERS[base] if ours and not special else None


def _frozen_since(optimizer: Any, variables: Sequence[Any]) -> bool:
    """Whether it was built with more variables, whose averages go on moving."""
    return len(internals.averages(optimizer)) > len(variables)


def _ours(optimizer: Any, base: type) -> bool:
    """Whether nobody but Keras and `kcnn.methods.optimizers` says how it updates."""
    between = type(optimizer).__mro__[: type(optimizer).__mro__.index(base)]
    return all(cls in MIXINS or "update_step" not in vars(cls) for cls in between)


class _Numbers(NamedTuple):
    """A factor on the learning rate, and the two kinds of weight decay."""

    rate: float
    coupled: float
    decoupled: float


def _groups(optimizer: Any, variables: Sequence[Any]) -> dict[_Numbers, list[int]]:
    """The places in `variables` of those that share their numbers."""
    groups: dict[_Numbers, list[int]] = {}
    for place, variable in enumerate(variables):
        rate = decay = 1.0
        if isinstance(optimizer, Factored):
            rate, decay = (
                optimizer.factor(factors, variable) for factors in (optimizer.rates, optimizer.decay_factors)
            )
        coupled = decay * getattr(optimizer, "coupled_weight_decay", 0.0)
        decoupled = decay * (optimizer.weight_decay or 0.0) * internals.uses_decoupled_decay(optimizer, variable)
        groups.setdefault(_Numbers(rate, coupled, decoupled), []).append(place)
    return groups


def _keras_apply(optimizer: Any, variables: Sequence[Any], layouts: Sequence[Layout]) -> Callable[..., None]:
    def apply(gradients: Sequence[Tensor | None]) -> None:
        with torch.no_grad():
            pairs = zip(gradients, layouts, strict=True)
            optimizer.apply([None if g is None else keras_order(g, layout) for g, layout in pairs], variables)

    return apply


def _aligned(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The fused kernels walk through memory: a gradient must lie in it as the parameter does."""
    if gradient.stride() == parameter.stride() and gradient.dtype == parameter.dtype:
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _learning_rate(optimizer: Any, like: Tensor) -> Tensor:
    rate = internals.current_rate(optimizer)
    rate = getattr(rate, "value", rate)
    return torch.as_tensor(rate, dtype=like.dtype, device=like.device).detach()


def _clip(optimizer: Any, gradients: Tensors) -> Tensors:
    """Keras' three kinds of clipping, in place."""
    if optimizer.clipnorm:
        norms = torch._foreach_norm(gradients)
        torch._foreach_mul_(gradients, [optimizer.clipnorm / norm.clamp(min=optimizer.clipnorm) for norm in norms])
    elif optimizer.global_clipnorm:
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        torch._foreach_mul_(gradients, optimizer.global_clipnorm / norm.clamp(min=optimizer.global_clipnorm))
    elif optimizer.clipvalue:
        torch._foreach_clamp_max_(gradients, optimizer.clipvalue)
        torch._foreach_clamp_min_(gradients, -optimizer.clipvalue)
    return gradients
