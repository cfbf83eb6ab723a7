"""The table of data sets, the bundled one, the real ones, and what the commands say of missing and bad data."""

import json

import numpy as np
import pytest

from helpers import cifar_arrays, idx, one_line_error, random_images, write_cifar_binary, write_mnist, write_pictures
from kcnn.data.dataset import channel_statistics
from kcnn.data.registry import DATASETS, load_dataset
from kcnn.errors import UsageError


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    data = load_dataset("digits")
    assert data.train.images.shape == (1438, 28, 28, 1)
    assert data.test.images.shape == (359, 28, 28, 1)
    assert data.class_names == list("0123456789")
    every = np.bincount(np.concatenate([data.train.labels, data.test.labels]))
    np.testing.assert_array_equal(every, np.bincount(load_digits().target))
    np.testing.assert_allclose(np.bincount(data.test.labels) / every, 0.2, atol=0.003)
    assert data.train.images[:, :4].max() == data.train.images[:, :, 24:].max() == 0
    assert data.train.images.max() == 255


def test_unknown_name():
    with pytest.raises(UsageError, match=r"unknown data set 'cifar'\. Did you mean 'cifar10'"):
        load_dataset("cifar")


def test_the_table():
    assert list(DATASETS) == [
        *("digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "cifar100_coarse", "tensors", "folder"),
    ]


# ---- through the command line: exit 1, one line, no run --------------------------------------------------------------


def test_bad_data_is_one_line_and_leaves_no_run(cli, tmp_path):
    folder = write_pictures(tmp_path / "pictures")
    (folder / "dog/x.jpg").write_text("no picture")
    run = tmp_path / "run"
    result = cli("train", "--dataset", "folder", "--data-dir", folder, "--image-size", 32, "--run", run)
    one_line_error(result, 1, folder / "dog/x.jpg")
    assert not run.exists()


def test_missing_data_is_one_line(cli, tmp_path):
    result = cli("train", "--model", "simple_cnn", "--data-dir", tmp_path / "none", "--run", tmp_path / "run")
    one_line_error(result, 1, "cifar-10-python.tar.gz is missing", tmp_path / "none")
    assert not (tmp_path / "run").exists()


def test_datasets_command_shows_what_is_here(cli, tmp_path):
    write_mnist(tmp_path)
    write_cifar_binary(tmp_path, "cifar10", cifar_arrays("cifar10"))
    result = cli("datasets", "--data-dir", tmp_path, "--json")
    present = {row["name"]: row["present"] for row in json.loads(result.stdout)}
    assert present == {
        **dict.fromkeys(("digits", "mnist", "cifar10", "folder"), True),
        **dict.fromkeys(("fashion_mnist", "cifar100", "cifar100_coarse", "tensors"), False),
    }
    text = cli("datasets", "--data-dir", tmp_path).stdout
    assert str(tmp_path) in text
    assert all(name in text for name in DATASETS)


# ---- the real sets ---------------------------------------------------------------------------------------------------


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "shape", "first_labels", "pixels"),
    [
        ("mnist", (60_000, 10_000, 28, 28, 1), [5, 0, 4, 1, 9, 2, 1, 3, 1, 4], 33.318),
        ("cifar10", (50_000, 10_000, 32, 32, 3), [6, 9, 9, 4, 1, 1, 2, 7, 8, 3], 120.708),
        ("cifar100", (50_000, 10_000, 32, 32, 3), [19, 29, 0, 11, 1, 86, 90, 28, 23, 31], 121.936),
        ("cifar100_coarse", (50_000, 10_000, 32, 32, 3), [11, 15, 4, 14, 1, 5, 18, 3, 10, 11], 121.936),
    ],
)
def test_full_sets(full_data, name, shape, first_labels, pixels):
    data = load_dataset(name, full_data)
    assert (len(data.train), len(data.test), *data.train.images.shape[1:]) == shape
    assert data.train.labels[:10].tolist() == first_labels
    assert len(set(np.bincount(data.train.labels))) == 1 or name == "mnist"
    assert data.train.images.mean() == pytest.approx(pixels, abs=0.01)
    means, _ = channel_statistics(data.train.images)
    np.testing.assert_allclose(data.mean, means, atol=0.01)


def test_the_files_of_these_tests_are_idx_files():
    """Magic number 2051 for images, 2049 for labels."""
    array = random_images(2, 3, 4, 1)[..., 0]
    assert int.from_bytes(idx(array)[:4], "big") == 2051
    assert int.from_bytes(idx(array[0, 0])[:4], "big") == 2049
