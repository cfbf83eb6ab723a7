"""What tests share: the check of an error line, and tiny data sets in their real file formats."""

import gzip
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest

from kcnn.data.registry import load_dataset
from kcnn.errors import KcnnError


def one_line_error(result, code, *words):
    """Assert that a command ended with one line on stderr that has all the words, and this exit code."""
    assert result.exit_code == code, (result.exit_code, result.output, result.exception)
    last = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(last) == 1, result.stderr
    assert result.stderr.rstrip().endswith(last[0]), result.stderr
    assert "Traceback" not in result.output
    for word in words:
        assert str(word) in last[0], last[0]


def refused(read, *words):
    """Assert that a call ends in one sentence with all the words."""
    with pytest.raises(KcnnError) as caught:
        read()
    for word in words:
        assert str(word) in str(caught.value), str(caught.value)
    assert len(str(caught.value).splitlines()) == 1, str(caught.value)


def load_fails(name, folder, *words, **options):
    """Assert that loading fails with one line that has all the words."""
    refused(lambda: load_dataset(name, str(folder), **options), *words)


def equal_splits(found, images, labels):
    assert found.images.dtype == np.uint8
    assert found.labels.dtype == np.int64
    np.testing.assert_array_equal(found.images, images)
    np.testing.assert_array_equal(found.labels, labels)


def equal_mnist(data, arrays):
    equal_splits(data.train, arrays["train-images-idx3-ubyte"][..., None], arrays["train-labels-idx1-ubyte"])
    equal_splits(data.test, arrays["t10k-images-idx3-ubyte"][..., None], arrays["t10k-labels-idx1-ubyte"])


def malicious(marker):
    """A pickle that makes the file `marker` when it is opened carelessly."""

    class Payload:
        def __reduce__(self):
            return Path.touch, (marker,)

    return pickle.dumps(Payload())


# ---- data sets in their real formats ---------------------------------------------------------------------------------


def random_images(count, height, width, channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), np.uint8)


def balanced_labels(count, classes, seed=0):
    return np.random.default_rng(seed).permutation(np.arange(count) % classes).astype(np.uint8)


def idx(array):
    """An array as an IDX file: two zeros, the type (8: bytes), the number of dimensions, the dimensions, the data."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def md5(content):
    return hashlib.md5(content).hexdigest()


def write_mnist(folder, train=60, test=20, packed=True, kind="MNIST"):
    """MNIST's four files; returns {name of the unpacked file: array}."""
    arrays = {
        "train-images-idx3-ubyte": random_images(train, 28, 28, 1)[..., 0],
        "train-labels-idx1-ubyte": balanced_labels(train, 10),
        "t10k-images-idx3-ubyte": random_images(test, 28, 28, 1, seed=1)[..., 0],
        "t10k-labels-idx1-ubyte": balanced_labels(test, 10, seed=1),
    }
    raw = folder / kind / "raw"
    raw.mkdir(parents=True)
    for name, array in arrays.items():
        if packed:
            (raw / f"{name}.gz").write_bytes(gzip.compress(idx(array), mtime=0))
        else:
            (raw / name).write_bytes(idx(array))
    return arrays


def write_trusted_mnist(folder, monkeypatch):
    """MNIST's packed files; torchvision's table of md5 sums is changed to these files'."""
    from torchvision import datasets

    arrays = write_mnist(folder)
    sums = [(f"{name}.gz", md5((folder / f"MNIST/raw/{name}.gz").read_bytes())) for name in arrays]
    monkeypatch.setattr(datasets.MNIST, "resources", sums)
    return arrays


def cifar_arrays(name, train=50, test=20):
    """[(images NHWC, coarse, fine)] of the training and the test part; CIFAR-10 uses the fine labels."""
    classes = 10 if name == "cifar10" else 100
    return [
        (
            random_images(count, 32, 32, 3, seed),
            balanced_labels(count, 20, seed),
            balanced_labels(count, classes, seed + 9),
        )
        for seed, count in enumerate((train, test))
    ]


def cifar_names(name):
    return [f"{name}_{index}" for index in range({"cifar10": 10, "coarse": 20, "fine": 100}[name])]


def planes(images):
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def write_cifar_binary(folder, name, parts):
    """The official binary version."""
    root = folder / ("cifar-10-batches-bin" if name == "cifar10" else "cifar-100-binary")
    root.mkdir(parents=True)

    def record(images, coarse, fine):
        labels = fine[:, None] if name == "cifar10" else np.stack([coarse, fine], 1)
        return np.concatenate([labels, planes(images)], 1).astype(np.uint8).tobytes()

    if name == "cifar10":
        for index, chunk in enumerate(_fifths(parts[0]), start=1):
            (root / f"data_batch_{index}.bin").write_bytes(record(*chunk))
        (root / "test_batch.bin").write_bytes(record(*parts[1]))
        (root / "batches.meta.txt").write_text("\n".join(cifar_names("cifar10")) + "\n\n")
    else:
        for file, part in zip(("train", "test"), parts, strict=True):
            (root / f"{file}.bin").write_bytes(record(*part))
        for kind in ("coarse", "fine"):
            (root / f"{kind}_label_names.txt").write_text("\n".join(cifar_names(kind)) + "\n")
    return root


def write_cifar_pickles(folder, name, parts, monkeypatch):
    """torchvision's version; its table of md5 sums is changed to these files'."""
    from torchvision import datasets

    reader = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    root = folder / reader.base_folder
    root.mkdir(parents=True)

    def write(file, value):
        content = pickle.dumps(value, protocol=2)
        (root / file).write_bytes(content)
        return [file, md5(content)]

    def entry(images, coarse, fine):
        labels = {"labels": fine.tolist()}
        if name != "cifar10":
            labels = {"fine_labels": fine.tolist(), "coarse_labels": coarse.tolist()}
        return {"data": planes(images), **labels}

    if name == "cifar10":
        train = [write(f"data_batch_{i}", entry(*chunk)) for i, chunk in enumerate(_fifths(parts[0]), start=1)]
        test = [write("test_batch", entry(*parts[1]))]
        meta = write("batches.meta", {"label_names": cifar_names("cifar10")})
    else:
        train, test = [write("train", entry(*parts[0]))], [write("test", entry(*parts[1]))]
        names = {f"{kind}_label_names": cifar_names(kind) for kind in ("fine", "coarse")}
        meta = write("meta", names)
    monkeypatch.setattr(reader, "train_list", train)
    monkeypatch.setattr(reader, "test_list", test)
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": meta[1]})
    return root


def _fifths(part):
    return zip(*(np.array_split(array, 5) for array in part), strict=True)


def write_tensors(folder, images=None, labels=None, test_images=None, test_labels=None):
    """Report 3's four files."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "train_data": torch.from_numpy(random_images(30, 28, 28, 1)[..., 0]) if images is None else images,
        "train_labels": torch.arange(30) % 3 if labels is None else labels,
        "test_data": torch.from_numpy(random_images(12, 28, 28, 1, 1)[..., 0]) if test_images is None else test_images,
        "test_labels": torch.arange(12) % 3 if test_labels is None else test_labels,
    }
    for name, value in values.items():
        torch.save(value, folder / f"{name}.pth")
    return values


def write_pictures(folder, classes=("cat", "dog"), count=5, size=(40, 30)):
    """Pictures, each class of one colour with noise; returns the folder."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for index, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 60, (size[1], size[0], 3), np.uint8)
            pixels[..., index % 3] += 180
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder
