"""Fifty steps of each optimizer against torch's of the same name, as far apart as kcnn.methods.optimizers says."""

import keras
import numpy as np
import pytest
import torch

from kcnn.methods.optimizers import OPTIMIZERS, make_optimizer

STEPS, RATE = 50, 0.01

# Name → torch's optimizer with Keras' numbers, and the largest relative distance after 50 steps, which the different
# place of epsilon makes.
TORCH = {
    "sgd": (lambda p: torch.optim.SGD(p, RATE), 1e-6),
    "adam": (lambda p: torch.optim.Adam(p, RATE, eps=1e-7), 1e-5),
    "adamw": (lambda p: torch.optim.AdamW(p, RATE, eps=1e-7, weight_decay=0), 1e-5),
    "nadam": (lambda p: torch.optim.NAdam(p, RATE, eps=1e-7, momentum_decay=1.0), 1e-5),
    "adamax": (lambda p: torch.optim.Adamax(p, RATE, eps=1e-7), 1e-5),
    "adagrad": (lambda p: torch.optim.Adagrad(p, RATE, eps=1e-7, initial_accumulator_value=0.1), 1e-5),
    "adadelta": (lambda p: torch.optim.Adadelta(p, 100 * RATE, rho=0.95, eps=1e-7), 1e-5),
    "rmsprop": (lambda p: torch.optim.RMSprop(p, RATE, alpha=0.9, eps=1e-7), 1e-5),
}


def _gradients(start):
    """Of the quadratic bowls ½ aᵢ (xᵢ - 1)², at x."""
    slopes = np.linspace(0.5, 3, start.size, dtype=np.float32).reshape(start.shape)
    return lambda x: slopes * (x - 1)


def _keras_steps(optimizer, start):
    variable, gradient = keras.Variable(start), _gradients(start)
    for _ in range(STEPS):
        value = keras.ops.convert_to_numpy(variable)
        optimizer.apply([keras.ops.convert_to_tensor(gradient(value))], [variable])
    return keras.ops.convert_to_numpy(variable)


def _torch_steps(make, start):
    parameter, gradient = torch.nn.Parameter(torch.tensor(start)), _gradients(start)
    optimizer = make([parameter])
    for _ in range(STEPS):
        parameter.grad = torch.from_numpy(gradient(parameter.detach().numpy()))
        optimizer.step()
    return parameter.detach().numpy()


@pytest.fixture
def start():
    return np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)


def test_every_optimizer_has_a_reference():
    assert set(OPTIMIZERS) == {*TORCH, "lion"}


@pytest.mark.parametrize("name", TORCH)
def test_fifty_steps_are_torchs(name, start):
    make, tolerance = TORCH[name]
    rate = 100 * RATE if name == "adadelta" else RATE  # its first steps are tiny
    found, expected = _keras_steps(make_optimizer(name, rate), start), _torch_steps(make, start)
    assert np.abs(expected - start).max() > 1e-3  # it moved
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_lion_is_its_papers_formula(start):
    x, momentum, gradient = start.copy(), np.zeros_like(start), _gradients(start)
    for _ in range(STEPS):
        g = gradient(x)
        x = x - RATE * np.sign(0.9 * momentum + 0.1 * g)
        momentum = 0.99 * momentum + 0.01 * g
    np.testing.assert_allclose(_keras_steps(make_optimizer("lion", RATE), start), x, rtol=1e-5, atol=1e-5)


def test_adamw_decays_decoupled(start):
    make = lambda p: torch.optim.AdamW(p, RATE, eps=1e-7, weight_decay=0.1)  # noqa: E731
    found = _keras_steps(make_optimizer("adamw", RATE, decoupled_weight_decay=0.1), start)
    np.testing.assert_allclose(found, _torch_steps(make, start), rtol=1e-5, atol=1e-5)
    assert np.abs(found - _keras_steps(make_optimizer("adamw", RATE), start)).max() > 1e-3
