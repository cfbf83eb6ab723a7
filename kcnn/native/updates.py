"""The formulas of Keras' optimizers in torch's kernels for lists of tensors: one function each, and their table.

Each makes, once, the update of all parameters by their gradients; both are changed in place. The state is that of the
Keras optimizer itself, so a saved one means the same with and without acceleration.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from keras import optimizers as K

from kcnn.machine.keras_internals import nadam_product
from kcnn.methods.optimizers import MomentumOfGradients

Tensor = torch.Tensor
Tensors = list[Tensor]
TensorsLike = tuple[Tensor, ...] | list[Tensor]  # what torch's functions for lists give and take
Slots = Callable[[str], Tensors]  # the optimizer's variables of that name, in the order of the parameters
# (parameters, gradients, learning rate, number of this step from 1)
Update = Callable[[Tensors, Tensors, Tensor, Tensor], None]


def sgd(opt: Any, slots: Slots) -> Update:
    """v = momentum v - rate g; p += v, or with Nesterov p += momentum v - rate g; without momentum p -= rate g.

    With `MomentumOfGradients` it is torch's: v = momentum v + g; p -= rate v, or p -= rate (g + momentum v).
    """
    momentums = slots("momentums") if opt.momentum else []
    if isinstance(opt, MomentumOfGradients):
        return partial(_torch_sgd, opt, momentums)

    def update(p: Tensors, g: Tensors, rate: Tensor, t: Tensor) -> None:
        if not rate.is_cuda:
            # Keras' momentum holds the learning rate, torch's does not: a "dampening" of 1 + rate puts it there.
            speed = float(rate)
            lr, dampening = (-1.0, 1.0 + speed) if momentums else (speed, 0.0)
            if opt.nesterov:  # the step holds the gradient too
                torch._foreach_mul_(g, -speed)
                dampening = 0.0
            return torch._fused_sgd_(
                p,
                g,
                momentums,
                weight_decay=0.0,
                momentum=opt.momentum,
                lr=lr,
                dampening=dampening,
                nesterov=opt.nesterov,
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


def _torch_sgd(opt: Any, momentums: Tensors, p: Tensors, g: Tensors, rate: Tensor, t: Tensor) -> None:
    if not rate.is_cuda:
        numbers = {"weight_decay": 0.0, "momentum": opt.momentum, "lr": float(rate), "dampening": 0.0}
        return torch._fused_sgd_(p, g, momentums, **numbers, nesterov=opt.nesterov, maximize=False, is_first_step=False)
    torch._foreach_mul_(momentums, opt.momentum)
    torch._foreach_add_(momentums, g)
    if opt.nesterov:
        torch._foreach_add_(g, momentums, alpha=opt.momentum)
    torch._foreach_sub_(p, torch._foreach_mul(g if opt.nesterov else momentums, rate))


def adam(opt: Any, slots: Slots) -> Update:
    """Kingma and Ba 2014; also AdamW, whose decay comes before. Keras adds epsilon before the bias correction."""
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
    """Dozat 2016: Adam with Nesterov's momentum, which rises with 0.96^t."""
    m, v, product = slots("_momentums"), slots("_velocities"), nadam_product(opt).value.detach()

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
    """Kingma and Ba 2014, section 7: the largest gradient so far in the place of Adam's second moment."""
    m, largest = slots("_m"), slots("_u")

    def update(p: Tensors, g: Tensors, rate: Tensor, t: Tensor) -> None:
        torch._foreach_lerp_(m, g, 1 - opt.beta_1)
        torch._foreach_mul_(largest, opt.beta_2)
        torch._foreach_maximum_(largest, torch._foreach_abs(g))
        _divided(p, torch._foreach_mul(m, rate / (1 - opt.beta_1**t)), torch._foreach_mul(largest, 1.0), opt.epsilon)

    return update


def adagrad(opt: Any, slots: Slots) -> Update:
    """Duchi et al. 2011: p -= rate g / √(sum of g² + epsilon)."""
    sums = slots("_accumulators")

    def update(p: Tensors, g: Tensors, rate: Tensor, t: Tensor) -> None:
        torch._foreach_addcmul_(sums, g, g, 1.0)
        roots = torch._foreach_add(sums, opt.epsilon)
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(p, torch._foreach_mul(g, rate), roots, -1.0)

    return update


def adadelta(opt: Any, slots: Slots) -> Update:
    """Zeiler 2012: p -= rate g √(mean of squared steps + epsilon) / √(mean of g² + epsilon)."""
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
    """Hinton 2012: p -= rate g / √(mean of g² + epsilon); centered: minus (mean of g)²."""
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
    """Chen et al. 2023: p -= rate sign(β₁ m + (1 - β₁) g), then m = β₂ m + (1 - β₂) g."""
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
