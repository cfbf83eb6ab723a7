"""Augmentation on torch: against torchvision and NumPy, the table's checks, and what the data cannot take."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from helpers import one_line_error
from kcnn.data.augment import geometry, pixels
from kcnn.data.augment import operations as augment
from kcnn.data.augment.operations import AUGMENTATIONS, Step, check_data, check_magnitudes
from kcnn.errors import UsageError

COUNT, SHAPE = 6, (12, 12, 3)


def pictures(shape=SHAPE, count=COUNT, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8))


def targets(count=COUNT, classes=4):
    return torch.eye(classes)[torch.arange(count) % classes]


def augmented(names, images=None, rows=None, seed=0):
    images = pictures() if images is None else images
    steps = augment.draw(names, len(images), tuple(images.shape[1:]), np.random.default_rng(seed))
    return augment.apply(images, targets(len(images)) if rows is None else rows, steps)


def sampled(images, matrices):
    return pixels.sample(images, geometry.fixed_point(matrices, tuple(images.shape[1:]))).numpy()


def reference(function, images, *arguments, **options):
    """torchvision's function of channels-first images."""
    return function(images.permute(0, 3, 1, 2), *arguments, **options).permute(0, 2, 3, 1).numpy()


def apart(first, second):
    return np.abs(np.asarray(first, int) - np.asarray(second, int)).max()


# ---- geometry --------------------------------------------------------------------------------------------------------


def test_a_shift_moves_whole_pixels_and_brings_in_black():
    images = pictures()
    for y, x in ((2, -1), (0, 3), (-4, 0)):
        padded = np.pad(images.numpy(), ((0, 0), (5, 5), (5, 5), (0, 0)))
        expected = padded[:, 5 + y : 17 + y, 5 + x : 17 + x]
        np.testing.assert_array_equal(sampled(images, geometry.plane(y=[y] * COUNT, x=[x] * COUNT)), expected)


@pytest.mark.parametrize(("name", "axis"), [("flip", 2), ("vflip", 1)])
@pytest.mark.parametrize("shape", [SHAPE, (7, 10, 1)])
def test_flips_mirror_exactly(name, axis, shape):
    images = pictures(shape)
    np.testing.assert_array_equal(
        augmented({name: 1.0}, images)[0], images.numpy()[(slice(None),) * axis + (np.s_[::-1],)]
    )


def test_flip_keeps_its_probability():
    images = pictures((2, 2, 1), 4000)
    mirrored = (augmented({"flip": 0.3}, images)[0] != images).flatten(1).any(1).float().mean()
    assert 0.26 < mirrored < 0.34


@pytest.mark.parametrize("shape", [(12, 12, 3), (9, 9, 1)])
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_numpys(shape, quarters):
    images = pictures(shape)
    turned = sampled(images, geometry.turn(np.full(COUNT, 90.0 * quarters)))
    np.testing.assert_array_equal(turned, np.rot90(images.numpy(), quarters, axes=(1, 2)))


@pytest.mark.parametrize("shape", [(12, 12, 3), (11, 16, 1)])
@pytest.mark.parametrize("degrees", [-33.0, 7.5, 120.0])
def test_rotation_is_torchvisions(shape, degrees):
    images = pictures(shape)
    expected = reference(functional.rotate, images, degrees, functional.InterpolationMode.BILINEAR)
    assert apart(sampled(images, geometry.turn(np.full(COUNT, degrees))), expected) <= 2


def test_affine_is_torchvisions():
    images, factor, shear = pictures((16, 16, 3)), 1.25, 20.0
    expected = reference(
        functional.affine,
        images,
        angle=0,
        translate=[2, -1],
        scale=factor,
        shear=[shear, 0],
        interpolation=functional.InterpolationMode.BILINEAR,
    )
    # torchvision maps old to new: move after shear after scale. Ours is the inverse.
    forward = geometry.plane(y=-1, x=2) @ geometry.plane(yy=factor, xy=-factor * np.tan(np.deg2rad(shear)), xx=factor)
    assert apart(sampled(images, np.repeat(np.linalg.inv(forward), COUNT, 0)), expected) <= 2


