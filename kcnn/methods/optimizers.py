"""Recipe numbers → a Keras optimizer.

`weight_decay` is torch's coupled L2 (`gradient + weight_decay * weight`), as in the reports. Keras' own argument
of that name is the decoupled kind of AdamW (`weight *= 1 - learning_rate * weight_decay`): here
`decoupled_weight_decay`.

SGD is torch's, up to rounding. How Keras' other formulas differ from torch's, for the same numbers:

| optimizer | Keras | torch |
|---|---|---|
| adam, adamw, nadam | epsilon 1e-7, added before the bias correction of the denominator | 1e-8, added after it |
| adamw | decays by 0 unless the recipe says otherwise (0.004 in Keras) | 0.01 |
| nadam | momentum rises with 0.96^t | with 0.96^(0.004 t): equal to Keras for `momentum_decay=1` |
| adamax | divides by max(β₂u, abs(g)) + epsilon | by max(β₂u, abs(g) + epsilon) |
| adagrad | accumulators begin at 0.1; divides by √(sum + epsilon) | begin at 0; by √sum + epsilon |
| adadelta | epsilon 1e-7 | 1e-6 |
| rmsprop | decay 0.9; divides by √(mean + epsilon) | 0.99; by √mean + epsilon |
| lion | Chen et al. 2023, "Symbolic discovery of optimization algorithms" | not in torch |

SGD's momentum sums steps in Keras and gradients in torch: after a change of the rate the old one lives on in Keras'
for about 1 / (1 - momentum) steps. `momentum_of = "gradients"` is torch's; where the rate changes at every step, a run
that repeats a published one wants it.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

# Name in a recipe → class name in keras.optimizers.
OPTIMIZERS = {
    "sgd": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
    "nadam": "Nadam",
    "adamax": "Adamax",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "rmsprop": "RMSprop",
    "lion": "Lion",
}


MOMENTA = ("steps", "gradients")  # what sgd's momentum sums
# Kinds of variables, with their names in Keras, for factors on the learning rate and on weight decay.
KINDS = {
    "kernel": ("kernel", "depthwise_kernel", "pointwise_kernel"),
    "bias": ("bias",),
    "scale": ("gamma",),  # of norms
    "shift": ("beta",),
}


class Factored:
    """What mix-ins share that have a factor for each variable, in the order in which the optimizer is built."""

    decay_factors: Sequence[float] = ()  # on weight decay of either sort; empty: all 1
    rates: Sequence[float] = ()  # on the learning rate

    def factor(self, factors: Sequence[float], variable: Any) -> float:
        """The variable's entry."""
        return factors[self._get_variable_index(variable)] if factors else 1.0  # type: ignore[attr-defined]


class CoupledWeightDecay(Factored):
    """Mix-in for a Keras optimizer class: adds `coupled_weight_decay * variable` to every gradient, after clipping."""

    coupled_weight_decay = 0.0

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        import keras

        decay = self.coupled_weight_decay * self.factor(self.decay_factors, variable)
        decayed = keras.ops.cast(decay, gradient.dtype) * keras.ops.convert_to_tensor(variable)
        super().update_step(gradient + decayed, variable, learning_rate)  # type: ignore[misc]


class DecoupledWeightDecay(Factored):
    """Mix-in for a Keras optimizer class: Keras' own decay, which goes by the whole learning rate, with the factors."""

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        import keras

        for variable in variables:
            decay = self.weight_decay * self.factor(self.decay_factors, variable)  # type: ignore[attr-defined]
            rate = keras.ops.cast(self.learning_rate, variable.dtype)  # type: ignore[attr-defined]
            variable.assign(variable - variable * (decay * rate))


