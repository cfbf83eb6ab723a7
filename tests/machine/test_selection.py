"""What a second `select` can change, and what kcnn sets whatever the user's keras.json, home or TensorFlow say."""

import json
import os
import subprocess
import sys

import keras
import pytest

import kcnn
from kcnn.errors import UsageError
from kcnn.machine import backend
from kcnn.machine.processes import environment

TRAIN = ("train", "--epochs", "1", "--limit-train", "40", "--validation", "0", "--augment", "none", "--json")


def python(*arguments, **variables):
    """Run Python in a new process; variables that are None are not set."""
    env = {**environment("torch"), **variables}
    env = {key: str(value) for key, value in env.items() if value is not None}
    return subprocess.run([sys.executable, *map(str, arguments)], env=env, capture_output=True, text=True)


# ---- a second time ---------------------------------------------------------------------------------------------------


def test_a_second_precision_takes_effect():
    try:
        for precision in backend.PRECISIONS:
            backend.select("torch", precision=precision)
            assert kcnn.build_model("lenet5", (28, 28, 1)).get_layer("conv1").dtype_policy.name == precision
    finally:
        backend.select("torch")


def test_an_unknown_precision_is_told():
    with pytest.raises(UsageError, match="unknown precision 'half'"):
        backend.select("torch", precision="half")


def test_the_device_in_use_can_be_selected_again():
    backend.select("torch", "cpu")
    backend.select("torch", "auto")


def test_a_second_device_is_told_and_not_ignored(monkeypatch):
    monkeypatch.setattr(backend, "_cuda_devices", lambda name, package: 2)
    with pytest.raises(UsageError, match=r"already computes on cpu .* device='cuda:1' comes too late"):
        backend.select("torch", "cuda:1")
    monkeypatch.setattr("kcnn.machine.keras_internals.torch_device", lambda: "cuda")
    backend.select("torch", "cuda:0")
    for other in ("cpu", "cuda:1"):
        with pytest.raises(UsageError, match=r"already computes on cuda:0 .* comes too late"):
            backend.select("torch", other)


@pytest.mark.parametrize("name", ["jax", "tensorflow"])
def test_a_second_device_is_told_on_every_backend(name):
    if not backend.installed(name):
        pytest.skip(f"{name} is not installed")
    code = f"""
from kcnn.machine import backend
backend._cuda_devices = lambda name, package: 2
backend.select({name!r}, "cpu")
backend.select({name!r}, "cpu")
try:
    backend.select({name!r}, "cuda")
except backend.UsageError as error:
    print(error)
"""
    done = python("-c", code, KERAS_BACKEND=name)
    assert "already computes on cpu" in done.stdout, done.stderr


# ---- keras.json ------------------------------------------------------------------------------------------------------

ODD = {"image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.1, "backend": "jax"}


@pytest.fixture
def home(tmp_path):
    """Writes a keras.json and names its folder."""

    def write(text):
        (tmp_path / "keras.json").write_text(text)
        return tmp_path

    return write


def test_train_takes_no_notice_of_keras_json(home, tmp_path, cli):
    plain = cli(*TRAIN, "--run", tmp_path / "plain")
    odd = python("-m", "kcnn", *TRAIN, "--run", tmp_path / "odd", KERAS_HOME=home(json.dumps(ODD)))
    assert odd.returncode == 0, odd.stderr
    assert json.loads(odd.stdout)["test"] == json.loads(plain.stdout)["test"]


BUILD = """
import numpy as np
model = kcnn.build_model("resnet20", (32, 32, 3), image_size=40)
logits = model.predict(np.full((2, 32, 32, 3), 7, np.uint8), verbose=0)
assert logits.shape == (2, 10) and np.isfinite(logits).all()
formats = {layer.data_format for layer in model.layers if hasattr(layer, "data_format")}
assert formats == {"channels_last"}, formats
import keras
print(model.dtype_policy.name, keras.config.image_data_format())
"""


def test_build_model_takes_no_notice_of_keras_json(home):
    done = python("-c", f"import kcnn\n{BUILD}", KERAS_HOME=home(json.dumps(ODD)))
    assert done.stdout.split() == ["float32", "channels_last"], done.stderr


def test_build_model_leaves_a_keras_that_is_imported_as_it_is(home):
    """Its precision is the user's then; channels are last all the same."""
    done = python("-c", f"import keras, kcnn\n{BUILD}", KERAS_HOME=home(json.dumps(ODD)))
    assert done.stdout.split() == ["float16", "channels_first"], done.stderr


def test_a_file_opens_in_plain_keras_where_channels_come_first(home, tmp_path):
    model = kcnn.build_model("resnet20", (32, 32, 3), mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.4])
    model.save(tmp_path / "model.keras")
    images = keras.ops.ones((2, 32, 32, 3), "uint8") * 9
    expected = keras.ops.convert_to_numpy(model(images)).ravel().tolist()
    code = f"""
import keras
model = keras.saving.load_model({str(tmp_path / "model.keras")!r})
print(model.predict(keras.ops.ones((2, 32, 32, 3), "uint8") * 9, verbose=0).ravel().tolist())
"""
    done = python("-c", code, KERAS_HOME=home(json.dumps({"image_data_format": "channels_first"})))
    assert json.loads(done.stdout) == pytest.approx(expected, abs=1e-4), done.stderr


