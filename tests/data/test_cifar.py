"""CIFAR-10 and CIFAR-100 from pickles and from the binary version, and each kind of damage as one sentence."""

import pytest

from helpers import (
    cifar_arrays,
    cifar_names,
    equal_splits,
    load_fails,
    malicious,
    write_cifar_binary,
    write_cifar_pickles,
)
from kcnn.data.registry import load_dataset, missing_files


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "cifar100_coarse"])
def test_cifar_pickles_and_binary_are_equal(name, tmp_path, monkeypatch):
    parts = cifar_arrays(name)
    write_cifar_binary(tmp_path / "binary", name, parts)
    write_cifar_pickles(tmp_path / "pickles", name, parts, monkeypatch)
    for form in ("binary", "pickles"):
        data = load_dataset(name, str(tmp_path / form))
        for found, (images, coarse, fine) in zip((data.train, data.test), parts, strict=True):
            equal_splits(found, images, coarse if name == "cifar100_coarse" else fine)
        kind = {"cifar10": "cifar10", "cifar100": "fine", "cifar100_coarse": "coarse"}[name]
        assert data.class_names == cifar_names(kind)
        assert len(data.mean) == len(data.std) == 3


def test_the_pickles_win_where_both_are(tmp_path, monkeypatch):
    pickles, binary = cifar_arrays("cifar10"), cifar_arrays("cifar10", train=60)
    write_cifar_pickles(tmp_path, "cifar10", pickles, monkeypatch)
    write_cifar_binary(tmp_path, "cifar10", binary)
    assert len(load_dataset("cifar10", str(tmp_path)).train) == 50


def test_cifar_missing_without_a_network(tmp_path):
    load_fails("cifar10", tmp_path, "cifar-10-python.tar.gz is missing", f"Put it into {tmp_path}", "--data-dir")
    load_fails("cifar100_coarse", tmp_path, "cifar-100-python.tar.gz is missing", f"Put it into {tmp_path}")
    assert missing_files("cifar100", str(tmp_path)) == [tmp_path / "cifar-100-python.tar.gz"]


@pytest.mark.parametrize("file", ["data_batch_3.bin", "test_batch.bin"])
def test_truncated_cifar_binary_is_named(tmp_path, file):
    root = write_cifar_binary(tmp_path, "cifar10", cifar_arrays("cifar10"))
    (root / file).write_bytes((root / file).read_bytes()[:-100])
    load_fails("cifar10", tmp_path, root / file, "truncated", "3073")


@pytest.mark.parametrize("file", ["data_batch_3.bin", "batches.meta.txt"])
def test_absent_cifar_binary_file_is_named(tmp_path, file):
    root = write_cifar_binary(tmp_path, "cifar10", cifar_arrays("cifar10"))
    (root / file).unlink()
    load_fails("cifar10", tmp_path, root / file, "missing")


def test_cifar_binary_label_out_of_range_names_the_file(tmp_path):
    root = write_cifar_binary(tmp_path, "cifar10", cifar_arrays("cifar10"))
    content = bytearray((root / "data_batch_2.bin").read_bytes())
    content[3073] = 77
    (root / "data_batch_2.bin").write_bytes(content)
    load_fails("cifar10", tmp_path, root / "data_batch_2.bin", "label 77 of image 1", "0 to 9")


def test_damaged_cifar_pickle_is_named_and_not_opened(tmp_path, monkeypatch):
    root = write_cifar_pickles(tmp_path, "cifar10", cifar_arrays("cifar10"), monkeypatch)
    (root / "data_batch_4").write_bytes(malicious(tmp_path / "executed"))
    load_fails("cifar10", tmp_path, root.name, "data_batch_4", "damaged")
    assert not (tmp_path / "executed").exists()