class VariableRates(Factored):
    """Mix-in for a Keras optimizer class: the factors on the learning rate."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = learning_rate * self.factor(self.rates, variable)
        super().update_step(gradient, variable, rate)  # type: ignore[misc]


class WideAverages:
    """Mix-in for a Keras optimizer class: the moving averages of weights in half precision are kept in float32.

    Keras' own have the weights' dtype, and bfloat16 rounds a decay of 0.999 to 1: they would never move.
    """

    def add_variable_from_reference(self, reference_variable: Any, name: Any = None, initializer: Any = "zeros") -> Any:
        make: Any = super()
        if name != "average" or reference_variable.dtype not in ("bfloat16", "float16"):
            return make.add_variable_from_reference(reference_variable, name, initializer)
        name = f"{reference_variable.path.replace('/', '_')}_average"
        return make.add_variable(reference_variable.shape, initializer, dtype="float32", name=name)

    def _update_model_variables_moving_average(self, trainable_variables: Sequence[Any]) -> None:
        from keras import ops

        averages: Any = self._model_variables_moving_average  # type: ignore[attr-defined]
        later = ops.not_equal(self.iterations, 0)  # type: ignore[attr-defined]
        for variable, average in zip(trainable_variables, averages, strict=True):
            decay = ops.cast(later, average.dtype) * self.ema_momentum  # type: ignore[attr-defined]
            average.assign(decay * average + (1 - decay) * ops.cast(variable, average.dtype))


class MomentumOfGradients:
    """Mix-in for Keras' SGD, torch's: v = momentum v + g; p -= rate v, or with Nesterov p -= rate (g + momentum v)."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        import keras

        velocity: Any = self.momentums[self._get_variable_index(variable)]  # type: ignore[attr-defined]
        momentum, rate = (keras.ops.cast(x, variable.dtype) for x in (self.momentum, learning_rate))  # type: ignore[attr-defined]
        velocity.assign(velocity * momentum + gradient)
        step = gradient + velocity * momentum if self.nesterov else velocity  # type: ignore[attr-defined]
        variable.assign(variable - step * rate)


MIXINS = (Factored, CoupledWeightDecay, DecoupledWeightDecay, VariableRates, WideAverages, MomentumOfGradients)


def factors_by_kind(variables: Sequence[Any], factors: Mapping[str, float]) -> list[float]:
    """The factor of each Keras variable by its kind, see `KINDS`; 1 for kinds that are not named."""
    named = {name: factor for kind, factor in factors.items() for name in KINDS[kind]}
    return [named.get(variable.name, 1.0) for variable in variables]


@cache
def mixed(base: type, *mixins: type) -> type:
    """The subclass of a Keras optimizer class with these mix-ins, the first outermost; the class itself without any."""
    return type(base.__name__, (*mixins, base), {}) if mixins else base


def coupled(base: type) -> type:
    """The subclass of a Keras optimizer class that has torch's coupled weight decay."""
    return mixed(base, CoupledWeightDecay)


def make_optimizer(
    name: str,
    learning_rate: float,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decoupled_weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    gradient_accumulation_steps: int = 1,
    ema: float = 0.0,
    momentum_of: str = "steps",
    rates: Sequence[float] = (),
    decay_factors: Sequence[float] = (),
) -> Any:
    """A Keras optimizer.

    Args:
        name: a key of `OPTIMIZERS`.
        momentum: of sgd and rmsprop; the others have their own and ignore it.
        nesterov: of sgd.
        weight_decay: coupled; `decoupled_weight_decay`: decoupled; 0 for none.
        clip_norm: largest norm of all gradients together, as torch's `clip_grad_norm_`; 0 for no clipping.
        gradient_accumulation_steps: steps whose mean gradient makes one update.
        ema: decay of a moving average of the weights, kept beside them (see `kcnn.training.callbacks.ema`); 0 for none.
        momentum_of: what sgd's momentum sums: "steps", as in Keras, or "gradients", as in torch.
        rates, decay_factors: factors on the learning rate and on either weight decay, one a variable in the order in
            which the optimizer is built; empty: all 1.
    """
    import keras

    base = getattr(keras.optimizers, OPTIMIZERS[name])
    own = {"sgd": {"momentum": momentum, "nesterov": nesterov}, "rmsprop": {"momentum": momentum}}.get(name, {})
    mixins = {
        CoupledWeightDecay: weight_decay,
        DecoupledWeightDecay: decoupled_weight_decay and decay_factors,
        VariableRates: rates,
        WideAverages: ema,
        MomentumOfGradients: name == "sgd" and momentum and momentum_of == "gradients",
    }
    optimizer = mixed(base, *(mixin for mixin, wanted in mixins.items() if wanted))(
        learning_rate=learning_rate,
        # AdamW's own default is 0.004: say 0 where the recipe does.
        weight_decay=decoupled_weight_decay or (0.0 if name == "adamw" else None),
        global_clipnorm=clip_norm or None,
        gradient_accumulation_steps=gradient_accumulation_steps if gradient_accumulation_steps > 1 else None,
        use_ema=ema > 0,
        ema_momentum=ema or 0.99,
        **own,
    )
    # Keras would end every fit with the average in the place of the weights, and so every stage of a run.
    optimizer.finalize_variable_values = lambda variables: None
    # As plain attributes: Keras' optimizers take no arguments of a subclass.
    optimizer.coupled_weight_decay = weight_decay
    optimizer.rates, optimizer.decay_factors = list(rates), list(decay_factors)
    return optimizer
