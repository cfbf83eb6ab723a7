"""RandAugment: what it draws, and its changes of levels against torchvision's."""

import numpy as np
import pytest
import torch
from test_augment import COUNT, SHAPE, apart, augmented, pictures, reference
from torchvision.transforms.v2 import functional

from kcnn.data.augment import geometry, pixels
from kcnn.data.augment import operations as augment


def test_randaugment_changes_more_at_a_higher_level():
    smooth = torch.from_numpy(np.tile(np.linspace(20, 200, 24, dtype=np.uint8)[:, None, None], (40, 1, 24, 3)))
    change = [
        np.abs(augmented({"randaugment": level}, smooth)[0].numpy().astype(int) - smooth.numpy()).mean()
        for level in (0.1, 5, 10)
    ]
    assert change[0] < 8 < change[1] < change[2]  # autocontrast and equalize have no level


def test_randaugment_gives_each_image_two_operations_at_most():
    colours = ["brightness", "contrast", "sharpness", "saturation"]
    levels = ["posterize", "solarize", "autocontrast", "equalize"]
    steps = augment.draw({"randaugment": 10}, 300, SHAPE, np.random.default_rng(0))
    assert [step.operation for step in steps] == ["sample", *colours, *levels]
    unchanged = [1, 1, 1, 1, 255, 256, False, False]
    felt = [step.arrays[0] != nothing for step, nothing in zip(steps[1:], unchanged, strict=True)]
    assert all(0 < images.sum() < 100 for images in felt)
    moved = (steps[0].arrays[0] != geometry.fixed_point(geometry.plane(), SHAPE)).any((1, 2))
    assert np.sum([moved, *felt], 0).max() == 2
    grey = augment.draw({"randaugment": 5}, 2, (8, 8, 1), np.random.default_rng(0))
    assert [step.operation for step in grey] == ["sample", *colours[:3], *levels]


@pytest.mark.parametrize(
    ("name", "value", "expected", "most"),
    [
        ("posterize", np.uint8(0b11100000), lambda images: functional.posterize(images, 3), 0),
        ("solarize", np.int32(100), lambda images: functional.solarize(images, 100), 0),
        ("sharpness", np.float32(1.75), lambda images: functional.adjust_sharpness(images, 1.75), 1),
        ("sharpness", np.float32(0.25), lambda images: functional.adjust_sharpness(images, 0.25), 1),
        ("autocontrast", np.True_, functional.autocontrast, 1),
        ("equalize", np.True_, functional.equalize, 0),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_changes_of_levels_equal_torchvision(name, value, expected, most, channels):
    images = pictures((40, 24, channels)) // 2 + 40
    images[0] = 7  # one level only
    found = getattr(pixels, name)(images, np.full(COUNT, value))
    assert found.dtype == torch.uint8
    assert apart(found, reference(expected, images)) <= most
    assert (found[1:] != images[1:]).any((1, 2, 3)).all()


@pytest.mark.parametrize(
    ("name", "nothing"),
    [
        ("posterize", np.uint8(255)),
        ("solarize", np.int32(256)),
        ("sharpness", np.float32(1)),
        ("autocontrast", np.False_),
        ("equalize", np.False_),
    ],
)
def test_levels_of_images_not_chosen_stay(name, nothing):
    images = pictures((40, 24, 3))
    assert torch.equal(getattr(pixels, name)(images, np.full(COUNT, nothing)), images)


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 9, 1)])
def test_images_without_an_inside_stay_as_sharp_as_they_are(shape):
    images = pictures(shape)
    assert torch.equal(pixels.sharpness(images, np.full(COUNT, np.float32(2))), images)
