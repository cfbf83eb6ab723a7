"""Architectures: parameter counts, layer conventions and FLOPs, against torch and torchvision."""

import math

import keras
import numpy as np
import pytest
import torch
from keras import ops
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kcnn.errors import KcnnError, UsageError
from kcnn.models.flops import model_flops
from kcnn.models.layers import batch_norm, conv, pool
from kcnn.models.registry import MODELS, build_model

GREY, COLOUR = (28, 28, 1), (32, 32, 3)


def counts(name, shape=COLOUR, classes=10, **options):
    """(all, trainable) parameters; built without memory."""
    with keras.device("meta"):
        model = build_model(name, shape, classes, **options)
    return model.count_params(), sum(math.prod(variable.shape) for variable in model.trainable_variables)


def test_the_table_has_every_architecture():
    resnets = {f"resnet{depth}" for depth in (18, 34, 50, 101, 152, 20, 32, 44, 56, 110)}
    vggs = {f"vgg{depth}" for depth in (11, 13, 16, 19)}
    assert set(MODELS) == {"simple_cnn", "lenet5", "convnet", "alexnet", "speednet"} | resnets | vggs


@pytest.mark.parametrize(
    ("name", "shape", "options", "trainable"),
    [
        ("simple_cnn", COLOUR, {}, 62_006),
        ("lenet5", GREY, {}, 61_706),
        ("convnet", GREY, {}, 5_070_832),
        ("alexnet", COLOUR, {}, 2_091_274),
        ("resnet18", COLOUR, {}, 11_173_962),
        ("resnet18", COLOUR, {"stem": "imagenet"}, 11_181_642),
        ("vgg16", COLOUR, {}, 33_646_666),
        # Pooling and dropout have no parameters; batch norm has two for each of the 1,056 units it normalises.
        ("simple_cnn", COLOUR, {"pooling": "average"}, 62_006),
        ("lenet5", GREY, {"pooling": "average"}, 61_706),
        ("convnet", GREY, {"pooling": "average"}, 5_070_832),
        ("alexnet", COLOUR, {"batch_norm": False, "dropout": 0, "activation": "sigmoid"}, 2_091_274 - 2 * 1_056),
        # He et al. 2015, table 6: 0.27M, 0.46M, 0.66M, 0.85M, 1.7M.
        ("resnet20", COLOUR, {}, 269_722),
        ("resnet32", COLOUR, {}, 464_154),
        ("resnet44", COLOUR, {}, 658_586),
        ("resnet56", COLOUR, {}, 853_018),
        ("resnet110", COLOUR, {}, 1_727_962),
    ],
)
def test_trainable_parameters(name, shape, options, trainable):
    assert counts(name, shape, **options)[1] == trainable


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_resnets_have_torchvisions_parameters(name):
    from torchvision import models

    with torch.device("meta"):
        reference = getattr(models, name)(num_classes=1000)
    expected = sum(parameter.numel() for parameter in reference.parameters())
    assert counts(name, (224, 224, 3), 1000, stem="imagenet")[1] == expected


@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16", "vgg19"])
@pytest.mark.parametrize("normalized", [True, False])
def test_vgg_at_224_pixels_is_torchvisions(name, normalized):
    from torchvision import models

    with torch.device("meta"):
        reference = getattr(models, name + ("_bn" if normalized else ""))()
    expected = sum(parameter.numel() for parameter in reference.parameters())
    assert counts(name, (224, 224, 3), 1000, batch_norm=normalized)[1] == expected


def test_vgg_enlarged_inside_the_model_has_the_224_pixel_classifier():
    with keras.device("meta"):
        model = build_model("vgg11", COLOUR, image_size=224)
    assert model.input_shape == (None, 32, 32, 3)
    assert model.get_layer("classifier_0").kernel.shape == (7 * 7 * 512, 4096)


def test_moving_statistics_are_counted_apart():
    every, trainable = counts("convnet", GREY)
    assert every - trainable == 2 * (64 + 128)


def layer_kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def test_alexnets_rows_are_options():
    with keras.device("meta"):
        full = layer_kinds(build_model("alexnet"))
        pure = build_model("alexnet", batch_norm=False, dropout=0.0, activation="sigmoid")
    assert full.count("BatchNormalization") == 7
    assert full.count("Dropout") == 2
    assert not {"BatchNormalization", "Dropout"} & set(layer_kinds(pure))
    activations = [layer.activation for layer in pure.layers if isinstance(layer, keras.layers.Activation)]
    assert activations == [keras.activations.sigmoid] * 7


