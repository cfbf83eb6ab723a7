"""The optimizers in native kernels against Keras' own: weights, and the optimizer's state."""

import keras
import pytest
from twins import parity, small

from kcnn.methods.optimizers import OPTIMIZERS, coupled


@pytest.mark.parametrize("options", [{}, {"coupled": 5e-2}, {"weight_decay": 0.1, "global_clipnorm": 0.5}])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_that_of_keras(name, options):
    options = dict(options)
    decay = options.pop("coupled", 0.0)

    def optimizer():
        base = getattr(keras.optimizers, OPTIMIZERS[name])
        made = coupled(base)(1e-2, **options) if decay else base(1e-2, **options)
        made.coupled_weight_decay = decay
        return made

    parity(small, optimizer)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"momentum": 0.9}),
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("SGD", {"momentum": 0.9, "clipnorm": 0.1}),
        ("SGD", {"momentum": 0.9, "clipvalue": 0.01}),
        ("Adam", {"amsgrad": True}),
        ("RMSprop", {"momentum": 0.9, "centered": True}),
        ("SGD", {"momentum": 0.9, "use_ema": True, "ema_momentum": 0.8}),
        ("SGD", {"momentum": 0.9, "use_ema": True, "ema_overwrite_frequency": 3}),
        ("Adam", {"gradient_accumulation_steps": 2}),
    ],
)
def test_options_of_optimizers(name, options):
    parity(small, lambda: getattr(keras.optimizers, name)(1e-2, **options))
