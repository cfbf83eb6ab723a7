"""Optimizers: 50 steps on a small network equal torch's, with the recipe's numbers."""

import keras
import numpy as np
import pytest
import torch
from keras import ops

from kcnn.methods.optimizers import OPTIMIZERS, make_optimizer

SHAPES = [(6, 5), (5,), (5, 3), (3,)]
STEPS = 50


def start_values():
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]


def gradients(step):
    """Some steps have small gradients, some large, so that clipping has both cases."""
    rng = np.random.default_rng(step + 1)
    return [(0.1 if step % 2 else 2.0) * rng.normal(size=shape).astype(np.float32) for shape in SHAPES]


def ours(name, learning_rate, **numbers):
    optimizer = make_optimizer(name, learning_rate, **numbers)
    variables = [keras.Variable(value) for value in start_values()]
    optimizer.build(variables)
    for step in range(STEPS):
        optimizer.apply([ops.convert_to_tensor(gradient) for gradient in gradients(step)])
    return [ops.convert_to_numpy(variable) for variable in variables]


def torchs(make, clip_norm=0.0):
    parameters = [torch.nn.Parameter(torch.from_numpy(value)) for value in start_values()]
    optimizer = make(parameters)
    for step in range(STEPS):
        for parameter, gradient in zip(parameters, gradients(step), strict=True):
            parameter.grad = torch.from_numpy(gradient)
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
    return [parameter.detach().numpy() for parameter in parameters]


def close(found, expected, tolerance):
    moved = [np.abs(value - start).max() for value, start in zip(expected, start_values(), strict=True)]
    assert min(moved) > 100 * tolerance
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"weight_decay": 0.05},
        {"momentum": 0.9, "weight_decay": 0.05},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.05},
    ],
)
def test_sgd_is_torchs(numbers):
    expected = torchs(lambda parameters: torch.optim.SGD(parameters, lr=0.01, **numbers))
    close(ours("sgd", 0.01, **numbers), expected, 1e-5)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_adam_is_torchs(weight_decay):
    # Keras' epsilon is 1e-7 beside an uncorrected root, torch's 1e-8 beside a corrected one: in the first steps they
    # differ by 1e-7 / sqrt(1 - 0.999) = 3e-6 beside gradients of 0.1 to 2, times the rate and at most 50 steps.
    expected = torchs(lambda parameters: torch.optim.Adam(parameters, lr=0.01, weight_decay=weight_decay))
    close(ours("adam", 0.01, weight_decay=weight_decay), expected, 5e-5)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw_is_torchs(decay):
    expected = torchs(lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=decay))
    close(ours("adamw", 0.01, decoupled_weight_decay=decay), expected, 5e-5)


def test_clipping_is_by_the_norm_of_all_gradients():
    numbers = {"momentum": 0.9, "weight_decay": 0.05}
    norms = [np.sqrt(sum((gradient**2).sum() for gradient in gradients(step))) for step in range(STEPS)]
    assert min(norms) < 3 < max(norms)
    expected = torchs(lambda parameters: torch.optim.SGD(parameters, lr=0.01, **numbers), clip_norm=3)
    close(ours("sgd", 0.01, clip_norm=3, **numbers), expected, 1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_every_optimizer_lowers_a_loss(name, weight_decay):
    optimizer = make_optimizer(name, 1.0 if name == "adadelta" else 0.01, momentum=0.9, weight_decay=weight_decay)
    variable = keras.Variable(np.full((4,), 3.0, np.float32))
    optimizer.build([variable])
    for _ in range(STEPS):
        optimizer.apply([ops.convert_to_tensor(variable) * 1.0])  # of half the square
    assert 0 < float(ops.max(ops.abs(variable))) < 3


def test_no_weight_decay_unless_asked():
    """AdamW's own default is 0.004."""
    optimizer = make_optimizer("adamw", 0.1)
    variable = keras.Variable(np.ones((3,), np.float32))
    optimizer.build([variable])
    optimizer.apply([ops.zeros((3,))])
    np.testing.assert_array_equal(ops.convert_to_numpy(variable), 1)
