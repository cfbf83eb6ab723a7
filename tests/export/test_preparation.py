"""How pictures are prepared goes with the network into every format that can keep it, and all predict the same."""

import json

import numpy as np
import pytest
from PIL import Image

from helpers import one_line_error
from kcnn.data.preparation import Preparation
from kcnn.errors import KcnnError
from kcnn.run.checkpoint import load_model, read_info, save_model


@pytest.fixture(scope="module")
def resizing(trained, tmp_path_factory):
    """(a model file that wants the shorter side at 40 pixels, a picture that is cut otherwise without)."""
    folder = tmp_path_factory.mktemp("resizing")
    model, info = load_model(trained[0] / "best.keras")
    save_model(model, folder / "a.keras", {**info, "resize": 40})
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13), np.uint8)
    Image.fromarray(pixels).resize((130, 90), Image.Resampling.BICUBIC).save(folder / "photo.png")
    return folder / "a.keras", folder / "photo.png"


def probabilities(cli, *arguments):
    outcome = cli("predict", *arguments, "--top", 10, "--json")
    assert outcome.exit_code == 0, outcome.output
    (row,) = json.loads(outcome.stdout)
    return {best["class"]: best["probability"] for best in row["top"]}


def test_every_file_prepares_alike(trained, resizing, cli, tmp_path):
    pytest.importorskip("onnxruntime")
    source, photo = resizing
    expected = probabilities(cli, source, photo)
    assert max(abs(expected[name] - p) for name, p in probabilities(cli, trained[0], photo).items()) > 0.01
    for kind in ("keras", "onnx"):
        path = tmp_path / f"b.{kind}"
        assert cli("export", source, "--format", kind, "-o", path).exit_code == 0
        found = probabilities(cli, path, photo)
        assert found == {name: pytest.approx(p, abs=1e-4) for name, p in expected.items()}
    assert read_info(tmp_path / "b.keras")["resize"] == 40


def test_a_damaged_size_in_an_onnx_file(resizing, cli, tmp_path):
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "b.onnx"
    assert cli("export", resizing[0], "--format", "onnx", "-o", path).exit_code == 0
    for text in ('"40"', "-1", "[", "40.5"):
        graph = onnx.load(path)
        next(entry for entry in graph.metadata_props if entry.key == "resize").value = text
        onnx.save(graph, path)
        one_line_error(cli("predict", path, resizing[1]), 1, path, "resize")


def test_openvino_keeps_it(resizing, cli, tmp_path):
    openvino = pytest.importorskip("openvino")
    assert cli("export", resizing[0], "--format", "openvino", "-o", tmp_path / "b.xml").exit_code == 0
    network = openvino.Core().read_model(tmp_path / "b.xml")
    kept = {key: json.loads(network.get_rt_info(["kcnn", key]).astype(str)) for key in ("class_names", "resize")}
    assert kept == {"class_names": list("0123456789"), "resize": 40}


def test_a_picture_of_a_run_is_prepared_as_its_file_says(trained, resizing, tmp_path):
    import shutil

    from kcnn.data.images import read_image
    from kcnn.results.subject import Subject
    from kcnn.run.directory import RunDir

    run = shutil.copytree(trained[0], tmp_path / "run")
    shutil.copy(resizing[0], run / "best.keras")
    found = Subject(RunDir.open(run), image=resizing[1]).one_image()
    np.testing.assert_array_equal(found, read_image(resizing[1], Preparation((28, 28, 1), 40)))


def test_what_is_kept_comes_back():
    for preparation in (Preparation((8, 9, 3)), Preparation((8, 9, 1), 12)):
        assert Preparation.of(preparation.shape, json.loads(json.dumps(preparation.kept))) == preparation


@pytest.mark.parametrize("shape", [(8, 8, 4), (None, None, 3)])
def test_networks_that_take_no_pictures(shape):
    with pytest.raises(KcnnError, match=r"name arrays \(\.npy\) instead"):
        Preparation.of(shape, {}).check()
    with pytest.raises(KcnnError, match="not images"):
        Preparation.of((20,), {})