def test_neighbouring_moves_are_one_sampling_in_the_order_given():
    for names in ({"crop": 3, "flip": 1.0}, {"flip": 1.0, "crop": 3}):
        steps = augment.draw(names, COUNT, SHAPE, np.random.default_rng(1))
        assert [step.operation for step in steps] == ["sample"]
        rng, images = np.random.default_rng(1), pictures()
        for name, magnitude in names.items():
            draw = {"crop": geometry.shift, "flip": geometry.flip}[name]
            images = torch.from_numpy(sampled(images, draw(magnitude, COUNT, SHAPE, rng)))
        np.testing.assert_array_equal(augment.apply(pictures(), targets(), steps)[0], images)


def test_other_steps_keep_their_place_between_moves():
    steps = augment.draw({"crop": 1, "cutout": 2, "flip": 0.5}, COUNT, SHAPE, np.random.default_rng(0))
    assert [step.operation for step in steps] == ["sample", "erase", "sample"]


@pytest.mark.parametrize("name", ["rotation", "scale", "affine"])
def test_the_drawn_matrices_stay_in_range(name):
    most = AUGMENTATIONS[name].default
    (step,) = AUGMENTATIONS[name].steps(most, 1000, SHAPE, np.random.default_rng(0))
    change = step.arrays[0][:, :2, :2] - np.eye(2)
    limit = {"rotation": np.sin(np.deg2rad(most)), "scale": 1 / (1 - most) - 1, "affine": most}[name]
    assert 0.9 * limit < np.abs(change).max() <= limit * 1.0001


# ---- colour ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("factor", [0.0, 0.375, 1.0, 1.75])
def test_colour_is_torchvisions(name, factor):
    images = pictures()
    ours = getattr(pixels, name)(images, np.full(COUNT, factor, np.float32))
    assert ours.dtype == torch.uint8
    # In 0…1 torchvision rounds nothing. Ours rounds luminance, or its mean, and the result.
    expected = 255 * reference(getattr(functional, f"adjust_{name}"), images / 255, factor)
    assert np.abs(ours.numpy() - expected).max() < 1.02
    if factor == 1:
        np.testing.assert_array_equal(ours, images)


def test_contrast_of_grey_images_blends_with_their_mean():
    images = pictures((5, 6, 1))
    flat = pixels.contrast(images, np.zeros(COUNT, np.float32)).numpy()
    np.testing.assert_array_equal(flat[:, 0, 0, 0], np.floor(images.numpy().mean((1, 2, 3)) + 0.5))
    assert (flat == flat[:, :1, :1]).all()


# ---- erased and mixed images -----------------------------------------------------------------------------------------


def test_cutout_blackens_one_square():
    images = pictures((40, 40, 3), 50).clamp(min=1)
    black = (augmented({"cutout": 6}, images)[0] == 0).all(-1).sum((1, 2))
    assert black.max() == 36
    assert black.min() >= 9
    steps = [Step("erase", (np.array([[2, 3, 5, 9]] * 50, np.int32),))]
    erased = augment.apply(images, targets(50), steps)[0]
    assert not erased[:, 2:5, 3:9].any()
    assert (erased == 0).sum() == 50 * 3 * 3 * 6


def test_erasing_takes_2_to_33_percent_of_some_images():
    images = pictures((50, 50, 1), 400).clamp(min=1)
    share = (augmented({"erasing": 0.5}, images)[0] == 0).float().mean((1, 2, 3))
    assert 0.42 < (share > 0).float().mean() < 0.58
    assert share[share > 0].min() > 0.015
    assert share.max() < 0.34


