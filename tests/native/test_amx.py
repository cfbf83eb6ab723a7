"""Convolutions in bfloat16: each form that the processor may be given is the convolution, against float64."""

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from keras import layers

from kcnn.native.acceleration import accelerate
from kcnn.native.cpu import amx

ROUNDING = 4e-3  # half a place of bfloat16's eight, relative to the whole


def near(found, expected):
    assert found.shape == expected.shape
    assert (found.double() - expected).norm() <= ROUNDING * expected.norm()


# (batch, in, out, height, width, kernel, stride, padding), and whether images are laid side by side
ROWS = [
    ((8, 32, 48, 4, 4, 3, 1, 1), True),
    ((12, 32, 32, 7, 3, 3, 2, 1), True),  # not square, and the stride leaves a column over
    ((16, 40, 33, 8, 8, 5, 1, 2), True),
    ((8, 32, 64, 8, 8, 3, 2, 1), True),
    ((8, 32, 32, 1, 1, 3, 1, 1), True),
    ((7, 32, 32, 4, 4, 3, 1, 1), True),  # all of them in one row
    ((4, 32, 32, 13, 13, 3, 1, 1), True),
    ((8, 1024, 120, 4, 4, 3, 1, 1), True),  # a kernel larger than the cache: forward and back, too
    ((12, 1200, 120, 3, 2, 3, 2, 1), True),
    ((3, 32, 32, 4, 4, 3, 1, 1), False),  # too few images
    ((11, 32, 32, 4, 4, 3, 1, 1), False),  # a prime number of images, more than fit a row
    ((8, 32, 32, 4, 4, 3, 1, 0), False),  # other padding
]


