"""speednet: its published numbers, the identity at its start, and the whole network against one written in torch."""

import json
import math
import zipfile

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from keras import ops

from kcnn.errors import KcnnError, UsageError
from kcnn.models.flops import model_flops
from kcnn.models.layers import WHITENING, unfreeze
from kcnn.models.registry import build_model
from kcnn.models.speednet import WIDTHS


def built(**options):
    with keras.device("meta"):
        return build_model("speednet", **options)


def test_published_parameters_and_work():
    """The whitening layer counts among the parameters, the moving statistics do not."""
    model = built()
    assert sum(math.prod(w.shape) for w in model.weights if "moving" not in w.name) == 1_971_640
    assert sum(math.prod(w.shape) for w in model.trainable_weights) == 1_971_640 - 2 * 12 * 12 - 24
    assert 3 * model_flops(model) == pytest.approx(0.709e9, rel=1e-2)


@pytest.mark.parametrize("size", WIDTHS)
def test_the_widths_of_the_groups(size):
    model = built(size=size)
    filters = [model.get_layer(f"conv{group}_{index}").filters for group in (1, 2, 3) for index in (1, 2)]
    assert filters == [width for width in WIDTHS[size] for _ in range(2)]


def test_unknown_sizes_and_too_small_images():
    with pytest.raises(UsageError, match="huge"):
        build_model("speednet", size="huge")
    with pytest.raises(KcnnError, match="speednet cannot take 8×8 px images"):
        build_model("speednet", (8, 8, 1))
    assert built(input_shape=(9, 9, 1)).output_shape == (None, 10)


@pytest.mark.parametrize(("group", "inputs"), [(1, 24), (2, 64), (3, 256)])
def test_convolutions_begin_by_passing_their_input_on(group, inputs):
    keras.utils.set_random_seed(0)
    layer = build_model("speednet").get_layer(f"conv{group}_1")
    x = np.random.default_rng(0).normal(size=(2, 6, 5, inputs)).astype("float32")
    y = ops.convert_to_numpy(layer(x))
    np.testing.assert_array_equal(y[..., :inputs], x[..., : layer.filters])
    rest = ops.convert_to_numpy(layer.kernel)[..., inputs:]
    bound = 1 / math.sqrt(9 * inputs)  # torch's: uniform, as wide as its default
    if rest.size:
        assert 0.99 * bound < np.abs(rest).max() <= bound
        assert rest.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_the_norms_have_the_published_numbers():
    norms = [layer for layer in built().layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == 6
    assert {(norm.momentum, norm.epsilon, norm.scale, norm.center) for norm in norms} == {(0.6, 1e-12, False, True)}


def test_the_whitening_layer_stands_still():
    model = built()
    assert not model.get_layer(WHITENING).trainable_weights
    model.trainable = True
    unfreeze(model)
    assert [layer.name for layer in model.layers if not layer.trainable] == [WHITENING]


def in_torch(model, images):
    """The network from its description alone, with the Keras model's numbers; float64 logits."""

    def weight(layer, name="kernel"):
        return torch.from_numpy(ops.convert_to_numpy(getattr(model.get_layer(layer), name)).astype(np.float64))

    def convolve(x, layer, bias=None, padding=1):
        return F.conv2d(x, weight(layer).permute(3, 2, 0, 1), bias, padding=padding)

    def norm(x, layer):
        statistics = weight(layer, "moving_mean"), weight(layer, "moving_variance")
        return F.gelu(F.batch_norm(x, *statistics, None, weight(layer, "beta"), False, 0, 1e-12))

    x = (torch.from_numpy(images).double() / 255 - 0.5) / 0.25
    x = F.gelu(convolve(x.permute(0, 3, 1, 2), WHITENING, weight(WHITENING, "bias"), padding=0))
    for group in (1, 2, 3):
        x = norm(F.max_pool2d(convolve(x, f"conv{group}_1"), 2), f"norm{group}_1")
        x = norm(convolve(x, f"conv{group}_2"), f"norm{group}_2")
    return F.max_pool2d(x, 3).flatten(1) @ weight("logits") / 9


def test_the_network_is_the_described_one():
    keras.utils.set_random_seed(1)
    model = build_model("speednet", size="small")
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "norm" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    images = rng.integers(0, 256, (3, 32, 32, 3), np.uint8)
    expected = in_torch(model, images).numpy()
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-4 * np.abs(expected).max())


def test_the_saved_file_names_nothing_but_keras(tmp_path):
    build_model("speednet", size="small").save(tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        config = archive.read("config.json").decode()
    modules = {entry["module"] for entry in _objects(json.loads(config)) if entry.get("module")}
    assert {module.split(".")[0] for module in modules} == {"keras"}
    assert "kcnn" not in config


def _objects(value):
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(part)
