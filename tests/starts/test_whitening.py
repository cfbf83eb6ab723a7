"""The whitening layer: white outputs, the same for a seed, and never trained."""

import keras
import numpy as np
import pytest
from keras import ops

from kcnn.data.registry import load_dataset
from kcnn.models.layers import WHITENING
from kcnn.models.registry import build_model
from kcnn.recipes.recipe import Recipe
from kcnn.run.checkpoint import load_model
from kcnn.run.directory import RunDir
from kcnn.starts.whitening import fit_whitening, whitening_kernel
from kcnn.training.construct import new_model
from kcnn.training.trainer import train

RECIPE = Recipe.of(
    {
        "model": "speednet",
        "model_options": {"size": "small"},
        "image_size": 16,
        "limit_train": 120,
        "epochs": 2,
        "batch_size": 32,
        "learning_rate": 0.1,
    }
)


def smooth_images(count=200, channels=3):
    """Neighbouring pixels and channels are alike, as in photographs."""
    coarse = np.random.default_rng(0).integers(40, 216, (count, 5, 5, channels))
    fine = np.random.default_rng(1).integers(-20, 20, (count, 20, 20, channels))
    return (np.kron(coarse, np.ones((1, 4, 4, 1))) + fine).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_outputs_are_white(channels):
    images = smooth_images(channels=channels)
    mean, std = images.mean() / 255, images.std() / 255
    model = build_model("speednet", images.shape[1:], mean=[mean] * channels, std=[std] * channels)
    fit_whitening(model, images, 0)
    outputs = ops.convert_to_numpy(keras.Model(model.input, model.get_layer(WHITENING).output)(images))
    flat = outputs.reshape(-1, outputs.shape[-1]).astype(np.float64)
    assert flat.shape[1] == 8 * channels
    first, second = np.split(flat, 2, axis=1)
    np.testing.assert_allclose(first, -second, atol=1e-5)
    # The faintest directions have a variance near the 5e-4 that is added.
    np.testing.assert_allclose(first.T @ first / len(first), np.eye(4 * channels), atol=0.02)


def test_the_directions_are_those_of_the_patches():
    """Against NumPy's singular values of patches that are cut one by one."""
    images = np.random.default_rng(0).normal(size=(3, 5, 4, 2)) * [1, 3]
    patches = np.array([i[y : y + 2, x : x + 2].ravel() for i in images for y in range(4) for x in range(3)])
    _, sizes, directions = np.linalg.svd(patches / np.sqrt(len(patches)))
    kernel = whitening_kernel(images, (2, 2)).reshape(8, 16)[:, :8]
    strength = np.linalg.norm(kernel, axis=0)
    np.testing.assert_allclose(np.sort(strength), np.sort(1 / np.sqrt(sizes**2 + 5e-4)), rtol=1e-5)
    along = np.abs(directions @ (kernel / strength))
    np.testing.assert_allclose(along, np.eye(8)[::-1], atol=1e-5)


def test_the_seed_chooses_the_images_and_other_models_stay(monkeypatch):
    monkeypatch.setattr("kcnn.starts.whitening.PATCHES", 20 * 19 * 19)
    images, kernels = smooth_images(), []
    for seed in (0, 0, 1):
        model = build_model("speednet", images.shape[1:], size="small")
        fit_whitening(model, images, seed)
        kernels.append(ops.convert_to_numpy(model.get_layer(WHITENING).kernel))
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).any()
    other = build_model("lenet5")
    before = other.get_weights()
    fit_whitening(other, smooth_images(), 0)
    for a, b in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def kernel_of(path):
    return ops.convert_to_numpy(load_model(path)[0].get_layer(WHITENING).kernel)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = RunDir.create(tmp_path_factory.mktemp("whitening") / "run", "x")
    train(RECIPE, run)
    return run


def test_a_run_fits_it_and_keeps_it(run):
    fitted = new_model(RECIPE, load_dataset("digits", image_size=16)).get_layer(WHITENING)
    np.testing.assert_array_equal(kernel_of(run.last), ops.convert_to_numpy(fitted.kernel))


def test_a_resumed_run_keeps_it(run, tmp_path):
    half = RunDir.create(tmp_path / "run", "x")
    train(RECIPE.replace(epochs=1), half)
    train(RECIPE, half, resume=True)
    ours, whole = (load_model(each.last)[0].get_weights() for each in (half, run))
    for a, b in zip(ours, whole, strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_weights_bring_their_own(run, tmp_path):
    """Also after epochs in which only the head learned."""
    later = RunDir.create(tmp_path / "run", "x")
    train(RECIPE.replace(weights=str(run.path), seed=5, freeze_epochs=1), later)
    np.testing.assert_array_equal(kernel_of(later.last), kernel_of(run.last))