def draws(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def against_float64(convolve, sizes, bias=True):
    """Output and gradients of `convolve`, given bfloat16, and F.conv2d's of the same numbers in float64."""
    batch, inputs, outputs, height, width, kernel, stride, padding = sizes
    x = draws(batch, inputs, height, width).to(memory_format=torch.channels_last)
    values = [x, draws(outputs, inputs, kernel, kernel) / (kernel * inputs**0.5), draws(outputs)]
    half = [value.bfloat16().requires_grad_() for value in values][: 3 if bias else 2]
    exact = [value.detach().double().requires_grad_() for value in half]
    found = convolve(*half[:2], half[2] if bias else None, (stride, stride), (padding, padding))
    expected = F.conv2d(*exact, stride=stride, padding=padding)
    out = draws(*expected.shape).bfloat16()
    return (
        (found, *torch.autograd.grad(found, half, out)),
        (expected, *torch.autograd.grad(expected, exact, out.double())),
    )


@pytest.mark.parametrize(("sizes", "together"), ROWS)
def test_images_side_by_side_are_convolved_apart(sizes, together):
    found, expected = against_float64(amx.side_by_side, sizes)
    assert ("SideBySide" in found[0].grad_fn.name()) is together
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    for ours, exact in zip(found, expected, strict=True):
        near(ours, exact)


@pytest.mark.parametrize("frozen", [0, 1])
def test_what_is_not_asked_for_is_not_computed(frozen):
    values = [draws(8, 32, 4, 4).bfloat16(), draws(32, 32, 3, 3).bfloat16()]
    values[1 - frozen].requires_grad_()
    y = amx.side_by_side(*values, None, (1, 1), (1, 1))
    (found,) = torch.autograd.grad(y.sum(), values[1 - frozen])
    exact = [value.detach().double().requires_grad_() for value in values]
    (expected,) = torch.autograd.grad(F.conv2d(*exact, padding=1).sum(), exact[1 - frozen])
    near(found, expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_1x1_convolution_is_a_matrix_product(stride, bias):
    found, expected = against_float64(amx.pointwise, (6, 64, 48, 5, 4, 1, stride, 0), bias)
    for ours, exact in zip(found, expected, strict=True):
        near(ours, exact)


def layer(filters=128, kernel=3, side=4, inputs=128, dtype="mixed_bfloat16", **options):
    made = layers.Conv2D(filters, kernel, padding="same", dtype=dtype, **options)
    made.build((None, side, side, inputs))
    return made


@pytest.mark.parametrize(
    ("chosen", "side", "options"),
    [
        (amx.side_by_side, 14, {}),
        (F.conv2d, 15, {}),
        (F.conv2d, 4, {"inputs": 64}),
        (F.conv2d, 4, {"groups": 2}),
        (F.conv2d, 4, {"dilation_rate": 2}),
        (F.conv2d, 4, {"dtype": "float32"}),
        (amx.pointwise, 32, {"kernel": 1}),
        (F.conv2d, None, {}),
    ],
)
def test_where_it_pays(monkeypatch, chosen, side, options):
    monkeypatch.setattr(amx, "available", lambda: True)
    made = layer(side=side or 4, **options)
    assert amx.convolution(made, (None, side, side, 64)) is chosen
    monkeypatch.setattr(amx, "available", lambda: False)
    assert amx.convolution(made, (None, side, side, 64)) is F.conv2d


def test_a_network_trains_as_on_keras_own_path(monkeypatch):
    """With all of it on the smallest maps, and a last batch that is smaller."""
    monkeypatch.setattr(amx, "available", lambda: True)
    monkeypatch.setattr(amx, "LARGE", 2**13)
    monkeypatch.setattr(amx, "CHANNELS", 32)
    used = []
    monkeypatch.setattr(amx, "_apart", lambda *args, apart=amx._apart: used.append(1) or apart(*args))

    def build():
        inputs = x = keras.Input((8, 8, 3))
        for strides in (1, 2, 1):
            x = layers.Conv2D(32, 3, strides=strides, padding="same", dtype="mixed_bfloat16")(x)
        x = layers.Conv2D(40, 1, dtype="mixed_bfloat16")(x)
        x = layers.GlobalAveragePooling2D()(x)
        model = keras.Model(inputs, layers.Dense(3, dtype="float32")(x))
        model.compile(keras.optimizers.SGD(0.05), keras.losses.CategoricalCrossentropy(from_logits=True))
        return model

    keras.utils.set_random_seed(0)
    stock, fast = build(), build()
    fast.set_weights(stock.get_weights())
    assert accelerate(fast)
    rng = np.random.default_rng(0)
    for count in (16, 16, 12):
        images = rng.normal(size=(count, 8, 8, 3)).astype("float32")
        targets = np.eye(3, dtype="float32")[rng.integers(0, 3, count)]
        losses = [model.train_on_batch(images, targets) for model in (stock, fast)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert used
    for a, b in zip(stock.get_weights(), fast.get_weights(), strict=True):
        assert np.linalg.norm(a - b) <= 1e-2 * max(np.linalg.norm(a), 0.1)
    found = [model.predict(images, verbose=0) for model in (stock, fast)]
    np.testing.assert_allclose(found[1], found[0], atol=0.05 * np.abs(found[0]).max())


# ---- what oneDNN got wrong, or slowly, in bfloat16 -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "filters", "kernel", "options"),
    [
        (3, 24, 2, {}),  # pytorch#163347: wrong numbers of 2×2 kernels
        (64, 64, 2, {}),
        (64, 64, 3, {"groups": 4}),  # pytorch#183815: grouped and dilated ones, slow
        (64, 64, 3, {"dilation_rate": 2}),
        (48, 48, 3, {"groups": 48}),
    ],
)
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_convolutions_in_bfloat16_are_those_of_float64(inputs, filters, kernel, options, padding):
    """Also the gradient, in what a training step with plain SGD at rate 1 changes."""
    model = keras.Sequential(
        [
            keras.Input((12, 12, inputs)),
            layers.Conv2D(filters, kernel, padding=padding, dtype="mixed_bfloat16", name="conv", **options),
            layers.Activation("linear", dtype="float32"),
        ]
    )
    model.compile(keras.optimizers.SGD(1.0), "mse")
    assert accelerate(model)
    layer = model.get_layer("conv")
    x = draws(4, 12, 12, inputs).bfloat16().float().numpy()
    layer.kernel.assign(keras.ops.cast(keras.ops.cast(layer.kernel, "bfloat16"), "float32"))
    weights = [torch.from_numpy(w).double().requires_grad_() for w in layer.get_weights()]
    before = F.pad(torch.from_numpy(x).double().permute(0, 3, 1, 2), _zeros(kernel, options, padding))
    exact = F.conv2d(
        before,
        weights[0].permute(3, 2, 0, 1),
        weights[1],
        dilation=options.get("dilation_rate", 1),
        groups=options.get("groups", 1),
    ).permute(0, 2, 3, 1)
    near(torch.from_numpy(model.predict(x, verbose=0)), exact.detach())
    y = draws(*exact.shape).float().numpy()
    (expected,) = torch.autograd.grad(F.mse_loss(exact, torch.from_numpy(y).double()), weights[:1])
    kernel_before = layer.get_weights()[0]
    model.train_on_batch(x, y)
    near(torch.from_numpy(kernel_before - layer.get_weights()[0]), expected)


def _zeros(kernel, options, padding):
    total = (kernel - 1) * options.get("dilation_rate", 1) if padding == "same" else 0
    return (total // 2, total - total // 2) * 2
