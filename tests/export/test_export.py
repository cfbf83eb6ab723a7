"""Exported files agree with the model, take batches of any size, and are never written over."""

import importlib.util
import json
import warnings

import numpy as np
import pytest

from helpers import one_line_error
from kcnn.data.registry import load_dataset
from kcnn.errors import UsageError
from kcnn.export.formats import check_target
from kcnn.results.logits import predict_logits
from kcnn.run.checkpoint import load_model


@pytest.fixture(scope="module")
def images():
    return load_dataset("digits").test.images[:7]


def logits(run, images):
    return predict_logits(load_model(run / "best.keras")[0], images)


def test_keras(trained, cli, images, tmp_path):
    path = tmp_path / "deep" / "model.keras"
    outcome = cli("export", trained[0], "--format", "keras", "-o", path)
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout == f"{path}\n"
    assert "difference" in outcome.stderr
    model, info = load_model(path)
    np.testing.assert_allclose(predict_logits(model, images), logits(trained[0], images), atol=1e-5)
    assert info["class_names"] == list("0123456789")
    assert [file.name for file in path.parent.iterdir()] == ["model.keras"]


@pytest.fixture(scope="module")
def onnx_file(trained, tmp_path_factory):
    from click.testing import CliRunner

    from kcnn.cli import main

    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    with warnings.catch_warnings(record=True) as heard:
        outcome = CliRunner().invoke(main, ["export", str(trained[0]), "--format", "onnx", "-o", str(path)])
    assert outcome.exit_code == 0, outcome.output
    assert not [entry for entry in heard if not issubclass(entry.category, DeprecationWarning)]
    assert outcome.stdout == f"{path}\n"
    return path


@pytest.mark.parametrize("count", [1, 2, 7])
def test_onnx_takes_raw_images_in_any_number(trained, onnx_file, images, count):
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    assert entry.type == "tensor(uint8)"
    (found,) = session.run(None, {entry.name: images[:count]})
    np.testing.assert_allclose(found, logits(trained[0], images[:count]), atol=1e-4)


def test_onnx_is_one_valid_file_with_class_names(onnx_file):
    import onnx

    model = onnx.load(onnx_file)
    onnx.checker.check_model(model)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(properties["class_names"]) == list("0123456789")
    assert [file.name for file in onnx_file.parent.iterdir()] == ["model.onnx"]


def test_a_model_file_can_be_exported(trained, cli, tmp_path):
    outcome = cli("export", trained[0] / "last.keras", "-o", tmp_path / "copy.keras")
    assert outcome.exit_code == 0, outcome.output
    files = (tmp_path / "copy.keras", trained[0] / "last.keras")
    for a, b in zip(*(load_model(path)[0].get_weights() for path in files), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_is_written_over(trained, cli, tmp_path):
    path = tmp_path / "mine.keras"
    path.write_text("mine")
    one_line_error(cli("export", trained[0], "-o", path), 2, path, "already exists")
    assert path.read_text() == "mine"


def test_wrong_arguments(trained, cli, tmp_path):
    one_line_error(
        cli("export", trained[0], "--format", "onx", "-o", tmp_path / "a"), 2, "unknown format 'onx'", "'onnx'"
    )
    one_line_error(cli("export", tmp_path / "none", "-o", tmp_path / "a.keras"), 1, tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_disagrees_is_removed(trained, cli, tmp_path, monkeypatch):
    """As if the written file gave other logits."""
    monkeypatch.setattr("kcnn.export.to_keras.run", lambda model, path, images: np.zeros((len(images), 10)))
    one_line_error(cli("export", trained[0], "-o", tmp_path / "a.keras"), 1, "differ")
    assert list(tmp_path.iterdir()) == []


def test_onnx_without_its_packages(trained, cli, tmp_path, monkeypatch):
    original = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxscript" else original(name, *rest)
    )
    outcome = cli("export", trained[0], "--format", "onnx", "-o", tmp_path / "a.onnx")
    one_line_error(outcome, 1, "onnxscript", "pip install 'kcnn[onnx]'")


@pytest.mark.parametrize(("kind", "name"), [("torch", "a.pt2"), ("openvino", "a.xml"), ("tensorflow", "a")])
def test_other_formats_are_opened_and_compared(kind, name, trained, cli, tmp_path):
    """The command itself runs the file on batches of 1 and 5 and compares the logits."""
    package = {"torch": "torch", "openvino": "openvino", "tensorflow": "tensorflow"}[kind]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    outcome = cli("export", trained[0], "--format", kind, "-o", tmp_path / name)
    assert outcome.exit_code == 0, outcome.output
    assert (tmp_path / name).exists()
    assert "largest difference" in outcome.stderr


@pytest.mark.parametrize(
    ("kind", "name", "suffix"),
    [
        ("torch", "a.onnx", ".pt2"),
        ("keras", "a.onnx", ".keras"),
        ("keras", "a.h5", ".keras"),
        ("onnx", "a.keras", ".onnx"),
        ("torchvision", "a.bin", ".pth"),
    ],
)
def test_a_name_that_the_format_cannot_have(trained, cli, tmp_path, kind, name, suffix):
    outcome = cli("export", trained[0], "--format", kind, "-o", tmp_path / name)
    one_line_error(outcome, 2, f"ends in {suffix}", name, "another --format")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_itself_is_not_written_over(trained, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kcnn.export.to_tensorflow.PACKAGES", ())
    one_line_error(cli("export", trained[0], "--format", "tensorflow", "-o", "."), 2, "already exists")


def test_weights_beside_the_graph_are_not_written_over(tmp_path):
    (tmp_path / "a.bin").write_text("mine")
    with pytest.raises(UsageError, match=r"a\.bin already exists"):
        check_target("openvino", tmp_path / "a.xml")
