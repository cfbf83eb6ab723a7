"""Convolutions by Winograd's method."""

import pytest
import torch
import torch.nn.functional as F
from twins import assert_close, batches, convolutional, pair, train_both

from kcnn.native.cpu import winograd


@pytest.mark.parametrize(("side", "padding"), [(2, 1), (4, 1), (7, 1), (9, 0)])
def test_winograd_is_the_convolution(side, padding):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(70, 5, side, side, generator=generator).requires_grad_()
    kernel = torch.randn(3, 3, 5, 6, generator=generator).requires_grad_()
    bias = torch.randn(6, generator=generator).requires_grad_()
    got = winograd.convolve(x, kernel, bias, padding)
    exact = [t.detach().double().requires_grad_() for t in (x, kernel, bias)]
    expected = F.conv2d(exact[0], exact[1].permute(3, 2, 0, 1), exact[2], padding=padding)
    out = torch.randn(got.shape, generator=generator)
    pairs = zip(
        torch.autograd.grad(got, (x, kernel, bias), out),
        torch.autograd.grad(expected, exact, out.double()),
        strict=True,
    )
    for a, b in [(got, expected), *pairs]:
        assert (a - b).norm() <= 1e-5 * b.norm()


def test_prediction_by_winograd_follows_the_weights(monkeypatch):
    monkeypatch.setattr(winograd, "LEAST_GAIN", 0)
    used = []
    monkeypatch.setattr(winograd, "infer", lambda *args, infer=winograd.infer: used.append(1) or infer(*args))
    stock, fast = pair(convolutional)
    images, targets = batches((8, 8, 3), steps=3)
    for x, y in zip(images, targets, strict=True):
        assert_close([stock.predict(x, verbose=0)], [fast.predict(x, verbose=0)])
        train_both(stock, fast, [x], [y])
    assert len(used) == 3


def test_training_and_prediction_share_the_variables_memory(monkeypatch):
    """Where prediction is by Winograd and training is not: each new layout would cost a lowering."""
    monkeypatch.setattr(winograd, "pays", lambda layer, shape, padding, training: not training)
    stock, fast = pair(convolutional)
    images, targets = batches((8, 8, 3), steps=3)
    places = [variable.value.data_ptr() for variable in fast.weights]
    for x, y in zip(images, targets, strict=True):
        train_both(stock, fast, [x], [y])
        assert_close([stock.predict(x, verbose=0)], [fast.predict(x, verbose=0)])
    assert [variable.value.data_ptr() for variable in fast.weights] == places
