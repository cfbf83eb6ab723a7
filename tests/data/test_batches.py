"""Batches: a function of (seed, epoch, step); every image once an epoch; crop, flip and shift move whole images."""

import numpy as np
import pytest
from keras import ops

from helpers import random_images
from kcnn.data.batches import EvaluationBatches, TrainingBatches
from kcnn.data.dataset import Split

COUNT, CLASSES = 23, 5


def small_split(count=COUNT):
    return Split(random_images(count, 9, 8, 3), np.arange(count) % CLASSES)


def training(split=None, **options):
    values = {"batch_size": 4, "epochs": 3, "seed": 7, **options}
    return TrainingBatches(split or small_split(), CLASSES, values.pop("batch_size"), **values)


def arrays(batches, indices=None):
    """[(images, targets)] as NumPy arrays."""
    indices = range(batches.num_batches) if indices is None else indices
    return [tuple(ops.convert_to_numpy(part) for part in batches[index]) for index in indices]


def equal(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def positions(split, images):
    """Which image of the split each one is."""
    matches = (images[:, None] == split.images[None]).all((2, 3, 4))
    assert (matches.sum(1) == 1).all()
    return matches.argmax(1)


def test_every_image_once_an_epoch_with_its_label():
    split = small_split()
    batches = training(split)
    assert (batches.steps_per_epoch, batches.num_batches) == (6, 18)
    orders = []
    for epoch in range(3):
        parts = arrays(batches, range(6 * epoch, 6 * epoch + 6))
        assert [len(images) for images, _ in parts] == [4, 4, 4, 4, 4, 3]
        images, targets = (np.concatenate(column) for column in zip(*parts, strict=True))
        assert images.dtype == np.uint8
        order = positions(split, images)
        assert sorted(order) == list(range(COUNT))
        np.testing.assert_array_equal(targets, np.eye(CLASSES, dtype=np.float32)[split.labels[order]])
        orders.append(order.tolist())
    assert orders[0] != orders[1] != orders[2] != sorted(orders[2])


def test_the_last_smaller_batch_may_be_dropped():
    whole, dropped = training(), training(drop_last=True)
    assert (dropped.steps_per_epoch, dropped.num_batches, dropped.images_per_epoch) == (5, 15, 20)
    assert (whole.steps_per_epoch, whole.images_per_epoch) == (6, 23)
    expected = [part for index, part in enumerate(arrays(whole)) if index % 6 < 5]
    equal(arrays(dropped), expected)
    assert training(batch_size=23, drop_last=True).steps_per_epoch == 1


AUGMENT = {"crop": 2, "flip": 0.5}


def test_the_same_seed_gives_the_same_batches():
    equal(arrays(training(augment=AUGMENT)), arrays(training(augment=AUGMENT)))


def test_another_seed_gives_other_batches():
    first, second = (arrays(training(seed=seed, augment=AUGMENT)) for seed in (0, 1))
    assert any((a != b).any() for (a, _), (b, _) in zip(first, second, strict=True))


def test_a_batch_does_not_depend_on_what_was_asked_before():
    batches = training(augment=AUGMENT)
    expected = arrays(batches)
    backwards = arrays(batches, reversed(range(batches.num_batches)))
    equal(expected, backwards[::-1])


@pytest.mark.parametrize("first", [1, 2])
def test_resumed_batches_are_the_tail(first):
    whole = training(augment=AUGMENT)
    rest = training(augment=AUGMENT, first_epoch=first)
    assert rest.num_batches == whole.num_batches - 6 * first
    equal(arrays(rest), arrays(whole, range(6 * first, 18)))


def test_epochs_are_augmented_differently():
    split = Split(np.repeat(random_images(1, 9, 8, 3), 4, axis=0), np.zeros(4, np.int64))
    first, second = arrays(training(split, epochs=2, augment=AUGMENT))
    assert (first[0] != second[0]).any()


def test_label_smoothing():
    _, targets = arrays(training(label_smoothing=0.1), [0])[0]
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    assert sorted(set(targets.flat)) == pytest.approx([0.02, 0.92])


def test_evaluation_batches_are_the_images_in_order():
    split = small_split()
    batches = EvaluationBatches(split, CLASSES, 10)
    parts = arrays(batches)
    assert [len(images) for images, _ in parts] == [10, 10, 3]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in parts]), split.images)
    np.testing.assert_array_equal(np.concatenate([targets for _, targets in parts]).argmax(1), split.labels)


def moved(image, down, right, mirrored):
    """A plain reference: mirror, then move, with zeros coming in."""
    image = image[:, ::-1] if mirrored else image
    height, width, _ = image.shape
    most = 20
    padded = np.pad(image, ((most, most), (most, most), (0, 0)))
    return padded[most - down : most - down + height, most - right : most - right + width]


def find_move(image, result, most, mirrored):
    """(down, right, mirrored) that make `result` of `image`; fails if there is none."""
    for flag in mirrored:
        for down in range(-most, most + 1):
            for right in range(-most, most + 1):
                if np.array_equal(moved(image, down, right, flag), result):
                    return down, right, flag
    raise AssertionError("no whole move with zero fill gives this image")


def augmented(augment, count=200):
    """The moves of `count` images, each found by its label."""
    images = 1 + random_images(count, 9, 8, 2) // 2  # no zeros inside, so that the fill shows
    batches = TrainingBatches(Split(images, np.arange(count)), count, 64, epochs=1, seed=1, augment=augment)
    parts = arrays(batches)
    results = np.concatenate([images for images, _ in parts])
    labels = np.concatenate([targets for _, targets in parts]).argmax(1)
    assert sorted(labels) == list(range(count))
    flags = (False, True) if "flip" in augment else (False,)
    most = int(max(augment.get("crop", 0), augment.get("shift", 0)))
    return [find_move(images[label], result, most, flags) for label, result in zip(labels, results, strict=True)]


@pytest.mark.parametrize("name", ["crop", "shift"])
def test_crop_and_shift_move_by_every_offset_with_zero_fill(name):
    moves = augmented({name: 2})
    for axis in (0, 1):
        counts = np.bincount([move[axis] + 2 for move in moves], minlength=5)
        # Each of the five offsets has probability 1/5: 40 of 200, and 20 or 60 are 3.5 standard deviations away.
        assert counts.min() > 20
        assert counts.max() < 60
    assert len({move[:2] for move in moves}) == 25


def test_flip_mirrors_left_and_right():
    moves = augmented({"flip": 0.5})
    assert {move[:2] for move in moves} == {(0, 0)}
    assert 70 < sum(move[2] for move in moves) < 130


def test_flip_with_certainty():
    assert all(move[2] for move in augmented({"flip": 1.0}, count=20))


def test_crop_and_flip_together():
    moves = augmented({"crop": 3, "flip": 0.5}, count=100)
    assert {move[2] for move in moves} == {False, True}
    assert max(move[0] for move in moves) == 3 == -min(move[1] for move in moves)


def test_augmentation_is_for_training_only():
    images, _ = arrays(EvaluationBatches(small_split(), CLASSES, 100))[0]
    np.testing.assert_array_equal(images, small_split().images)