def test_mixup_blends_images_and_targets_alike():
    images, rows = pictures(), targets()
    steps = augment.draw({"mixup": 1.0}, COUNT, SHAPE, np.random.default_rng(0))
    partner, share = steps[0].arrays
    mixed, mixed_rows = augment.apply(images, rows, steps)
    own = share.astype(np.float64)
    old, weight = images.numpy().astype(np.float64), own[:, None, None, None]
    np.testing.assert_array_equal(mixed, np.floor(old * weight + old[partner] * (1 - weight) + 0.5))
    expected = rows.numpy() * own[:, None] + rows.numpy()[partner] * (1 - own[:, None])
    np.testing.assert_allclose(mixed_rows, expected, atol=1e-7)
    assert sorted(partner) == list(range(COUNT))
    assert mixed_rows.dtype == torch.float32
    assert mixed.dtype == torch.uint8


def test_cutmix_targets_are_the_shares_of_the_area():
    brightness = np.repeat(np.arange(1, 41, dtype=np.uint8), 10 * 14 * 3).reshape(40, 10, 14, 3)
    rows = torch.eye(40)
    mixed, mixed_rows = augmented({"cutmix": 1.0}, torch.from_numpy(brightness), rows)
    for image, row in zip(mixed.numpy(), mixed_rows.numpy(), strict=True):
        shares = [(image[:, :, 0] == value).mean() for value in range(1, 41)]
        np.testing.assert_allclose(row, shares, atol=1e-6)
    assert (mixed_rows > 0).sum(1).eq(2).sum() > 10


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(12, 12, 3), (9, 14, 1)])
def test_each_one_changes_a_batch_and_keeps_its_form(name, shape):
    if name == "saturation" and shape[2] == 1:
        pytest.skip("refused for grey images")
    images = pictures(shape, 16)
    before = images.clone()
    after, rows = augmented({name: AUGMENTATIONS[name].default}, images)
    assert (after.shape, after.dtype) == (images.shape, torch.uint8)
    assert (after != images).any()
    torch.testing.assert_close(rows.sum(1), torch.ones(16))
    assert torch.equal(images, before)


# ---- checks ----------------------------------------------------------------------------------------------------------


def test_all_wrong_magnitudes_are_told_at_once():
    wrong = {"flip": 1.5, "crop": 2.5, "crp": 1, "rotation": 0, "mixup": "much", "cutout": True, "shift": float("nan")}
    with pytest.raises(UsageError) as caught:
        check_magnitudes(wrong)
    for words in ("flip (prob", "whole number, above 0", "Did you mean 'crop'", "rotation", "'much'", "True", "nan"):
        assert words in str(caught.value)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_table_takes_its_own_defaults(name):
    assert check_magnitudes({name: AUGMENTATIONS[name].default}) == {name: AUGMENTATIONS[name].default}


def test_what_the_data_cannot_take_is_told_at_once():
    names = {"crop": 8, "saturation": 0.2, "mixup": 1, "cutmix": 1, "flip": 0.5}
    with pytest.raises(UsageError) as caught:
        check_data(names, (8, 8, 1), 1, 1)
    for words in ("crop=8", "at most 7", "grey", "only 1", "batch_size of 2"):
        assert words in str(caught.value)
    check_data(names, (9, 9, 3), 2, 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--augment", "saturation,shift=40"), ("saturation", "shift=40", "as large as")),
        (("--augment", "mixup", "--batch-size", "1"), ("mixup", "batch_size")),
        (("--augment", "cutmix", "--set", "stages=[[1,32],[1,1]]", "--epochs", "2"), ("cutmix", "batch_size")),
        (("--augment", "flip=2,blur"), ("flip", "blur")),
    ],
)
def test_train_refuses_in_one_line(cli, tmp_path, arguments, words):
    one_line_error(cli("train", *arguments, "--run", tmp_path / "run"), 2, *words)
    assert not (tmp_path / "run" / "recipe.toml").exists()
