"""torchvision's networks in Keras and back, to the last bit; and what does not fit."""

import functools
import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import torch
import torchvision

from helpers import refused
from kcnn.errors import KcnnError
from kcnn.models.registry import build_model
from kcnn.starts import state_dict as weights

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
VGG = [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
ALL = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", *VGG]


# ---- the networks ----------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def reference(name):
    """torchvision's network with random weights, and batch-norm statistics that are not those of a new network."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None, **({"init_weights": False} if name[:3] == "vgg" else {}))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 1.5),
            ):
                tensor.data.uniform_(low, high)
    return network.eval()


def arrays(network):
    return {key: tensor.numpy() for key, tensor in network.state_dict().items()}


def in_keras(name, size, classes=1000):
    """kcnn's network of that torchvision name."""
    options = {"stem": "imagenet"} if name.startswith("resnet") else {"batch_norm": name.endswith("_bn")}
    return build_model(name.removesuffix("_bn"), (size, size, 3), classes, mean=MEAN, std=STD, **options)


def images(count, size):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def run_torch(network, pictures):
    """Logits of torchvision's network for uint8 images, normalised as it expects them."""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        return network((x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]).numpy()


def run_keras(model, pictures):
    return np.asarray(model.predict(pictures, verbose=0))


def difference(found, expected):
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


def check(name, size, count):
    """Logits, penultimate features, and the way back of one network."""
    network, pictures = reference(name), images(count, size)
    model = in_keras(name, size)
    unused = weights.load_state_dict(model, weights.fit_classifier(model, arrays(network)))
    assert all(key.endswith("num_batches_tracked") for key in unused)
    assert difference(run_keras(model, pictures), run_torch(network, pictures)) <= 1e-4

    head = network.fc if name.startswith("resnet") else network.classifier[6]
    found = {}
    handle = head.register_forward_hook(lambda module, inputs, output: found.update(features=inputs[0].numpy()))
    run_torch(network, pictures[:2])
    handle.remove()
    features = keras.Model(model.inputs, model.layers[-1].input)
    assert difference(run_keras(features, pictures[:2]), found["features"]) <= 1e-4

    back = weights.to_state_dict(model)
    exact = name.startswith("resnet") or size == 224
    for key, tensor in network.state_dict().items():
        if not key.endswith("num_batches_tracked") and (exact or key != "classifier.0.weight"):
            np.testing.assert_array_equal(back[key], tensor.numpy(), err_msg=key)
    return model, network, pictures


@pytest.mark.parametrize(("name", "size"), [("resnet18", 64), ("resnet50", 64), ("vgg11", 64), ("vgg16_bn", 32)])
def test_same_logits_and_features_as_torchvision(name, size):
    check(name, size, count=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_same_logits_and_features_as_torchvision_at_224_pixels(name):
    check(name, 224, count=8)


@pytest.mark.parametrize("name", ["resnet18", "vgg11"])
def test_torchvision_loads_what_comes_back(name):
    """A network that never saw torchvision, written as a state dict: strict, and the same logits."""
    model, pictures = in_keras(name, 64, classes=10), images(2, 64)
    state = {
        key: torch.from_numpy(a) for key, a in weights.unfit_classifier(model, weights.to_state_dict(model)).items()
    }
    with torch.device("meta"):
        network = torchvision.models.get_model(name, num_classes=10)
    network.load_state_dict(state, strict=True, assign=True)
    assert difference(run_torch(network.eval(), pictures), run_keras(model, pictures)) <= 1e-4


def test_a_dense_layer_after_flatten_sees_the_channels_first():
    """Bit-exact both ways, on a map that is not square."""
    x = inputs = keras.Input((5, 4, 3))
    x = keras.layers.Conv2D(6, (3, 2), padding="same", name="features_0")(x)
    outputs = keras.layers.Dense(7, name="classifier_0")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, outputs, name="tiny")
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, (3, 2), padding="same"), torch.nn.Flatten(), torch.nn.Linear(120, 7)
    )
    names = {"0": "features.0", "2": "classifier.0"}
    state = {f"{names[key[0]]}{key[1:]}": array for key, array in arrays(network).items()}
    assert weights.load_state_dict(model, state) == []
    pictures = np.random.default_rng(0).random((2, 5, 4, 3), np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(pictures).permute(0, 3, 1, 2)).numpy()
    assert difference(run_keras(model, pictures), expected) <= 1e-5
    back = weights.to_state_dict(model)
    assert back.keys() == state.keys()
    for key in state:
        np.testing.assert_array_equal(back[key], state[key])


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 10, 14])
def test_averaging_is_torchs_adaptive_pooling(size):
    x = torch.arange(float(size)) ** 2
    expected = torch.nn.functional.adaptive_avg_pool1d(x[None, None], 7)[0, 0].numpy()
    np.testing.assert_allclose(weights.averaging(size) @ x.numpy(), expected, rtol=1e-6)


