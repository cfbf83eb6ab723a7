"""Checkpoints: a `.keras` with class names and optimizer state, and files that are none."""

import json
import zipfile

import keras
import numpy as np
import pytest
from keras import ops

from kcnn.errors import KcnnError
from kcnn.methods.optimizers import make_optimizer
from kcnn.models.registry import build_model
from kcnn.run.checkpoint import load_model, restore_optimizer, save_model

INFO = {"class_names": ["naïve", "猫"], "epoch": 3}
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 20, 20, 1), np.uint8)


@pytest.fixture(scope="module")
def model():
    return build_model("lenet5", (20, 20, 1), 2)


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "model.keras"
    save_model(model, path, INFO)
    return path


def logits(model):
    return ops.convert_to_numpy(model(IMAGES))


def test_model_and_names_come_back(model, saved):
    loaded, info = load_model(saved)
    assert info == INFO
    assert loaded.name == "lenet5"
    np.testing.assert_array_equal(logits(loaded), logits(model))
    assert [path.name for path in saved.parent.iterdir()] == ["model.keras"]


def test_plain_keras_opens_the_file(model, saved):
    loaded = keras.saving.load_model(saved, safe_mode=True)
    np.testing.assert_array_equal(logits(loaded), logits(model))


@pytest.mark.parametrize(("name", "options"), [("resnet20", {}), ("alexnet", {}), ("convnet", {"pooling": "average"})])
def test_every_kind_of_layer_is_saved(name, options, tmp_path):
    model = build_model(name, (32, 32, 3), 4, image_size=40, **options)
    save_model(model, tmp_path / "a.keras", {})
    loaded = keras.saving.load_model(tmp_path / "a.keras")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(ops.convert_to_numpy(loaded(images)), ops.convert_to_numpy(model(images)))


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="torch's modules")
def test_torch_knows_the_weights_as_keras_own_loading_makes_it(saved):
    """Exports through torch take what its modules do not know for constants."""
    ours, plain = load_model(saved)[0], keras.saving.load_model(saved)
    for model in (ours, plain):
        assert [tuple(parameter.shape) for parameter in model.parameters()] != []
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in plain.named_parameters()]


def test_a_file_of_another_program_has_no_names(model, tmp_path):
    model.save(tmp_path / "plain.keras")
    loaded, info = load_model(tmp_path / "plain.keras")
    assert info == {}
    np.testing.assert_array_equal(logits(loaded), logits(model))


def test_files_that_are_no_models(saved, tmp_path):
    content = saved.read_bytes()
    empty_zip = tmp_path / "empty.zip"
    with zipfile.ZipFile(empty_zip, "w") as archive:
        archive.writestr("readme.txt", "hello")
    middle = len(content) // 2
    damaged = {
        "text": b"no model",
        "empty": b"",
        "truncated": content[:middle],
        "overwritten": content[:middle] + bytes(2000) + content[middle + 2000 :],
        "zip": empty_zip.read_bytes(),
    }
    for name, wrong in damaged.items():
        path = tmp_path / f"{name}.keras"
        path.write_bytes(wrong)
        with pytest.raises(KcnnError, match=rf"{name}\.keras is not a \.keras file") as caught:
            load_model(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(KcnnError, match="There is no model file"):
        load_model(tmp_path / "nowhere.keras")


def test_code_in_a_model_file_is_not_run(tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs))
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(KcnnError, match=r"lambda\.keras is not a \.keras file that Keras can read"):
        load_model(tmp_path / "lambda.keras")


def step(optimizer, variables, seed):
    rng = np.random.default_rng(seed)
    optimizer.apply([ops.convert_to_tensor(rng.normal(size=v.shape).astype(np.float32)) for v in variables])


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_optimizer_state_comes_back(model, tmp_path, name):
    path = tmp_path / "last.keras"
    numbers = {"momentum": 0.9, "weight_decay": 0.01}
    first, second = (make_optimizer(name, 0.01, **numbers) for _ in range(2))
    twins = [[keras.Variable(np.ones((3, 2), np.float32)), keras.Variable(np.ones((2,), np.float32))] for _ in range(2)]
    for optimizer, variables in zip((first, second), twins, strict=True):
        optimizer.build(variables)
    for seed in range(3):
        step(first, twins[0], seed)
    save_model(model, path, INFO, first)
    for copy, variable in zip(twins[1], twins[0], strict=True):
        copy.assign(variable)
    restore_optimizer(second, path)
    assert int(second.iterations) == 3
    for optimizer, variables in zip((first, second), twins, strict=True):
        step(optimizer, variables, 9)
    for a, b in zip(*twins, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))


def test_state_of_another_optimizer_is_refused(model, saved, tmp_path):
    path = tmp_path / "last.keras"
    variables = [keras.Variable(np.ones((3,), np.float32))]
    adam, sgd = make_optimizer("adam", 0.1), make_optimizer("sgd", 0.1)
    for optimizer in (adam, sgd):
        optimizer.build(variables)
    save_model(model, path, INFO, adam)
    for file in (path, saved):
        with pytest.raises(KcnnError, match=rf"{file.name} .*optimizer"):
            restore_optimizer(sgd, file)


def test_the_extra_members_are_json_and_arrays(model, tmp_path):
    optimizer = make_optimizer("sgd", 0.1, momentum=0.9)
    optimizer.build([keras.Variable(np.ones((3,), np.float32))])
    save_model(model, tmp_path / "last.keras", INFO, optimizer)
    with zipfile.ZipFile(tmp_path / "last.keras") as archive:
        assert json.loads(archive.read("kcnn.json")) == INFO
        assert "optimizer.npz" in archive.namelist()
