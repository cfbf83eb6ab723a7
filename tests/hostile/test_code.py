"""Files made to run code, to read other files or to write outside their place: refused, and nothing happens."""

import json
import zipfile
from pathlib import Path

import h5py
import keras
import mutations
import numpy as np
import pytest
import readers

from helpers import refused
from kcnn.run.checkpoint import load_model, open_model
from kcnn.starts.transfer import described

FUNCTION = {"class_name": "function", "registered_name": "function"}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return readers.make_keras(tmp_path_factory.mktemp("good"))


def members(path):
    return dict(mutations.unzip(path.read_bytes()))


def with_config(good, folder, change):
    """The file with a changed configuration: `change` gets the configuration and the one of its first dense layer."""
    parts = members(good)
    config = json.loads(parts["config.json"])
    dense = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Dense")
    change(config, dense)
    path = folder / "evil.keras"
    path.write_bytes(mutations.rezip([*{**parts, "config.json": json.dumps(config)}.items()]))
    return path


# ---- the configuration -----------------------------------------------------------------------------------------------

PARTS = {
    "a lambda": {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
    "a lambda layer": {"module": "keras.layers", "class_name": "Lambda", "config": {"function": {}}},
    "a pickled torch module": {
        "module": "keras.layers",
        "class_name": "TorchModuleWrapper",
        "config": {"module": "gASVHQAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAJscyiUhZRSlC4="},
    },
    "a saved model": {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/tmp/model"}},
    "a vocabulary": {
        "module": "keras.layers",
        "class_name": "StringLookup",
        "config": {"vocabulary": "/etc/passwd", "num_oov_indices": 0, "mask_token": None},
    },
    "a type of tensorflow's": {"class_name": "__typespec__", "spec_name": "x", "module": "os", "config": []},
    "a class of Python's": {"module": "subprocess", "class_name": "Popen", "config": {"args": "touch canary"}},
    "a class of torch's": {"module": "torch.hub", "class_name": "load", "config": {}},
    "a class registered elsewhere": {
        "module": "keras.layers",
        "class_name": "Dense",
        "registered_name": "mine>Dense",
        "config": {"units": 3},
    },
    "a class without a module": {"class_name": "Mine", "registered_name": "mine>Mine", "config": {}},
    "a function of Python's": {**FUNCTION, "module": "os", "config": "system"},
    "a download": {**FUNCTION, "module": "keras.utils", "config": "get_file"},
    "a download as a class": {
        "module": "keras.utils",
        "class_name": "get_file",
        "config": {"fname": "x", "origin": "y"},
    },
    "opening another model": {**FUNCTION, "module": "keras.models", "config": "load_model"},
    "opening another model as a class": {"module": "keras.models", "class_name": "load_model", "config": {}},
    "leaving safe mode": {**FUNCTION, "module": "keras.config", "config": "enable_unsafe_deserialization"},
    "leaving safe mode as a class": {
        "module": "keras.src.saving.serialization_lib",
        "class_name": "enable_unsafe_deserialization",
        "config": {},
    },
    "weights from the network": {"module": "keras.applications", "class_name": "ResNet50", "config": {}},
    "a name that is no text": {"module": "keras.layers", "class_name": ["Dense"], "config": {}},
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("place", ["activation", "kernel_initializer", "layer"])
def test_a_part_that_is_not_an_ordinary_layer(good, tmp_path, monkeypatch, part, place):
    monkeypatch.chdir(tmp_path)

    def change(config, dense):
        if place == "layer":
            dense.update(part)
        else:
            dense["config"][place] = part

    path = with_config(good, tmp_path, change)
    for read in (load_model, open_model, described):
        refused(lambda read=read: read(path), path, "without risk", str(part["class_name"])[:8])
    assert [file.name for file in tmp_path.iterdir()] == ["evil.keras"]


@pytest.mark.parametrize("deep", [False, True])
def test_the_compilation_is_never_looked_at(good, tmp_path, deep):
    """kcnn compiles its models itself; a model within a model may bring a compilation, too."""
    evil = {"optimizer": PARTS["a lambda"], "loss": PARTS["a function of Python's"]}
    path = with_config(good, tmp_path, lambda config, dense: (dense if deep else config).update(compile_config=evil))
    model, _ = load_model(path)
    assert not model.compiled


def test_a_registered_class_is_not_used_either(good, tmp_path):
    """Whatever a program has registered with Keras, a file cannot call for it."""
    called = []

    @keras.saving.register_keras_serializable("mine", "Dense")
    class Canary(keras.layers.Dense):
        def __init__(self, *arguments, **options):
            called.append(1)
            super().__init__(*arguments, **options)

    try:
        path = with_config(good, tmp_path, lambda config, dense: dense.update(PARTS["a class registered elsewhere"]))
        refused(lambda: load_model(path), path, "Dense")
        assert called == []
    finally:
        keras.saving.get_custom_objects().pop("mine>Dense")


def test_unsafe_mode_does_not_open_the_door(good, tmp_path):
    path = with_config(good, tmp_path, lambda config, dense: dense["config"].update(activation=PARTS["a lambda"]))
    keras.config.enable_unsafe_deserialization()
    try:
        refused(lambda: load_model(path), path, "__lambda__")
    finally:
        keras.src.saving.serialization_lib.global_state.set_global_attribute("safe_mode_saving", None)


# ---- the weights -----------------------------------------------------------------------------------------------------


def with_weights(good, folder, change):
    """The file with changed weights: `change` gets the open HDF5 file and the path of its largest array."""
    weights = folder / "w.h5"
    weights.write_bytes(members(good)["model.weights.h5"])
    with h5py.File(weights, "a") as file:
        found = []
        file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
        change(file, max(found, key=lambda item: item.size).name)
    path = folder / "evil.keras"
    path.write_bytes(mutations.rezip([*{**members(good), "model.weights.h5": weights.read_bytes()}.items()]))
    return path


def external_link(file, name):
    del file[name]
    file[name] = h5py.ExternalLink("/tmp/secret.h5", "/x")


def soft_link(file, name):
    file.move(name, "/moved")
    file[name] = h5py.SoftLink("/moved")


def group_elsewhere(file, name):
    file["layers/other"] = h5py.ExternalLink("/tmp/secret.h5", "/")


def external_storage(file, name):
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, "float32", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def virtual(file, name):
    shape = file[name].shape
    layout = h5py.VirtualLayout(shape, "float32")
    layout[...] = h5py.VirtualSource("/tmp/secret.h5", "x", shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("change", [external_link, soft_link, group_elsewhere, external_storage, virtual])
def test_weights_that_lead_to_other_files(good, tmp_path, change):
    path = with_weights(good, tmp_path, change)
    refused(lambda: load_model(path), path, "other files")


def test_weights_that_go_in_circles(good, tmp_path):
    path = with_weights(good, tmp_path, lambda file, name: file["layers"].__setitem__("again", file["/"]))
    load_model(path)


# ---- the archive -----------------------------------------------------------------------------------------------------


def test_members_with_paths_are_not_unpacked(good, tmp_path):
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    path = folder / "evil.keras"
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members(good).items():
            archive.writestr(name, content)
        for name in ("../evil", "../../evil", "/tmp/kcnn-evil", "assets/../../evil", "C:\\evil"):
            archive.writestr(name, "evil")
        archive.writestr(link, "/etc")
        archive.writestr("assets/link/evil", "evil")
    before = sorted(tmp_path.rglob("*"))
    load_model(path)
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/kcnn-evil").exists()


def test_the_last_of_two_members_of_one_name_counts_for_all(good, tmp_path):
    """What is checked is what is read."""
    path = tmp_path / "twice.keras"
    parts = members(good)
    evil = json.loads(parts["config.json"])
    evil["config"]["layers"][3] = PARTS["a lambda layer"]
    for first, second in ((json.dumps(evil), parts["config.json"]), (parts["config.json"], json.dumps(evil))):
        rest = [pair for pair in parts.items() if pair[0] != "config.json"]
        path.write_bytes(mutations.rezip([("config.json", first), *rest, ("config.json", second)]))
        try:
            model, _ = load_model(path)
        except Exception as error:
            refused(lambda error=error: (_ for _ in ()).throw(error), "Lambda")
        else:
            assert np.isfinite(model.get_weights()[0]).all()
