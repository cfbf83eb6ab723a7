"""What works on this machine, and what is said when something does not."""

import json

import keras
import numpy as np
import pytest

from helpers import one_line_error, write_mnist
from kcnn.doctor import examination as doctor
from kcnn.doctor.trial import _train
from kcnn.errors import KcnnError

GOOD = {"installed": True, "works": True, "version": "1.0", "device": "cpu", "seconds": 0.5, "note": "10 steps"}


@pytest.fixture
def healthy(monkeypatch):
    """No processes are started: every backend works."""
    monkeypatch.setattr(doctor, "check_backend", lambda name: dict(GOOD))
    monkeypatch.setattr(doctor, "_import_failure", lambda package: "")
    return monkeypatch


def test_torch_is_tried_with_ten_steps():
    found = doctor.check_backend("torch")
    assert found["works"], found
    assert found["device"] == "cpu"
    assert found["version"][0].isdigit()
    assert found["note"].startswith("10 steps, loss ")
    assert 0.01 < found["bfloat16"] < 100


@pytest.mark.parametrize("name", ["jax", "tensorflow", "openvino"])
def test_an_absent_backend_is_no_fault(monkeypatch, name):
    monkeypatch.setattr(doctor, "installed", lambda backend: False)
    found = doctor.check_backend(name)
    assert not found["installed"]
    assert f"pip install 'kcnn[{name}]'" in found["note"]


def test_a_broken_backend_says_why(monkeypatch, tmp_path):
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").write_text("raise ImportError('no libtbb')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "installed", lambda backend: True)
    found = doctor.check_backend("openvino")
    assert not found["works"]
    assert "does not start (no libtbb)" in found["note"]


def test_the_report_is_one_screen(healthy, cli, tmp_path):
    write_mnist(tmp_path, train=10, test=10)
    report = json.loads(cli("doctor", "--data-dir", tmp_path, "--json").stdout)
    assert report["ok"] is True
    assert set(report["backends"]) == {"torch", "jax", "tensorflow", "openvino", "numpy"}
    assert report["data"]["mnist"] is True
    assert report["data"]["cifar10"] is False
    assert str(tmp_path) in report["folders"]["data"]
    result = cli("doctor", "--data-dir", tmp_path)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) <= 24
    assert "fits torch" in result.stdout
    assert "not measured" in result.stdout


@pytest.mark.parametrize(
    ("faster", "words"), [(4.12, "4.1 times as fast as float32: --precision mixed_bfloat16 pays"), (0.5, "stay with")]
)
def test_it_says_whether_bfloat16_pays(healthy, cli, faster, words):
    healthy.setattr(doctor, "check_backend", lambda name: {**GOOD, **({"bfloat16": faster} if name == "torch" else {})})
    assert words in cli("doctor").stdout
    assert json.loads(cli("doctor", "--json").stdout)["bfloat16"] == faster


def test_something_broken_ends_with_exit_code_1(healthy, cli):
    bad = {**GOOD, "works": False, "note": "no libtbb"}
    healthy.setattr(doctor, "check_backend", lambda name: bad if name == "jax" else GOOD)
    result = cli("doctor")
    one_line_error(result, 1, "does not work")
    assert [line.split()[:2] for line in result.stdout.splitlines() if "no libtbb" in line] == [["jax", "NO"]]


def test_a_torchvision_for_another_torch_is_one_sentence(healthy, cli):
    healthy.setattr(doctor, "_import_failure", lambda package: "RuntimeError: operator torchvision::nms does not exist")
    result = cli("doctor")
    one_line_error(result, 1, "does not work")
    assert "was built for another torch than" in result.stdout
    assert "pip install --force-reinstall torch torchvision" in result.stdout


def test_a_package_that_does_not_import_is_quoted():
    assert doctor._import_failure("json") == ""
    assert doctor._import_failure("no_such_package") == "ModuleNotFoundError: No module named 'no_such_package'"


def test_a_loss_that_does_not_fall_is_a_fault(monkeypatch):
    monkeypatch.setattr("kcnn.methods.optimizers.make_optimizer", lambda *rest, **options: keras.optimizers.SGD(0.0))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(KcnnError, match="The loss does not fall in 10 steps: "):
        _train(model, np.ones((2, 4), np.float32), np.eye(3, dtype=np.float32)[:2])
