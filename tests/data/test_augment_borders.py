"""Reflected borders, the alternating flip and elastic distortion: against NumPy and torch, in one sampling."""

import numpy as np
import pytest
import torch
from keras import ops
from test_augment import COUNT, SHAPE, apart, augmented, pictures

from helpers import random_images
from kcnn.data.augment import geometry, pixels
from kcnn.data.augment import operations as augment
from kcnn.data.augment.geometry import Turn
from kcnn.data.batches import TrainingBatches
from kcnn.data.dataset import Split
from kcnn.errors import UsageError


def moved(y, x, count=COUNT, shape=SHAPE):
    return geometry.fixed_point(np.repeat(geometry.plane(y=y, x=x), count, 0), shape)


@pytest.mark.parametrize(("y", "x"), [(2, -1), (0, 3), (-4, 0), (4, 4)])
@pytest.mark.parametrize("shape", [SHAPE, (7, 10, 1)])
def test_borders_are_reflected_as_by_numpy(y, x, shape):
    images = pictures(shape)
    padded = np.pad(images.numpy(), ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    expected = padded[:, 4 + y : 4 + y + shape[0], 4 + x : 4 + x + shape[1]]
    np.testing.assert_array_equal(pixels.sample(images, moved(y, x, shape=shape), reflected=True), expected)


def test_parts_of_a_pixel_are_blended_across_the_reflection():
    """By half a pixel: the mean of neighbours in the reflected image."""
    images = pictures((6, 6, 1))
    padded = np.pad(images.numpy().astype(float), ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    found = pixels.sample(images, moved(-1.5, 0, shape=(6, 6, 1)), reflected=True).numpy()
    expected = (padded[:, 0:6, 2:8] + padded[:, 1:7, 2:8]) / 2
    np.testing.assert_array_equal(found, np.floor(expected + 0.5))


def test_a_reflected_crop_takes_every_offset():
    images = pictures((9, 9, 1), 1).expand(400, 9, 9, 1)
    found = augmented({"reflect_crop": 2}, images)[0].numpy()
    padded = np.pad(images[0].numpy(), ((2, 2), (2, 2), (0, 0)), mode="reflect")
    crops = {padded[y : y + 9, x : x + 9].tobytes() for y in range(5) for x in range(5)}
    assert {image.tobytes() for image in found} == crops


def test_a_reflected_border_holds_for_the_whole_sampling():
    names = {"reflect_crop": 3, "flip": 1.0}
    (step,) = augment.draw(names, COUNT, SHAPE, np.random.default_rng(1))
    assert (step.operation, step.arrays[1]) == ("sample", True)
    rng, images = np.random.default_rng(1), pictures()
    cropped = pixels.sample(images, geometry.fixed_point(geometry.shift(3, COUNT, SHAPE, rng), SHAPE), True)
    found = augment.apply(images, None, [step])[0]
    np.testing.assert_array_equal(found, cropped.numpy()[:, :, ::-1])


# ---- the alternating flip --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("period", [1, 3])
def test_every_image_is_mirrored_every_other_time(period):
    bits = np.array([False, True, True, False])
    for epoch in range(8):
        matrices = geometry.alternating_flip(period, Turn(epoch, bits))
        mirrored = matrices[:, 1, 1] == -1
        np.testing.assert_array_equal(mirrored, bits != ((epoch // period) % 2 == 1))


def shown(epochs, **options):
    """For each epoch: whether each of 64 images is mirrored."""
    images = random_images(64, 5, 6, 1)
    batches = TrainingBatches(
        Split(images, np.arange(64)), 64, 10, epochs=epochs, augment={"alternating_flip": 1}, **options
    )
    rows = []
    for epoch in range(epochs):
        parts = [batches[epoch * batches.steps_per_epoch + step] for step in range(batches.steps_per_epoch)]
        found, labels = (np.concatenate([ops.convert_to_numpy(part[i]) for part in parts]) for i in (0, 1))
        order = labels.argmax(1)
        mirrored = (found == images[order][:, :, ::-1]).all((1, 2, 3))
        assert (mirrored != (found == images[order]).all((1, 2, 3))).all()
        rows.append(mirrored[np.argsort(order)])
    return np.array(rows)


def test_batches_give_each_image_its_turn():
    rows = shown(4)
    assert (rows[0] != rows[1]).all()
    assert (rows[0] == rows[2]).all()
    assert 20 < rows[0].sum() < 44
    assert (shown(1, seed=1)[0] != rows[0]).any()


def test_a_turn_needs_whole_epochs():
    for wrong in (0.5, 0, True):
        with pytest.raises(UsageError, match="alternating_flip \\(whole epochs\\) must be a whole number"):
            augment.check_magnitudes({"alternating_flip": wrong})


# ---- elastic distortion ----------------------------------------------------------------------------------------------


def test_places_are_sampled_as_by_torch():
    """Also joined to a rotation: torch's grid_sample at the sum of both."""
    shape, count = (20, 16, 3), 4
    images, rng = pictures(shape, count), np.random.default_rng(0)
    matrices, bends = geometry.turn(np.full(count, 25.0)), geometry.elastic(1.5, count, shape, rng)
    found = pixels.sample(images, geometry.fixed_point(matrices, shape), bends=bends)
    y, x = np.meshgrid(np.arange(20) - 9.5, np.arange(16) - 7.5, indexing="ij")
    places = np.einsum("bij,jhw->bhwi", matrices[:, :2, :2], np.stack([y, x])) + bends.transpose(0, 2, 3, 1) / 65536
    grid = torch.from_numpy(places[..., ::-1] / [7.5, 9.5]).float()
    expected = torch.nn.functional.grid_sample(images.permute(0, 3, 1, 2).float(), grid, align_corners=True)
    assert apart(found.numpy(), expected.permute(0, 2, 3, 1).round().numpy()) <= 2


def test_a_bend_is_smooth_and_of_the_size_asked_for():
    bends = geometry.elastic(1.4, 300, (28, 28, 1), np.random.default_rng(0)) / 65536
    assert bends.shape == (300, 2, 28, 28)
    assert bends.std() == pytest.approx(1.4, rel=0.02)
    assert bends.std((0, 1)).min() > 1.2  # as much at the border as inside
    along = (bends[..., 14, 14] * bends[..., 14, 18]).mean() / 1.4**2
    assert along == pytest.approx(np.exp(-((4 / 4) ** 2) / 4), abs=0.1)  # of white noise under a Gaussian of 4 pixels


def test_it_is_joined_to_the_other_moves():
    names = {"shift": 2, "elastic": 1.0, "rotation": 10, "scale": 0.1}
    (step,) = augment.draw(names, COUNT, SHAPE, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    shift = geometry.shift(2, COUNT, SHAPE, rng)
    bends = geometry.elastic(1.0, COUNT, SHAPE, rng)
    others = geometry.rotation(10, COUNT, SHAPE, rng) @ geometry.scale(0.1, COUNT, SHAPE, rng)
    np.testing.assert_array_equal(step.arrays[0], geometry.fixed_point(shift @ others, SHAPE))
    np.testing.assert_array_equal(step.arrays[2], bends)
