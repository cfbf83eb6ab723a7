"""What the random damage of `test_fuzz` had found, each as a small file of its own: models."""

import json
import zipfile

import mutations
import numpy as np
import pytest
import readers

from helpers import refused
from kcnn.results.onnx_model import OnnxModel
from kcnn.run.checkpoint import load_model, open_model, restore_optimizer


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A `.keras` with an optimizer and a log."""
    return readers.make_keras(tmp_path_factory.mktemp("good"))


def changed(good, folder, name, content):
    """The file with another member."""
    path = folder / "changed.keras"
    members = [(n, content if n == name else old) for n, old in mutations.unzip(good.read_bytes())]
    path.write_bytes(mutations.rezip(members))
    return path


# ---- .keras ----------------------------------------------------------------------------------------------------------

NAMES = ["cat", 3, {"a": "cat"}, ["cat", 3, "dog"], ["cat", "dog", "\ud800"], "cat,dog,eel", [["a"]], True]


@pytest.mark.parametrize("names", NAMES, ids=ascii)
def test_class_names_that_are_no_list_of_words(good, tmp_path, names):
    path = changed(good, tmp_path, "kcnn.json", json.dumps({"class_names": names}))
    refused(lambda: open_model(path), path, "class")


@pytest.mark.parametrize("names", [["a"], ["a", "b"], list("abcd")], ids=len)
def test_more_or_fewer_class_names_than_outputs(good, tmp_path, names):
    path = changed(good, tmp_path, "kcnn.json", json.dumps({"class_names": names}))
    refused(lambda: open_model(path), path, "damaged", len(names), 3)


@pytest.mark.parametrize("names", [None, []])
def test_without_class_names_there_are_numbers(good, tmp_path, names):
    path = changed(good, tmp_path, "kcnn.json", json.dumps({"class_names": names} if names is not None else {}))
    assert open_model(path)[1] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "[]", "3", "null", "{", "\xff", '{"resize": "big"}']
)
def test_an_info_of_another_shape(good, tmp_path, text):
    path = changed(good, tmp_path, "kcnn.json", text.encode("latin1"))
    refused(lambda: load_model(path), path)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "{}", '{"config": 3}', '{"config": {"layers": []}}', "null"])
def test_a_configuration_of_another_shape(good, tmp_path, text):
    path = changed(good, tmp_path, "config.json", text)
    refused(lambda: load_model(path), path)


@pytest.mark.parametrize("place", [0.02, 0.1, 0.5, 0.98])
def test_flipped_bits_in_weights_are_noticed(good, tmp_path, place):
    """Plain Keras reads a file with three members without comparing their checksums."""
    members = [pair for pair in mutations.unzip(good.read_bytes()) if pair[0] not in ("kcnn.json", "optimizer.npz")]
    content = bytearray(mutations.rezip(members))
    path = tmp_path / "flipped.keras"
    path.write_bytes(content)
    load_model(path)
    with zipfile.ZipFile(path) as archive:
        weights = archive.getinfo("model.weights.h5")
    content[weights.header_offset + 100 + int(place * (weights.file_size - 100))] ^= 0x40
    path.write_bytes(content)
    refused(lambda: load_model(path), path, "CRC")


@pytest.mark.parametrize("cut", [100, 2000, 9000])
def test_weights_that_end_early_with_the_right_checksum(good, tmp_path, cut):
    weights = dict(mutations.unzip(good.read_bytes()))["model.weights.h5"]
    path = changed(good, tmp_path, "model.weights.h5", weights[:cut])
    refused(lambda: load_model(path), path)


def test_a_link_in_the_weights_that_points_nowhere(good, tmp_path):
    """HDF5 has a RuntimeError for it."""
    weights = bytearray(dict(mutations.unzip(good.read_bytes()))["model.weights.h5"])
    symbols = [place for place in range(len(weights)) if weights[place : place + 4] == b"SNOD"]
    for place in symbols:
        weights[place + 16 : place + 24] = b"\xff" * 7 + b"\x0f"  # where the first object lies
    path = changed(good, tmp_path, "model.weights.h5", bytes(weights))
    refused(lambda: load_model(path), path)


def test_weights_that_are_no_numbers(good, tmp_path):
    import h5py

    weights = tmp_path / "w.h5"
    weights.write_bytes(dict(mutations.unzip(good.read_bytes()))["model.weights.h5"])
    with h5py.File(weights, "a") as file:
        found = []
        file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
        found[0][...] = np.nan
    path = changed(good, tmp_path, "model.weights.h5", weights.read_bytes())
    refused(lambda: load_model(path), path, "damaged", "NaN or infinite")


def test_an_optimizer_that_is_damaged(good, tmp_path):
    optimizer = readers.one_step_optimizer(open_model(good)[0])
    content = bytearray(dict(mutations.unzip(good.read_bytes()))["optimizer.npz"])
    content[len(content) // 2] ^= 1
    path = changed(good, tmp_path, "optimizer.npz", bytes(content))
    refused(lambda: restore_optimizer(optimizer, path), path)


# ---- .onnx -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [*NAMES, ["a", "b"]], ids=ascii)
def test_class_names_in_onnx_that_are_no_list_of_words(tmp_path, names):
    model = OnnxModel(readers.make_onnx(tmp_path, names))
    refused(lambda: model.class_names, "model.onnx", "class names")


@pytest.mark.parametrize("text", ["[" * 100_000, "[1", "'a'"], ids=len)
def test_class_names_in_onnx_that_are_no_json(tmp_path, text):
    import onnx

    path = readers.make_onnx(tmp_path)
    graph = onnx.load(path)
    graph.metadata_props[0].value = text
    onnx.save(graph, path)
    refused(lambda: OnnxModel(path).class_names, path, "class names")


def test_metadata_in_onnx_that_are_no_text(tmp_path, capfd):
    path = readers.make_onnx(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"cat"', b'"\xff\xfet"'))
    refused(lambda: OnnxModel(path).class_names, path)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("place", ["../secret.bin", "/etc/passwd", "link.bin", "nowhere.bin"])
def test_onnx_weights_in_files_elsewhere(tmp_path, place):
    import onnx

    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(12 * 12 * 3 * 4))
    (folder / "link.bin").symlink_to("../secret.bin")
    path = readers.make_onnx(folder)
    graph = onnx.load(path)
    tensor = graph.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    path.write_bytes(graph.SerializeToString())
    refused(lambda: OnnxModel(path), path, "another file")


def test_onnx_that_gives_something_else_than_it_says(tmp_path):
    import onnx

    path = readers.make_onnx(tmp_path)
    graph = onnx.load(path)
    graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4
    onnx.save(graph, path)
    refused(lambda: readers.read_onnx(path), path)