def test_a_classifier_larger_than_torchvisions_cannot_go_back():
    layers = keras.layers
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, layers.Dense(3, name="classifier_0")(layers.Flatten()(inputs)), name="vgg")
    with pytest.raises(KcnnError, match=r"8×8 map; torchvision's sees 7×7"):
        weights.unfit_classifier(model, weights.to_state_dict(model))


def check_on(backend, name, size, folder):
    """In a process of its own: keras knows one backend at a time."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    network, pictures = reference(name), images(2, size)
    torch.save(network.state_dict(), folder / "w.pth")
    np.save(folder / "x.npy", pictures)
    options = {"stem": "imagenet"} if name.startswith("resnet") else {"batch_norm": name.endswith("_bn")}
    code = f"""
import numpy as np
from pathlib import Path
from kcnn.starts import pretrained
from kcnn.starts import state_dict as weights
from kcnn.models.registry import build_model

model = build_model({name.removesuffix("_bn")!r}, ({size}, {size}, 3), 1000, mean={MEAN}, std={STD}, **{options})
weights.load_state_dict(model, weights.fit_classifier(model, pretrained.read_state_dict(Path("w.pth"))))
np.save("y.npy", model.predict(np.load("x.npy"), verbose=0))
"""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)
    assert difference(np.load(folder / "y.npy"), run_torch(network, pictures)) <= 1e-3
    (folder / "w.pth").unlink()


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_same_logits_on_other_backends(backend, tmp_path):
    check_on(backend, "resnet18", 64, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_same_logits_on_other_backends_at_224_pixels(backend, name, tmp_path):
    check_on(backend, name, 224, tmp_path)


# ---- what does not fit -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    """(kcnn's smallest of torchvision's networks, torchvision's state dict of it)."""
    return in_keras("resnet18", 64), arrays(reference("resnet18"))


def test_a_missing_tensor_is_named_with_its_variable_and_nothing_is_set(small):
    model, state = small
    before = model.get_weights()
    with pytest.raises(
        KcnnError, match=r"do not fit resnet18: layer1_0_conv1/kernel has no tensor layer1\.0\.conv1\.weight"
    ):
        weights.load_state_dict(model, {k: v for k, v in state.items() if k != "layer1.0.conv1.weight"})
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_extra_tensor_is_named(small):
    model, state = small
    with pytest.raises(KcnnError, match=r"tensor layer5\.0\.weight has no layer layer5_0"):
        weights.load_state_dict(model, {**state, "layer5.0.weight": np.zeros(3)})


def test_a_wrong_shape_is_named_on_both_sides(small):
    model, state = small
    with pytest.raises(KcnnError, match=r"tensor fc\.weight is 10×512, but fc/kernel 512×1000 takes 1000×512"):
        weights.load_state_dict(model, {**state, "fc.weight": np.zeros((10, 512))})


def test_another_architecture_is_refused_in_one_line(small):
    model, _ = small
    with pytest.raises(KcnnError) as caught:
        weights.load_state_dict(model, arrays(torchvision.models.resnet34()))
    assert "and " in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400


def test_layers_left_out_keep_their_values_and_their_tensors_are_listed(small):
    model, state = small
    before = model.get_layer("fc").get_weights()
    unused = weights.load_state_dict(model, state, leave_out=["fc"])
    np.testing.assert_array_equal(model.get_layer("fc").get_weights()[0], before[0])
    assert {"fc.weight", "fc.bias", "bn1.num_batches_tracked"} <= set(unused)


def test_a_variable_without_counterpart_is_named():
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, keras.layers.PReLU(name="odd")(inputs), name="mine")
    with pytest.raises(KcnnError, match="mine's variable odd/alpha has no counterpart"):
        weights.to_state_dict(model)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.full(1000, np.nan, np.float32), "tensor fc.bias has NaN or infinite numbers"),
        (np.full(1000, -np.inf, np.float32), "tensor fc.bias has NaN or infinite numbers"),
        (np.zeros(1000, np.int64), "tensor fc.bias is int64, not floating numbers"),
        (np.zeros(1000, np.complex64), "tensor fc.bias is complex64, not floating numbers"),
        (np.zeros((), np.float32), "tensor fc.bias is a number, but fc/bias 1000 takes 1000"),
        (np.zeros((1000, 1), np.float32), "tensor fc.bias is 1000×1, but fc/bias 1000 takes 1000"),
    ],
)
def test_tensors_that_are_no_weights_are_named_and_nothing_is_set(small, value, words):
    model, state = small
    before = model.get_weights()
    refused(lambda: weights.load_state_dict(model, {**state, "fc.bias": value}), words)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
