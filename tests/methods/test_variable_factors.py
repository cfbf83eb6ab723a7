"""Factors on rate and decay by kind of variable, and torch's momentum: 50 steps at changing rates are torch's."""

import keras
import numpy as np
import pytest
import torch
from keras import ops

from kcnn.errors import UsageError
from kcnn.methods.optimizers import OPTIMIZERS, factors_by_kind, make_optimizer
from kcnn.models.registry import build_model
from kcnn.recipes.recipe import Recipe
from kcnn.training.construct import compile_model

STEPS, SHAPES = 50, {"kernel": (6, 5), "beta": (5,), "bias": (3,)}
RATES = np.interp(range(STEPS), [0, 12, STEPS], [0.004, 0.02, 0.0014])


def start_values():
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def gradients(step):
    rng = np.random.default_rng(step + 1)
    return [rng.normal(size=shape).astype(np.float32) for shape in SHAPES.values()]


def ours(name="sgd", **numbers):
    """The variables after all steps, at changing rates."""
    optimizer = make_optimizer(name, 1.0, **numbers)
    variables = [keras.Variable(value, name=key) for key, value in start_values().items()]
    optimizer.build(variables)
    for step, rate in enumerate(RATES):
        optimizer.learning_rate = rate
        optimizer.apply([ops.convert_to_tensor(gradient) for gradient in gradients(step)])
    return [ops.convert_to_numpy(variable) for variable in variables]


def torchs(make, factors, decays, decay=0.0):
    """The same with one group of torch's for each variable."""
    parameters = [torch.nn.Parameter(torch.from_numpy(value)) for value in start_values().values()]
    groups = [{"params": [p], "weight_decay": decay * d} for p, d in zip(parameters, decays, strict=True)]
    optimizer = make(groups)
    for step, rate in enumerate(RATES):
        for group, factor in zip(optimizer.param_groups, factors, strict=True):
            group["lr"] = rate * factor
        for parameter, gradient in zip(parameters, gradients(step), strict=True):
            parameter.grad = torch.from_numpy(gradient)
        optimizer.step()
    return [parameter.detach().numpy() for parameter in parameters]


def close(found, expected, tolerance=1e-6):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=10 * tolerance, atol=tolerance)


PLAIN, MIXED = ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]), ([1.0, 8.0, 0.5], [1.0, 0.125, 0.0])


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize(("factors", "decays"), [PLAIN, MIXED])
def test_momentum_of_gradients_is_torchs(nesterov, decay, factors, decays):
    numbers = {"momentum": 0.85, "nesterov": nesterov}
    found = ours(**numbers, momentum_of="gradients", weight_decay=decay, rates=factors, decay_factors=decays)
    close(found, torchs(lambda groups: torch.optim.SGD(groups, lr=1.0, **numbers), factors, decays, decay))


def test_momentum_of_steps_is_another_where_the_rate_changes():
    steps, sums = (ours(momentum=0.85, momentum_of=kind) for kind in ("steps", "gradients"))
    assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(steps, sums, strict=True))


def test_factors_without_momentum():
    factors, decays = MIXED
    found = ours(weight_decay=0.05, rates=factors, decay_factors=decays)
    close(found, torchs(lambda groups: torch.optim.SGD(groups, lr=1.0), factors, decays, 0.05))


def test_decoupled_decay_has_its_factors():
    """torch's AdamW decays by each group's rate; ours by the whole rate, so the rates are the same here."""
    _, decays = MIXED
    found = ours("adamw", decoupled_weight_decay=2.0, decay_factors=decays)
    close(found, torchs(lambda groups: torch.optim.AdamW(groups, lr=1.0, eps=1e-7), [1, 1, 1], decays, 2.0), 1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rate_of_zero_keeps_a_variable(name):
    numbers = {"momentum": 0.9, "momentum_of": "gradients"} if name == "sgd" else {}
    found = ours(name, weight_decay=0.1, rates=[1.0, 0.0, 1.0], **numbers)
    moved = [(a != b).all() for a, b in zip(found, start_values().values(), strict=True)]
    assert moved == [True, False, True]
    np.testing.assert_array_equal(found[1], start_values()["beta"])


def test_kinds_of_variables():
    model = build_model("convnet", (8, 8, 1))
    found = factors_by_kind(model.trainable_variables, {"shift": 64, "kernel": 2, "scale": 0.5})
    names = {"kernel": 2, "bias": 1, "gamma": 0.5, "beta": 64}
    assert found == [names[variable.name] for variable in model.trainable_variables]
    assert set(found) == {64, 2, 0.5, 1}


def test_a_recipe_sets_them_all():
    model = build_model("speednet", (16, 16, 1), size="small")
    numbers = {"weight_decay": 0.1, "momentum_of": "gradients", "backbone_rate": 0.5}
    factors = {"rate_factors": {"shift": 64}, "decay_factors": {"shift": 0.25}}
    compile_model(model, Recipe.of({"model": "speednet", **numbers, **factors}))
    rates = dict(zip((v.path for v in model.trainable_variables), model.optimizer.rates, strict=True))
    assert rates["norm2_1/beta"] == 32
    assert rates["conv2_1/kernel"] == 0.5
    assert rates["logits/kernel"] == 1
    assert set(model.optimizer.decay_factors) == {1.0, 0.25}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rate_factors": {"shfit": 2}}, "unknown kind of variable 'shfit'. Did you mean 'shift'"),
        ({"decay_factors": {"bias": -1}}, "the factor of bias must be a number from 0"),
        ({"rate_factors": {"bias": "2"}}, "received '2'"),
        ({"rate_factors": 3}, "rate_factors must be a table"),
        ({"momentum_of": "gradient"}, "Did you mean 'gradients'"),
        ({"momentum_of": "gradients", "optimizer": "adam"}, "momentum_of gradients needs optimizer sgd"),
    ],
)
def test_wrong_values_are_told(values, words):
    with pytest.raises(UsageError, match=words.replace(".", r"\.")):
        Recipe.of(values)
