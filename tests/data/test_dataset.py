"""What every source gives: its checks, its parts, its statistics."""

import numpy as np
import pytest

from helpers import random_images
from kcnn.data.dataset import Dataset, Split, channel_statistics, limit, split_validation, stratified
from kcnn.errors import KcnnError


def test_stratified_parts_are_disjoint_complete_and_even():
    labels = np.repeat(np.arange(5), [100, 50, 20, 10, 10])
    rest, chosen = stratified(labels, 0.2, seed=3)
    np.testing.assert_array_equal(np.sort(np.concatenate([rest, chosen])), np.arange(len(labels)))
    assert np.bincount(labels[chosen]).tolist() == [20, 10, 4, 2, 2]
    np.testing.assert_array_equal(chosen, stratified(labels, 0.2, seed=3)[1])
    assert set(chosen) != set(stratified(labels, 0.2, seed=4)[1])


def numbered(count, classes=10):
    """Images that hold their own position."""
    images = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Split(images, np.arange(count) % classes)


def test_validation_is_taken_from_training():
    rest, chosen = split_validation(numbered(100), 0.3, seed=0)
    assert (len(rest), len(chosen)) == (70, 30)
    assert set(rest.images.flat) | set(chosen.images.flat) == set(range(100))
    assert (rest.images.reshape(-1) % 10 == rest.labels).all()
    assert len(split_validation(numbered(100), 0, seed=0)[1]) == 0


def test_limit_takes_every_class():
    assert np.bincount(limit(numbered(200), 50, seed=0).labels).tolist() == [5] * 10
    assert len(limit(numbered(200), 0, seed=0)) == len(limit(numbered(200), 500, seed=0)) == 200
    assert set(limit(numbered(200), 3, seed=0).labels) == set(range(10))  # at least one of each


def test_channel_statistics():
    images = random_images(50, 4, 5, 3)
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-4)
    assert channel_statistics(np.full((3, 2, 2, 1), 9, np.uint8))[1] == [1.0]


def test_dataset_checks_itself():
    good = numbered(20)
    empty = good.take(np.arange(0))
    with pytest.raises(KcnnError, match=r"test part .* no images"):
        Dataset(good, empty, list("0123456789"), [0.5], [0.5])
    with pytest.raises(KcnnError, match=r"the training part: label 5 of image 5 .*labels 0 to 4"):
        Dataset(good, good, list("01234"), [0.5], [0.5])
