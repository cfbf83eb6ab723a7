"""Keras' optimizers in torch's kernels for lists of tensors, on the Keras optimizer's own slot variables.

The formulas are those of `keras.optimizers`, so a saved state means the same with and without acceleration.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import torch
from keras import optimizers as K

from kcnn.accelerate.weights import Layout, Weights, arrange
from kcnn.optimizers import CoupledWeightDecay

Tensor = torch.Tensor
Tensors = list[Tensor]
TensorsLike = tuple[Tensor, ...] | list[Tensor]  # what torch's functions for lists give and take
Slots = Callable[[str], Tensors]
# (parameters, gradients, learning rate, number of this step from 1), all in place
Update = Callable[[Tensors, Tensors, Tensor, Tensor], None]


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
    held = [weights.variables[id(variable)] for variable in variables]
    layouts = [layout for _, layout, _ in held]
    apply = _keras_apply(optimizer, variables, layouts)
    make = _native(optimizer, variables)
    if make is None:
        return apply, False
    indices = [optimizer._get_variable_index(variable) for variable in variables]

    def slots(name: str) -> Tensors:
        found = getattr(optimizer, name)
        return [arrange(found[index], layout) for index, layout in zip(indices, layouts, strict=True)]

    update = make(optimizer, slots)
    parameters = [view.detach() for _, _, view in held]
    iterations = optimizer._iterations.value.detach()
    decayed = [p for p, v in zip(parameters, variables, strict=True) if optimizer._use_weight_decay(v)]

    def step(gradients: Sequence[Tensor]) -> None:
        if any(gradient is None for gradient in gradients):
            return apply(gradients)
        with torch.no_grad():
            aligned = _clip(optimizer, [_aligned(g, p) for g, p in zip(gradients, parameters, strict=True)])
            rate = _learning_rate(optimizer, parameters[0])
            if optimizer.weight_decay:
                torch._foreach_mul_(decayed, 1 - optimizer.weight_decay * rate)
            if getattr(optimizer, "coupled_weight_decay", 0):
                torch._foreach_add_(aligned, parameters, alpha=optimizer.coupled_weight_decay)
            iterations.add_(1)
            update(parameters, aligned, rate, iterations.to(rate.dtype))

    return step, isinstance(optimizer._learning_rate, keras.Variable)


def _native(optimizer: Any, variables: Sequence[Any]) -> Callable[[Any, Slots], Update] | None:
    """The entry of the table, unless the optimizer does something that only Keras' own `apply` does."""
    base: Any = next((cls for cls in type(optimizer).__mro__ if cls in OPTIMIZERS), None)
    if base is None or optimizer.use_ema or optimizer.gradient_accumulation_steps or optimizer.loss_scale_factor:
        return None
    ours = type(optimizer).update_step in (base.update_step, CoupledWeightDecay.update_step)
    special = any(v.constraint is not None or v.dtype not in ("float32", "float64") for v in variables)
    special = special or len({v.dtype for v in variables}) > 1
    special = special or any(getattr(v, "overwrite_with_gradient", False) for v in variables)
    return OPTIMIZERS[base] if ours and type(optimizer).apply is base.apply and not special else None


def _keras_apply(optimizer: Any, variables: Sequence[Any], layouts: Sequence[Layout]) -> Callable[..., None]:
    def apply(gradients: Sequence[Tensor | None]) -> None:
        with torch.no_grad():
            optimizer.apply([_keras_order(g, y) for g, y in zip(gradients, layouts, strict=True)], variables)

    return apply


def _keras_order(gradient: Tensor | None, layout: Layout) -> Tensor | None:
    if gradient is None or not layout.order:
        return gradient
    return gradient.permute([layout.order.index(axis) for axis in range(gradient.ndim)])


