"""Report 3's four files of tensors, in every accepted form, and each kind of damage as one sentence."""

import numpy as np
import pytest
import torch

from helpers import equal_splits, load_fails, malicious, random_images, write_tensors
from kcnn.data.registry import load_dataset, missing_files


def test_tensors_of_bytes(tmp_path):
    values = write_tensors(tmp_path)
    data = load_dataset("tensors", str(tmp_path))
    equal_splits(data.train, values["train_data"].numpy()[..., None], values["train_labels"].numpy())
    equal_splits(data.test, values["test_data"].numpy()[..., None], values["test_labels"].numpy())
    assert data.class_names == ["0", "1", "2"]
    assert data.mean[0] == pytest.approx(values["train_data"].float().mean().item() / 255, abs=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_tensors_of_floats_with_channels_first(tmp_path, channels):
    images = random_images(30, 8, 9, channels)
    floats = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    write_tensors(tmp_path, images=floats, test_images=floats[:12])
    data = load_dataset("tensors", str(tmp_path))
    np.testing.assert_array_equal(data.train.images, images)


def test_tensors_of_floats_up_to_255(tmp_path):
    images = random_images(30, 8, 9, 1)[..., 0]
    write_tensors(tmp_path, images=torch.from_numpy(images).float(), test_images=torch.from_numpy(images[:12]).double())
    data = load_dataset("tensors", str(tmp_path))
    np.testing.assert_array_equal(data.train.images[..., 0], images)
    np.testing.assert_array_equal(data.test.images[..., 0], images[:12])


def test_a_pickle_with_code_is_refused_and_not_executed(tmp_path):
    write_tensors(tmp_path)
    (tmp_path / "train_data.pth").write_bytes(malicious(tmp_path / "executed"))
    load_fails("tensors", tmp_path, tmp_path / "train_data.pth", "plain tensor")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"images": torch.zeros(30, 28)}, ["train_data.pth", "shape (30, 28)"]),
        ({"images": torch.zeros(30, 28, 28, 3)}, ["train_data.pth", "shape (30, 28, 28, 3)"]),
        ({"images": torch.full((30, 8, 8), -1.0)}, ["train_data.pth", "from -1"]),
        ({"images": torch.full((30, 8, 8), 1.5)}, ["train_data.pth", "1.5"]),
        ({"images": torch.full((30, 8, 8), torch.nan)}, ["train_data.pth"]),
        ({"images": {"data": torch.zeros(3)}}, ["train_data.pth", "plain tensor"]),
        ({"images": torch.zeros(0, 8, 8)}, ["train_data.pth"]),
        ({"labels": torch.arange(29) % 3}, ["train_labels.pth", "30 images but 29 labels"]),
        ({"labels": torch.arange(30) % 3 - 1}, ["train_labels.pth", "label -1 of image 0", "0 to 1"]),
        ({"labels": torch.zeros(30)}, ["train_labels.pth", "one class"]),
        ({"labels": torch.arange(30) / 10}, ["train_labels.pth", "whole numbers"]),
        ({"test_labels": torch.full((12,), 5)}, ["test_labels.pth", "label 5 of image 0", "0 to 2"]),
        ({"test_images": torch.zeros(12, 3, 28, 28)}, ["test_data.pth", "28×28×3", "28×28×1"]),
    ],
)
def test_wrong_tensors_are_told(tmp_path, values, words):
    write_tensors(tmp_path, **values)
    load_fails("tensors", tmp_path, *words)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x80\x02}q\x00."])
def test_damaged_tensor_file_is_named(tmp_path, content):
    write_tensors(tmp_path)
    (tmp_path / "test_labels.pth").write_bytes(content)
    load_fails("tensors", tmp_path, tmp_path / "test_labels.pth")


def test_truncated_tensor_file_is_named(tmp_path):
    write_tensors(tmp_path)
    path = tmp_path / "test_data.pth"
    path.write_bytes(path.read_bytes()[:-300])
    load_fails("tensors", tmp_path, path)


def test_missing_tensor_file_is_named(tmp_path):
    write_tensors(tmp_path)
    (tmp_path / "test_data.pth").unlink()
    assert missing_files("tensors", str(tmp_path)) == [tmp_path / "test_data.pth"]
    load_fails("tensors", tmp_path, tmp_path / "test_data.pth", "missing", "train_labels.pth")
