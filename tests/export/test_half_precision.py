"""Runs in half precision are exported in float32; an export that fails leaves nothing behind."""

from importlib import import_module

import keras
import numpy as np
import pytest
import torch

from kcnn.errors import KcnnError, UsageError
from kcnn.export.formats import FORMATS, export_model
from kcnn.machine import backend
from kcnn.models.registry import build_model
from kcnn.run.checkpoint import load_model
from precision import CASES, HALF

each = pytest.mark.parametrize(("model", "precision"), CASES, ids="-".join)


@pytest.mark.parametrize("kind", ["keras", "onnx", "torch", "openvino"])
@each
def test_each_is_exported(trained_in, cli, tmp_path, model, precision, kind):
    suffix = {"keras": "keras", "onnx": "onnx", "torch": "pt2", "openvino": "xml"}[kind]
    outcome = cli("export", trained_in(model, precision)[1].path, "--format", kind, "-o", tmp_path / f"a.{suffix}")
    if kind == "openvino" and "needs the package" in outcome.stderr:
        pytest.skip("openvino is not installed")
    assert outcome.exit_code == 0, outcome.output
    assert "largest difference" in outcome.stderr
    if kind == "keras":
        assert load_model(tmp_path / "a.keras")[0].get_layer("conv1").dtype_policy.name == precision


@pytest.mark.parametrize("precision", HALF)
def test_the_exported_file_has_the_weights_in_float32(precision, tmp_path, any_precision):
    backend.select("torch", precision=precision)
    model = build_model("resnet18", (32, 32, 3), stem="imagenet")
    assert export_model(model, list("0123456789"), "torchvision", tmp_path / "a.pth") < 1e-5
    state = torch.load(tmp_path / "a.pth", weights_only=True)
    kernel = keras.ops.convert_to_numpy(model.get_layer("conv1").kernel).astype(np.float32)
    np.testing.assert_array_equal(state["conv1.weight"].numpy().transpose(2, 3, 1, 0), kernel)


def test_the_tensorflow_format_takes_half_precision(trained_in, cli, tmp_path):
    if not backend.installed("tensorflow"):
        pytest.skip("tensorflow is not installed")
    run = trained_in("lenet5", "mixed_bfloat16")[1]
    outcome = cli("export", run.path, "--format", "tensorflow", "-o", tmp_path / "saved")
    assert outcome.exit_code == 0, outcome.output


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_that_fails_leaves_nothing_behind(kind, tmp_path, monkeypatch):
    """An exporter that has written its file and another one beside it, and then fails as exporters do."""

    def fail(model, path, info):
        path.mkdir() if kind == "tensorflow" else path.write_bytes(b"half")
        path.with_name(f"{path.name}.data").write_bytes(b"weights")
        raise RuntimeError("op not supported\nmore")

    module = import_module(f"kcnn.export.{FORMATS[kind]}")
    monkeypatch.setattr(module, "write", fail)
    monkeypatch.setattr(module, "PACKAGES", ())
    path = tmp_path / f"a{getattr(module, 'SUFFIX', '')}"
    with pytest.raises(KcnnError, match=rf"Format {kind} cannot be written for lenet5 \(op not supported\)\."):
        export_model(build_model("lenet5", (28, 28, 1)), list("0123456789"), kind, path)
    assert list(tmp_path.iterdir()) == []


def test_what_an_export_writes_beside_its_file_is_not_written_over(tmp_path, monkeypatch):
    def write(model, path, info):
        path.write_bytes(b"graph")
        path.with_name(f"{path.name}.data").write_bytes(b"weights")

    model = build_model("lenet5", (28, 28, 1))
    monkeypatch.setattr("kcnn.export.to_onnx.write", write)
    monkeypatch.setattr("kcnn.export.to_onnx.run", lambda model, path, images: model.predict(images, verbose=0))
    (tmp_path / "a.onnx.data").write_text("mine")
    with pytest.raises(UsageError, match=r"a\.onnx\.data already exists"):
        export_model(model, list("0123456789"), "onnx", tmp_path / "a.onnx")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.onnx.data", "mine")]
    (tmp_path / "a.onnx.data").unlink()
    export_model(model, list("0123456789"), "onnx", tmp_path / "a.onnx")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        "a.onnx": b"graph",
        "a.onnx.data": b"weights",
    }
