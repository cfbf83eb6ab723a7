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

SGD's momentum buffer holds the learning rate in Keras and not in torch: after a change of the rate the old one lives on
in it for about 1 / (1 - momentum) steps.
"""

from collections.abc import Sequence
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


class CoupledWeightDecay:
    """Mix-in for a Keras optimizer class: adds `coupled_weight_decay * variable` to every gradient, after clipping."""

    coupled_weight_decay = 0.0

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        import keras

        decay = keras.ops.cast(self.coupled_weight_decay, gradient.dtype)
        gradient = gradient + decay * keras.ops.convert_to_tensor(variable)
        super().update_step(gradient, variable, learning_rate)  # type: ignore[misc]


class VariableRates:
    """Mix-in for a Keras optimizer class: a factor on the learning rate of each variable, in the optimizer's order.

    Decoupled weight decay goes by the whole learning rate.
    """

    rates: Sequence[float] = ()

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = learning_rate * self.rates[self._get_variable_index(variable)]  # type: ignore[attr-defined]
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


@cache
def averaging(base: type) -> type:
    """The subclass of a Keras optimizer class that has `WideAverages`."""
    return type(base.__name__, (WideAverages, base), {})


@cache
def rated(base: type) -> type:
    """The subclass of a Keras optimizer class that has `VariableRates`."""
    return type(base.__name__, (VariableRates, base), {})


@cache
def coupled(base: type) -> type:
    """The subclass of a Keras optimizer class that has torch's coupled weight decay."""
    return type(base.__name__, (CoupledWeightDecay, base), {})


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
    rates: Sequence[float] | None = None,
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
        rates: a factor on the learning rate for each variable, in the order in which the optimizer is built.
    """
    import keras

    base = getattr(keras.optimizers, OPTIMIZERS[name])
    own = {"sgd": {"momentum": momentum, "nesterov": nesterov}, "rmsprop": {"momentum": momentum}}.get(name, {})
    kind = averaging(base) if ema else base
    kind = coupled(kind) if weight_decay else kind
    optimizer = (rated(kind) if rates else kind)(
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
    if weight_decay:
        optimizer.coupled_weight_decay = weight_decay
    if rates:
        optimizer.rates = rates
    return optimizer