@pytest.mark.parametrize("text", ['{"floatx": "bfloat16"}', "[1]", '{"epsilon": 1}', '{"image_data_format": "last"}'])
def test_a_keras_json_that_keras_refuses_is_one_line(home, tmp_path, text):
    done = python("-m", "kcnn", *TRAIN, "--run", tmp_path / "run", KERAS_HOME=home(text))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        f"Error: Keras cannot use its settings in {tmp_path / 'keras.json'} ("
    )


LOAD = "from kcnn.machine.backend import load_keras; print(load_keras().config.floatx())"


def test_a_home_that_cannot_be_written():
    done = python("-c", LOAD, KERAS_HOME=None, HOME="/dev/null/x")
    assert done.stdout == "float32\n", done.stderr


def test_a_broken_keras_json_is_taken_for_an_empty_one(home):
    done = python("-c", LOAD, KERAS_HOME=home("{broken"))
    assert done.stdout == "float32\n", done.stderr


# ---- TensorFlow ------------------------------------------------------------------------------------------------------

HEARD = "import sys; from kcnn.cli import main; main(sys.argv[1:], standalone_mode=False); print(*sys.modules)"


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_training_on_another_backend_does_not_import_tensorflow(tmp_path, name):
    if not (backend.installed("tensorflow") and backend.installed(name)):
        pytest.skip(f"tensorflow or {name} is not installed")
    done = python("-c", HEARD, *TRAIN, "--run", tmp_path / "run", "--backend", name)
    assert done.returncode == 0, done.stderr
    assert "tensorflow" not in done.stdout.split()
    assert [line.split()[0] for line in done.stderr.splitlines()[:2]] == ["lenet5", "epoch"]


def test_tensorflow_does_not_greet():
    if not backend.installed("tensorflow"):
        pytest.skip("tensorflow is not installed")
    code = "from kcnn.machine.backend import select; select('tensorflow'); import sys; print('mine', file=sys.stderr)"
    done = python("-c", code, KERAS_BACKEND="tensorflow")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("E0")]  # a damaged CUDA is told
    assert lines == ["mine"]


def test_what_else_is_said_while_tensorflow_starts_comes_out(capfd):
    with backend._without_greeting():
        os.write(2, b"I0000 00:00:1 1 port.cc:153] oneDNN custom operations are on.\nlibx is missing\n")
    assert capfd.readouterr().err == "libx is missing\n"


def test_triton_that_was_imported_first_stays(tmp_path):
    if not backend.installed("tensorflow"):
        pytest.skip("tensorflow is not installed")
    (tmp_path / "triton.py").write_text("")
    code = "import triton, sys; from kcnn.machine.backend import select; select('tensorflow')"
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}; print(sys.modules['triton'] is triton)"
    done = python("-c", code, KERAS_BACKEND="tensorflow")
    assert done.stdout == "True\n", done.stderr
