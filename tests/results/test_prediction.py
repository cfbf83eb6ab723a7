"""`kcnn predict` on files, folders and patterns, with a run or with the `.keras` file alone."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from helpers import one_line_error
from kcnn.data.registry import load_dataset
from kcnn.results.logits import predict_logits, softmax
from kcnn.run.checkpoint import load_model


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Six test digits as files: four PNG in a folder, one deeper in it, and a BMP beside it."""
    folder = tmp_path_factory.mktemp("pictures")
    images = load_dataset("digits").test.images[:6]
    (folder / "some" / "deep").mkdir(parents=True)
    names = [*(f"some/{index}.png" for index in range(4)), "some/deep/4.PNG", "beside.bmp"]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image[..., 0]).save(folder / name)
    (folder / "some/notes.txt").write_text("no picture")
    return folder, dict(zip(names, images, strict=True))


def expected(run, image, top):
    model, info = load_model(run / "best.keras")
    probabilities = softmax(predict_logits(model, image[None]))[0]
    order = np.argsort(-probabilities)[:top]
    return [{"class": info["class_names"][i], "probability": pytest.approx(probabilities[i], abs=1e-5)} for i in order]


def predict_json(cli, *arguments):
    outcome = cli("predict", *arguments, "--json")
    assert outcome.exit_code == 0, outcome.output
    return json.loads(outcome.stdout)


def test_json_of_a_file(trained, pictures, cli):
    folder, images = pictures
    path = folder / "some/2.png"
    found = predict_json(cli, trained[0], path, "--top", 4)
    assert found == [{"path": str(path), "top": expected(trained[0], images["some/2.png"], 4)}]


def test_all_classes_add_up_to_one(trained, pictures, cli):
    (found,) = predict_json(cli, trained[0], pictures[0] / "beside.bmp", "--top", 99)
    probabilities = [entry["probability"] for entry in found["top"]]
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert probabilities == sorted(probabilities, reverse=True)
    assert sorted(entry["class"] for entry in found["top"]) == list("0123456789")


def test_files_folders_and_patterns(trained, pictures, cli):
    folder, images = pictures
    found = predict_json(
        cli, trained[0], folder / "beside.bmp", folder / "some", folder / "*.bmp", folder / "some/[01].png"
    )
    names = [row["path"].removeprefix(f"{folder}/") for row in found]
    inside = ["some/0.png", "some/1.png", "some/2.png", "some/3.png", "some/deep/4.PNG"]
    assert names == ["beside.bmp", *inside, "beside.bmp", "some/0.png", "some/1.png"]
    for name, row in zip(names, found, strict=True):
        assert row["top"] == expected(trained[0], images[name], 3)


def test_the_model_file_alone_is_enough(trained, pictures, cli, tmp_path):
    alone = tmp_path / "elsewhere.keras"
    alone.write_bytes((trained[0] / "best.keras").read_bytes())
    path = pictures[0] / "some/0.png"
    assert predict_json(cli, alone, path) == predict_json(cli, trained[0], path)


def test_a_colour_picture_of_another_size(trained, pictures, cli, tmp_path):
    """Twice as large, in colour and with transparency: the same digit."""
    image = pictures[1]["some/1.png"][..., 0]
    large = Image.fromarray(image).resize((56, 56), Image.Resampling.NEAREST).convert("RGBA")
    large.save(tmp_path / "large.png")
    (found,) = predict_json(cli, trained[0], tmp_path / "large.png")
    assert found["top"][0]["class"] == expected(trained[0], pictures[1]["some/1.png"], 1)[0]["class"]
    small = {row["class"]: row["probability"] for row in expected(trained[0], pictures[1]["some/1.png"], 10)}
    for row in found["top"]:
        assert row["probability"] == pytest.approx(small[row["class"]].expected, abs=0.005)


def test_table(trained, pictures, cli):
    outcome = cli("predict", trained[0], pictures[0] / "some/0.png")
    assert outcome.exit_code == 0, outcome.output
    heading, row = outcome.stdout.splitlines()
    assert heading.split() == ["picture", "classes"]
    best = expected(trained[0], pictures[1]["some/0.png"], 1)[0]
    assert row.startswith(str(pictures[0] / "some/0.png"))
    assert f"  {best['class']} " in row


def test_what_is_wrong_is_told(trained, pictures, cli, tmp_path):
    run, good = trained[0], pictures[0] / "some/0.png"
    one_line_error(cli("predict", run, tmp_path / "none.png"), 1, tmp_path / "none.png", "no pattern")
    one_line_error(cli("predict", run, tmp_path), 1, tmp_path, "no folder with pictures")
    one_line_error(cli("predict", tmp_path / "none", good), 1, "no run directory", tmp_path / "none")
    one_line_error(cli("predict", tmp_path / "none.keras", good), 1, tmp_path / "none.keras")
    (tmp_path / "bad.png").write_text("no picture")
    outcome = cli("predict", run, tmp_path / "bad.png", "--json")
    one_line_error(outcome, 1, tmp_path / "bad.png", "does not decode")
    assert outcome.stdout == ""
    (tmp_path / "bad.keras").write_text("no model")
    one_line_error(cli("predict", tmp_path / "bad.keras", good), 1, tmp_path / "bad.keras", "not a .keras file")


PLAIN = """
import sys
sys.modules["kcnn"] = None  # as where kcnn is not installed
import keras, numpy
model = keras.saving.load_model(sys.argv[1], safe_mode=True)
numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2]), verbose=0))
"""


def test_plain_keras_without_kcnn_predicts_the_same(trained, tmp_path):
    images = load_dataset("digits").test.images[:50]
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", PLAIN, trained[0] / "best.keras", tmp_path / "images.npy", tmp_path / "logits.npy"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    model, _ = load_model(trained[0] / "best.keras")
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), predict_logits(model, images), atol=1e-5)