def test_alexnets_maps_are_the_reports():
    with keras.device("meta"):
        model = build_model("alexnet")
    shapes = [layer.output.shape[1:] for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)]
    assert shapes == [(16, 16, 96), (15, 15, 128), (6, 6, 128)]


@pytest.mark.parametrize("name", ["lenet5", "simple_cnn", "convnet"])
def test_pooling_option(name):
    kinds = {"max": "MaxPooling2D", "average": "AveragePooling2D"}
    for option, kind in kinds.items():
        with keras.device("meta"):
            found = layer_kinds(build_model(name, COLOUR, pooling=option))
        assert [entry for entry in found if "Pooling" in entry] == [kind, kind]


def torch_model(layers):
    return nn.Sequential(*layers).eval()


def to_torch(images):
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32))


@pytest.mark.parametrize(("pooling", "reference"), [("max", nn.MaxPool2d), ("average", nn.AvgPool2d)])
def test_lenet5_computes_what_torch_does(pooling, reference):
    model = build_model("lenet5", GREY, mean=[0.1307], std=[0.3081], pooling=pooling)
    layers = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), reference(2), nn.Conv2d(6, 16, 5), nn.ReLU(), reference(2)]
    dense = [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    for layer, target in zip(
        [layer for layer in model.layers if layer.weights],
        [layer for layer in [*layers, *dense] if hasattr(layer, "weight")],
        strict=True,
    ):
        kernel, bias = (torch.from_numpy(ops.convert_to_numpy(weight)) for weight in layer.weights)
        target.weight.data = kernel.permute(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        target.bias.data = bias
    images = np.random.default_rng(0).integers(0, 256, (3, *GREY), np.uint8)
    x = (to_torch(images) / 255 - 0.1307) / 0.3081
    maps = torch_model(layers)(x).permute(0, 2, 3, 1).flatten(1)  # Keras flattens with the channels last
    expected = torch_model(dense)(maps).detach().numpy()
    found = ops.convert_to_numpy(model(images))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "strides", "padding"), [(3, 2, 1), (7, 2, 3), (1, 2, 0), (3, 1, 1), (5, 1, 0), (3, 1, 0)]
)
@pytest.mark.parametrize("size", [8, 9])
def test_convolution_pads_as_torch_does(kernel, strides, padding, size):
    inputs = keras.Input((size, size, 3))
    model = keras.Model(inputs, conv(inputs, 4, kernel, strides, padding=padding, use_bias=False))
    weight = torch.from_numpy(ops.convert_to_numpy(model.weights[0])).permute(3, 2, 0, 1)
    images = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    expected = nn.functional.conv2d(to_torch(images), weight, stride=strides, padding=padding)
    found = ops.convert_to_numpy(model(images))
    np.testing.assert_allclose(found, expected.permute(0, 2, 3, 1).numpy(), atol=1e-5)


def test_batch_norm_follows_torch_for_many_steps():
    inputs = keras.Input((5, 5, 3))
    model = keras.Model(inputs, batch_norm(inputs))
    reference = nn.BatchNorm2d(3)
    assert model.layers[1].epsilon == reference.eps
    for seed in range(20):
        images = np.random.default_rng(seed).normal(2, 3, (64, 5, 5, 3)).astype(np.float32)
        found, expected = model(images, training=True), reference(to_torch(images))
        np.testing.assert_allclose(
            ops.convert_to_numpy(found), expected.detach().permute(0, 2, 3, 1).numpy(), atol=1e-4
        )
    mean, variance = (ops.convert_to_numpy(v) for v in model.non_trainable_variables)
    np.testing.assert_allclose(mean, reference.running_mean.numpy(), atol=1e-4)
    np.testing.assert_allclose(variance, reference.running_var.numpy(), rtol=1e-3)  # torch divides by n - 1


@pytest.mark.parametrize("name", ["lenet5", "simple_cnn", "convnet", "alexnet", "resnet20", "vgg11"])
def test_every_layer_draws_its_own_weights(name):
    """An initializer that two layers share gives both the same numbers."""
    model = build_model(name, COLOUR, 10)
    kernels = [ops.convert_to_numpy(w).ravel()[:27] for w in model.weights if w.path.endswith("kernel")]
    starts = {tuple(np.sign(kernel)) for kernel in kernels}
    assert len(starts) == len(kernels)