def _aligned(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The fused kernels walk through memory: a gradient must lie in it as the parameter does."""
    if gradient.stride() == parameter.stride() and gradient.dtype == parameter.dtype:
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _learning_rate(optimizer: Any, like: Tensor) -> Tensor:
    rate = optimizer._get_current_learning_rate()
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


def sgd(opt: Any, slots: Slots) -> Update:
    momentums = slots("momentums") if opt.momentum else []

    def update(p: Tensors, g: Tensors, rate: Tensor, t: Tensor) -> None:
        if not rate.is_cuda and not opt.nesterov:
            # Keras' momentum holds the learning rate, torch's does not: a "dampening" of 1 + rate puts it there.
            speed = float(rate)
            lr, dampening = (-1.0, 1.0 + speed) if momentums else (speed, 0.0)
            return torch._fused_sgd_(
                p,
                g,
                momentums,
                weight_decay=0.0,
                momentum=opt.momentum,
                lr=lr,
                dampening=dampening,
                nesterov=False,
                maximize=False,
                is_first_step=False,
            )
        torch._foreach_mul_(g, rate)
        if not momentums:
            torch._foreach_sub_(p, g)
            return
        torch._foreach_mul_(momentums, opt.momentum)
        torch._foreach_sub_(momentums, g)
        if opt.nesterov:
            torch._foreach_sub_(p, g)
        torch._foreach_add_(p, momentums, alpha=opt.momentum if opt.nesterov else 1.0)

    return update


def adam(opt: Any, slots: Slots) -> Update:
    m, v = slots("_momentums"), slots("_velocities")
    largest = slots("_velocity_hats") if opt.amsgrad else []

    def update(p: Tensors, g: Tensors, rate: Tensor, t: Tensor) -> None:
        if not rate.is_cuda and not largest:
            # Keras adds epsilon before the bias correction of the denominator, torch after it.
            epsilon = opt.epsilon / math.sqrt(1 - opt.beta_2 ** int(t))
            return torch._fused_adam_(
                p,
                g,
                m,
                v,
                [],
                [t.float()] * len(p),
                lr=float(rate),
                beta1=opt.beta_1,
                beta2=opt.beta_2,
                weight_decay=0.0,
                eps=epsilon,
                amsgrad=False,
                maximize=False,
            )
        torch._foreach_lerp_(m, g, 1 - opt.beta_1)
        torch._foreach_mul_(v, opt.beta_2)
        torch._foreach_addcmul_(v, g, g, 1 - opt.beta_2)
        if largest:
            torch._foreach_maximum_(largest, v)
        alpha = rate * (1 - opt.beta_2**t).sqrt() / (1 - opt.beta_1**t)
        _divided(p, torch._foreach_mul(m, alpha), torch._foreach_sqrt(largest or v), opt.epsilon)

    return update


def _divided(p: Tensors, numerators: TensorsLike, denominators: TensorsLike, epsilon: float) -> None:
    """p -= numerators / (denominators + epsilon)"""
    torch._foreach_add_(denominators, epsilon)
    torch._foreach_addcdiv_(p, numerators, denominators, -1.0)


def nadam(opt: Any, slots: Slots) -> Update:
    m, v, product = slots("_momentums"), slots("_velocities"), opt._u_product.value.detach()

    def update(p: Tensors, g: Tensors, rate: Tensor, t: Tensor) -> None:
        now, following = (opt.beta_1 * (1 - 0.5 * 0.96 ** (t + i)) for i in (0, 1))
        product.mul_(now)
        torch._foreach_lerp_(m, g, 1 - opt.beta_1)
        torch._foreach_mul_(v, opt.beta_2)
        torch._foreach_addcmul_(v, g, g, 1 - opt.beta_2)
        torch._foreach_mul_(g, rate * (1 - now) / (1 - product))
        torch._foreach_add_(g, torch._foreach_mul(m, rate * following / (1 - product * following)))
        _divided(p, g, torch._foreach_sqrt(torch._foreach_div(v, 1 - opt.beta_2**t)), opt.epsilon)

    return update


def adamax(opt: Any, slots: Slots) -> Update:
    m, largest = slots("_m"), slots("_u")

    def update(p: Tensors, g: Tensors, rate: Tensor, t: Tensor) -> None:
        torch._foreach_lerp_(m, g, 1 - opt.beta_1)
        torch._foreach_mul_(largest, opt.beta_2)
        torch._foreach_maximum_(largest, torch._foreach_abs(g))
        _divided(p, torch._foreach_mul(m, rate / (1 - opt.beta_1**t)), torch._foreach_mul(largest, 1.0), opt.epsilon)

    return update


def adagrad(opt: Any, slots: Slots) -> Update:
    sums = slots("_accumulators")

    def update(p: Tensors, g: Tensors, rate: Tensor, t: Tensor) -> None:
        torch._foreach_addcmul_(sums, g, g, 1.0)
        roots = torch._foreach_add(sums, opt.epsilon)
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(p, torch._foreach_mul(g, rate), roots, -1.0)

    return update


def adadelta(opt: Any, slots: Slots) -> Update:
    squares, deltas = slots("_accumulated_grads"), slots("_accumulated_delta_vars")

    def update(p: Tensors, g: Tensors, rate: Tensor, t: Tensor) -> None:
        torch._foreach_mul_(squares, opt.rho)
        torch._foreach_addcmul_(squares, g, g, 1 - opt.rho)
        delta = torch._foreach_add(deltas, opt.epsilon)
        torch._foreach_div_(delta, torch._foreach_add(squares, opt.epsilon))
        torch._foreach_sqrt_(delta)
        torch._foreach_mul_(delta, g)
        torch._foreach_mul_(deltas, opt.rho)
        torch._foreach_addcmul_(deltas, delta, delta, 1 - opt.rho)
        torch._foreach_sub_(p, torch._foreach_mul(delta, rate))

    return update


def rmsprop(opt: Any, slots: Slots) -> Update:
    squares = slots("_velocities")
    momentums = slots("_momentums") if opt.momentum else []
    means = slots("_average_gradients") if opt.centered else []

    def update(p: Tensors, g: Tensors, rate: Tensor, t: Tensor) -> None:
        torch._foreach_mul_(squares, opt.rho)
        torch._foreach_addcmul_(squares, g, g, 1 - opt.rho)
        roots = torch._foreach_add(squares, opt.epsilon)
        if means:
            torch._foreach_lerp_(means, g, 1 - opt.rho)
            torch._foreach_addcmul_(roots, means, means, -1.0)
        torch._foreach_sqrt_(roots)
        increments = torch._foreach_div(torch._foreach_mul(g, rate), roots)
        if momentums:
            torch._foreach_mul_(momentums, opt.momentum)
            torch._foreach_add_(momentums, increments)
        torch._foreach_sub_(p, momentums or increments)

    return update


def lion(opt: Any, slots: Slots) -> Update:
    m = slots("_momentums")

    def update(p: Tensors, g: Tensors, rate: Tensor, t: Tensor) -> None:
        signs = torch._foreach_sign(torch._foreach_lerp(m, g, 1 - opt.beta_1))
        torch._foreach_sub_(p, torch._foreach_mul(signs, rate))
        torch._foreach_lerp_(m, g, 1 - opt.beta_2)

    return update


OPTIMIZERS: dict[type, Callable[[Any, Slots], Update]] = {
    K.SGD: sgd,
    K.Adam: adam,
    K.AdamW: adam,
    K.Nadam: nadam,
    K.Adamax: adamax,
    K.Adagrad: adagrad,
    K.Adadelta: adadelta,
    K.RMSprop: rmsprop,
    K.Lion: lion,
}
