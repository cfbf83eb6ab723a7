"""The sources: each reads its real file format exactly, and each kind of damage is one sentence that names the file."""

import re
import tarfile
import threading
from http.server import HTTPServer, SimpleHTTPRequestHandler

import numpy as np
import pytest
import torch

from helpers import (
    cifar_arrays,
    cifar_names,
    idx,
    md5,
    one_line_error,
    random_images,
    write_cifar_binary,
    write_cifar_pickles,
    write_mnist,
    write_pictures,
    write_tensors,
)
from kcnn.data.dataset import Dataset, Split, channel_statistics, limit, split_validation, stratified
from kcnn.data.registry import DATASETS, load_dataset, missing_files
from kcnn.errors import KcnnError, UsageError


def load_fails(name, folder, *words, **options):
    """Assert that loading fails with one line that has all the words."""
    with pytest.raises(KcnnError) as caught:
        load_dataset(name, str(folder), **options)
    for word in words:
        assert str(word) in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


def equal_splits(found, images, labels):
    assert found.images.dtype == np.uint8
    assert found.labels.dtype == np.int64
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.labels, labels)


# ---- digits ----------------------------------------------------------------------------------------------------------


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


# ---- MNIST -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """A folder with packed files whose md5 sums torchvision accepts, and the arrays in them."""
    from torchvision import datasets

    arrays = write_mnist(tmp_path)
    sums = [(f"{name}.gz", md5((tmp_path / f"MNIST/raw/{name}.gz").read_bytes())) for name in arrays]
    monkeypatch.setattr(datasets.MNIST, "resources", sums)
    return tmp_path, arrays


def equal_mnist(data, arrays):
    equal_splits(data.train, arrays["train-images-idx3-ubyte"][..., None], arrays["train-labels-idx1-ubyte"])
    equal_splits(data.test, arrays["t10k-images-idx3-ubyte"][..., None], arrays["t10k-labels-idx1-ubyte"])


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


# ---- CIFAR -----------------------------------------------------------------------------------------------------------


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


def malicious(marker):
    """A pickle that makes the file `marker` when it is opened carelessly."""
    import pickle
    from pathlib import Path

    class Payload:
        def __reduce__(self):
            return Path.touch, (marker,)

    return pickle.dumps(Payload())


# ---- download --------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path_factory):
    """An HTTP server on this machine: (its address, its folder)."""
    folder = tmp_path_factory.mktemp("server")

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, directory=str(folder), **options)

        def log_message(self, *arguments):
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", folder
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_mnist_is_fetched_with_a_progress_bar(small_mnist, server, tmp_path, monkeypatch, capfd):
    from torchvision import datasets

    source, arrays = small_mnist
    address, folder = server
    (source / "MNIST/raw").rename(folder / "files")
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{address}/files/"])
    target = tmp_path / "new"
    assert len(missing_files("mnist", str(target))) == 4
    equal_mnist(load_dataset("mnist", str(target)), arrays)
    assert missing_files("mnist", str(target)) == []
    assert re.search(r"100(\.0)?%", capfd.readouterr().err)


def test_cifar_is_fetched_with_a_progress_bar(server, tmp_path, monkeypatch, capfd):
    from torchvision import datasets

    address, folder = server
    parts = cifar_arrays("cifar100")
    root = write_cifar_pickles(tmp_path / "source", "cifar100", parts, monkeypatch)
    with tarfile.open(folder / "cifar.tar.gz", "w:gz") as archive:
        archive.add(root, root.name)
    monkeypatch.setattr(datasets.CIFAR100, "url", f"{address}/cifar.tar.gz")
    monkeypatch.setattr(datasets.CIFAR100, "tgz_md5", md5((folder / "cifar.tar.gz").read_bytes()))
    data = load_dataset("cifar100", str(tmp_path / "new"))
    equal_splits(data.test, parts[1][0], parts[1][2])
    assert re.search(r"100(\.0)?%", capfd.readouterr().err)


def test_a_download_that_does_not_match_its_md5_is_refused(server, tmp_path, monkeypatch):
    from torchvision import datasets

    address, folder = server
    (folder / "cifar.tar.gz").write_bytes(b"something else")
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{address}/cifar.tar.gz")
    load_fails("cifar10", tmp_path, "cifar-10-python.tar.gz", "corrupted", tmp_path)


# ---- tensors ---------------------------------------------------------------------------------------------------------


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


# ---- what they share -------------------------------------------------------------------------------------------------


def test_unknown_name():
    with pytest.raises(UsageError, match=r"unknown data set 'cifar'\. Did you mean 'cifar10'"):
        load_dataset("cifar")


def test_the_table():
    assert list(DATASETS) == [
        *("digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "cifar100_coarse", "tensors", "folder"),
    ]


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
    import json

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
