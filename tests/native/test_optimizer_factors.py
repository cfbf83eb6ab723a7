"""The native step with a rate and a decay for each variable, and torch's momentum: Keras' own path, and plain torch."""

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops

from kcnn.methods.optimizers import OPTIMIZERS, factors_by_kind, make_optimizer
from kcnn.native import optimizers as native
from kcnn.native.acceleration import accelerate

STEPS = 50


def network():
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


def compiled(model, name="sgd", **numbers):
    kinds = {"shift": 8.0, "bias": 0.5}, {"shift": 0.125, "scale": 0.0}
    rates, decays = (factors_by_kind(model.trainable_variables, factors) for factors in kinds)
    optimizer = make_optimizer(name, 0.01, rates=rates, decay_factors=decays, **numbers)
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True))
    return model


def batch(step):
    rng = np.random.default_rng(step)
    return rng.normal(size=(8, 6, 6, 2)).astype("float32"), np.eye(3, dtype="float32")[rng.integers(0, 3, 8)]


NUMBERS = [
    {"weight_decay": 0.1},
    {"decoupled_weight_decay": 0.5},
    {"weight_decay": 0.1, "ema": 0.9, "clip_norm": 0.5},
]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("numbers", NUMBERS)
def test_it_is_keras_own_path(name, numbers, monkeypatch):
    keras.utils.set_random_seed(0)
    if name == "sgd":
        numbers = {**numbers, "momentum": 0.9, "nesterov": True}
    stock, fast = (compiled(network(), name, **numbers) for _ in range(2))
    fast.set_weights(stock.get_weights())
    used = counted(monkeypatch)
    assert accelerate(fast)
    for step in range(5):
        for model in (stock, fast):
            model.optimizer.learning_rate = 0.01 / (1 + step)
            model.train_on_batch(*batch(step))
    assert len(used) == (5 if name == "nadam" else 0)  # its product of momenta advances once a step
    for a, b in zip(stock.optimizer.variables + stock.weights, fast.optimizer.variables + fast.weights, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(a), ops.convert_to_numpy(b), rtol=1e-3, atol=2e-6)


def counted(monkeypatch):
    """The steps that went through Keras' own `apply`."""
    used = []
    original = native._keras_apply

    def counting(*arguments):
        apply = original(*arguments)
        return lambda gradients: used.append(1) or apply(gradients)

    monkeypatch.setattr(native, "_keras_apply", counting)
    return used


class Plain(torch.nn.Module):
    """The same network, written by hand."""

    def __init__(self, weights):
        super().__init__()
        kernel, gamma, beta, _, _, matrix, bias = map(torch.from_numpy, weights)
        self.kernel, self.matrix = (torch.nn.Parameter(w.clone()) for w in (kernel, matrix))
        self.gamma, self.beta, self.bias = (torch.nn.Parameter(w.clone()) for w in (gamma, beta, bias))

    def forward(self, images):
        x = torch.nn.functional.conv2d(images.permute(0, 3, 1, 2), self.kernel.permute(3, 2, 0, 1))
        x = torch.nn.functional.batch_norm(x, None, None, self.gamma, self.beta, True, eps=1e-3)
        return x.relu().permute(0, 2, 3, 1).flatten(1) @ self.matrix + self.bias


@pytest.mark.parametrize("nesterov", [False, True])
def test_fifty_steps_at_changing_rates_are_a_plain_torch_loop(nesterov, monkeypatch):
    keras.utils.set_random_seed(0)
    numbers = {"momentum": 0.85, "nesterov": nesterov}
    model = compiled(network(), weight_decay=0.1, momentum_of="gradients", **numbers)
    plain = Plain(model.get_weights())
    used = counted(monkeypatch)
    assert accelerate(model)
    factors = {"kernel": (1, 1), "matrix": (1, 1), "gamma": (1, 0), "beta": (8, 0.125), "bias": (0.5, 1)}
    groups = [{"params": [p], "weight_decay": 0.1 * factors[name][1]} for name, p in plain.named_parameters()]
    optimizer = torch.optim.SGD(groups, lr=1.0, **numbers)
    for step, rate in enumerate(np.interp(range(STEPS), [0, 12, STEPS], [0.004, 0.02, 0.0014])):
        images, targets = batch(step)
        model.optimizer.learning_rate = rate
        model.train_on_batch(images, targets)
        for group, (name, _) in zip(optimizer.param_groups, plain.named_parameters(), strict=True):
            group["lr"] = rate * factors[name][0]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(plain(torch.from_numpy(images)), torch.from_numpy(targets)).backward()
        optimizer.step()
    assert not used
    for name, place in {"kernel": 0, "gamma": 1, "beta": 2, "matrix": 5, "bias": 6}.items():
        found = getattr(plain, name).detach().numpy()
        np.testing.assert_allclose(model.get_weights()[place], found, rtol=1e-3, atol=1e-5)