@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling_drops_the_border_as_torch_does(kind):
    images = np.random.default_rng(0).normal(size=(2, 7, 7, 3)).astype(np.float32)
    reference = nn.functional.max_pool2d if kind == "max" else nn.functional.avg_pool2d
    expected = reference(to_torch(images), 2).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(ops.convert_to_numpy(pool(ops.convert_to_tensor(images), kind)), expected, atol=1e-6)


def test_imagenet_stem_equals_torchvisions():
    """ResNet-18's 7×7/2 convolution and 3×3/2 pooling, with torch's weights, on a size that does not divide evenly."""
    from torchvision import models

    reference = models.resnet18(num_classes=10).eval()
    model = build_model("resnet18", (45, 45, 3), stem="imagenet", mean=[0, 0, 0], std=[1, 1, 1])
    kernel = reference.conv1.weight.detach().permute(2, 3, 1, 0).numpy()
    model.get_layer("conv1").kernel.assign(kernel)
    images = np.random.default_rng(0).integers(0, 256, (2, 45, 45, 3), np.uint8)
    pooled = next(layer for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D))
    found = keras.Model(model.inputs[0], pooled.output)(images)
    with torch.no_grad():
        expected = reference.maxpool(reference.relu(reference.bn1(reference.conv1(to_torch(images) / 255))))
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected.permute(0, 2, 3, 1).numpy(), atol=1e-5)


def test_option_a_shortcut_takes_every_second_pixel_and_pads_channels():
    from kcnn.models.resnet import _pad_shortcut

    inputs = keras.Input((6, 6, 16))
    model = keras.Model(inputs, _pad_shortcut(inputs, 32, 2, "x"))
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 16)).astype(np.float32)
    expected = np.pad(images[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (8, 8)))
    np.testing.assert_array_equal(ops.convert_to_numpy(model(images)), expected)


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "resnet20"])
def test_flops_are_torchs(name):
    model = build_model(name, COLOUR)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(np.zeros((1, *COLOUR), np.uint8))
    assert model_flops(model) == counter.get_total_flops()


def test_published_multiply_adds_of_resnets():
    """torchvision's table: ResNet-18 1.81 and ResNet-50 4.09 billion multiply-adds at 224 px."""
    for name, billions in (("resnet18", 1.81), ("resnet50", 4.09)):
        with keras.device("meta"):
            model = build_model(name, (224, 224, 3), 1000, stem="imagenet")
        assert model_flops(model) / 2e9 == pytest.approx(billions, abs=0.01)


def test_normalisation_is_part_of_the_model():
    model = build_model("lenet5", (28, 28, 1), mean=[0.2], std=[0.5])
    first = keras.Model(model.inputs[0], model.get_layer("normalize").output)
    found = ops.convert_to_numpy(first(np.full((1, 28, 28, 1), 51, np.uint8)))
    np.testing.assert_allclose(found, 0.0, atol=1e-6)
    found = ops.convert_to_numpy(first(np.full((1, 28, 28, 1), 255, np.uint8)))
    np.testing.assert_allclose(found, 1.6, atol=1e-6)


def test_logits_have_a_row_for_each_image_and_a_column_for_each_class():
    model = build_model("simple_cnn", COLOUR, 7)
    assert model.inputs[0].dtype == "uint8"
    logits = ops.convert_to_numpy(model(np.zeros((4, *COLOUR), np.uint8)))
    assert logits.shape == (4, 7)
    assert logits.dtype == np.float32


@pytest.mark.parametrize(("name", "options"), [("lenet5", {}), ("convnet", {}), ("alexnet", {}), ("vgg11", {})])
def test_too_small_images_are_told(name, options):
    with pytest.raises(KcnnError, match=rf"{name} cannot take.*2×2 px.*--image-size"):
        build_model(name, (2, 2, 3), **options)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("lenet", {}, "unknown model 'lenet'. Did you mean 'lenet5'?"),
        ("lenet5", {"poling": "max"}, "unknown option of lenet5 'poling'. Did you mean 'pooling'?"),
        ("lenet5", {"pooling": "avrage"}, "Did you mean 'average'?"),
        ("alexnet", {"batch_norm": 1}, "true or false; received 1"),
        ("alexnet", {"dropout": 1.0}, "not including, 1; received 1.0"),
        ("vgg16", {"dropout": True}, "received True"),
        ("resnet18", {"stem": 3}, "unknown resnet18's option stem 3"),
    ],
)
def test_wrong_names_and_options(name, options, words):
    with pytest.raises(UsageError) as caught:
        build_model(name, **options)
    assert words in str(caught.value)
