"""Small files that claim gigabytes; as a program: `python bombs.py FOLDER` reads them all with 1 GiB to spare.

It prints a line of JSON: what came of each, and by how much the memory grew.
"""

import io
import json
import os
import resource
import struct
import sys
import warnings
import zipfile
from pathlib import Path

import data_readers
import h5py
import mutations
import numpy as np
import readers
import torch

SPARE = 2**30
LARGE = 200 * 2**20


def zip_with(folder, source, name, content):
    """The archive with one member in place of another, packed."""
    path = folder / source.name
    members = {**dict(mutations.unzip(source.read_bytes())), name: content}
    path.write_bytes(mutations.rezip([*members.items()], zipfile.ZIP_DEFLATED))
    return path


def with_layer(folder, good, kind, **values):
    """The model with other numbers in the configuration of its last layer of a kind."""
    config = json.loads(dict(mutations.unzip(good.read_bytes()))["config.json"])
    layer = next(layer for layer in reversed(config["config"]["layers"]) if layer["class_name"] == kind)
    layer["config"].update(values)
    return zip_with(folder, good, "config.json", json.dumps(config))


def resizing(folder, good):
    """A model that first makes its images 100,000 pixels wide."""
    import keras

    images = keras.Input((12, 12, 1), dtype="uint8")
    large = keras.layers.Resizing(100_000, 100_000)(images)
    model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(large), name="lenet5")
    model.save(folder / "large.keras")
    return folder / "large.keras"


def sparse_weights(folder, good):
    """An array of 3 GB of which nothing is stored."""
    file = folder / "w.h5"
    file.write_bytes(dict(mutations.unzip(good.read_bytes()))["model.weights.h5"])
    with h5py.File(file, "a") as weights:
        found = []
        weights.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
        del weights[found[0]]
        weights.create_dataset(found[0], (750_000_000,), "float32", chunks=(1_000_000,), compression="gzip")
    return zip_with(folder, good, "model.weights.h5", file.read_bytes())


def header(shape, kind="|u1"):
    """The beginning of an `.npy` file."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def write(path, content):
    path.write_bytes(content)
    return path


def idx_images(folder):
    path = data_readers.make_mnist("train-images-idx3-ubyte")(folder)
    return write(path, bytes([0, 0, 8, 3]) + struct.pack(">III", 2**31, 2**15, 2**15) + bytes(999))


def save(path, content):
    torch.save(content, path)
    return path


def expanded():
    return torch.zeros(1, dtype=torch.float64).expand(30, 1, 2_000, 2_000)


def make(folder):
    """Name → (file, how it is read)."""
    good = readers.make_keras(folder / "good")
    small = readers.make_pth(folder / "good")
    safe = struct.pack("<Q", 2**40) + b"{}"
    tensors = data_readers.make_tensors("train_data.pth")(folder / "tensors")
    (name,) = [name for name, _ in mutations.unzip(small.read_bytes()) if name.endswith("data/0")]

    def at(place, builder, *arguments, **options):
        (folder / place).mkdir()
        return builder(folder / place, *arguments, **options)

    return {
        "weights": (at("a", zip_with, good, "model.weights.h5", bytes(LARGE)), readers.read_keras),
        "optimizer": (at("b", zip_with, good, "optimizer.npz", bytes(LARGE)), readers.read_keras),
        "info": (at("c", zip_with, good, "kcnn.json", b" " * LARGE + b"{}"), readers.read_keras),
        "configuration": (at("d", zip_with, good, "config.json", b"[" * LARGE), readers.read_keras),
        "layer": (at("e", with_layer, good, "Dense", units=2**40), readers.read_keras),
        "wide layer": (at("f", with_layer, good, "Dense", units=2**20), readers.read_keras),
        "resizing": (at("h", resizing, good), readers.read_keras),
        "sparse weights": (at("i", sparse_weights, good), readers.read_keras),
        "npy": (write(folder / "x.npy", header((10**6, 10**3, 10**3, 3)) + bytes(99)), data_readers.read_arrays),
        "npz": (
            write(folder / "x.npz", mutations.rezip([("images.npy", header((10**9, 12, 12, 1)) + bytes(99))])),
            data_readers.read_arrays,
        ),
        "npz of numbers": (
            write(folder / "y.npz", mutations.rezip([("images.npy", header((2**33,), "<f8") + bytes(99))])),
            data_readers.read_arrays,
        ),
        "pth": (at("j", zip_with, small, name, bytes(LARGE)), readers.read_weights),
        "repeated number": (save(folder / "x.pth", {"a": expanded()}), readers.read_weights),
        "safetensors": (write(folder / "x.safetensors", safe), readers.read_weights),
        "images": (save(tensors, expanded()), data_readers.read_tensors),
        "idx": (at("k", idx_images), data_readers.read_mnist),
    }


def main(folder):
    """Read them all; on stdout {name: [its size, what was said]} and {"grown": bytes}."""
    warnings.simplefilter("ignore")
    (folder / "good").mkdir()
    files = make(folder)
    readers.read_keras(folder / "good" / "last.keras")
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE, used + SPARE))
    said = {}
    for name, (path, read) in files.items():
        try:
            read(path)
            said[name] = [path.stat().st_size, "read"]
        except Exception as error:
            said[name] = [path.stat().st_size, f"{type(error).__name__}: {error}"]
    said["grown"] = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
