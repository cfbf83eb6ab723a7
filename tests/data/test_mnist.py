"""MNIST and Fashion-MNIST from files in their own format, and each kind of damage as one sentence."""

import pytest

from helpers import equal_mnist, idx, load_fails, write_mnist, write_trusted_mnist
from kcnn.data.registry import load_dataset, missing_files


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """A folder with packed files whose md5 sums torchvision accepts, and the arrays in them."""
    return tmp_path, write_trusted_mnist(tmp_path, monkeypatch)


def test_mnist_packed(small_mnist):
    folder, arrays = small_mnist
    data = load_dataset("mnist", str(folder))
    equal_mnist(data, arrays)
    assert data.class_names == list("0123456789")
    assert (data.mean, data.std) == ([0.1307], [0.3081])


def test_mnist_unpacked(tmp_path):
    arrays = write_mnist(tmp_path, packed=False)
    equal_mnist(load_dataset("mnist", str(tmp_path)), arrays)


def test_fashion_mnist(tmp_path):
    arrays = write_mnist(tmp_path, packed=False, kind="FashionMNIST")
    data = load_dataset("fashion_mnist", str(tmp_path))
    equal_mnist(data, arrays)
    assert data.class_names[0] == "T-shirt/top"
    assert data.class_names[9] == "Ankle boot"


def test_data_dir_from_the_environment(tmp_path, monkeypatch):
    arrays = write_mnist(tmp_path, packed=False)
    monkeypatch.setenv("KCNN_DATA_DIR", str(tmp_path))
    equal_mnist(load_dataset("mnist"), arrays)
    assert missing_files("mnist") == []


def test_mnist_missing_without_a_network(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte.gz").unlink()
    wanted = tmp_path / "MNIST/raw"
    assert missing_files("mnist", str(tmp_path)) == [wanted / "t10k-labels-idx1-ubyte.gz"]


def test_mnist_missing_file_is_named_with_its_place(small_mnist):
    folder, _ = small_mnist
    (folder / "MNIST/raw/t10k-labels-idx1-ubyte.gz").unlink()
    load_fails(
        "mnist", folder, "t10k-labels-idx1-ubyte.gz is missing", f"Put it into {folder / 'MNIST/raw'}", "KCNN_DATA_DIR"
    )


@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-7],  # truncated
        lambda content: b"",  # empty
        lambda content: content[:10],  # only a part of the header
        lambda content: b"<html>" + content[6:],  # another kind of file
        lambda content: bytes([0, 0, 10]) + content[3:],  # a type that IDX does not have
        lambda content: bytes([0, 0, 13]) + content[3:],  # floats
    ],
)
def test_damaged_mnist_file_is_named(tmp_path, file, damage):
    write_mnist(tmp_path, packed=False)
    path = tmp_path / "MNIST/raw" / file
    path.write_bytes(damage(path.read_bytes()))
    load_fails("mnist", tmp_path, path, "damaged")


def test_truncated_mnist_archive_is_named(small_mnist):
    folder, _ = small_mnist
    path = folder / "MNIST/raw/train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    load_fails("mnist", folder, "train-labels-idx1-ubyte.gz is damaged", folder)


def test_mnist_label_out_of_range_names_the_file(tmp_path):
    arrays = write_mnist(tmp_path, packed=False)
    labels = arrays["t10k-labels-idx1-ubyte"].copy()
    labels[3] = 10
    path = tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte"
    path.write_bytes(idx(labels))
    load_fails("mnist", tmp_path, path, "label 10 of image 3", "0 to 9")


def test_mnist_with_fewer_labels_than_images_names_the_file(tmp_path):
    arrays = write_mnist(tmp_path, packed=False)
    path = tmp_path / "MNIST/raw/train-labels-idx1-ubyte"
    path.write_bytes(idx(arrays[path.name][:-1]))
    load_fails("mnist", tmp_path, path, "60 images but 59 labels")
