"""What `kcnn predict` reads besides pictures, what it writes, and the ONNX file that it runs."""

import csv
import json

import numpy as np
import pytest

from helpers import one_line_error, random_images
from kcnn.data.preparation import Preparation
from kcnn.errors import KcnnError
from kcnn.results.prediction import count_images, predict, read_array, read_batches
from kcnn.results.selection import find_images


class Brightness:
    """Two classes, dark and bright: the logits are fixed by the mean of an image."""

    def predict(self, images, batch_size, verbose):
        mean = images.mean((1, 2, 3)) / 255
        return np.stack([1 - mean, mean], 1)


@pytest.fixture
def arrays(tmp_path):
    images = random_images(300, 8, 8, 1)
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "b.npz", images=images[:7, ..., 0], labels=np.arange(7))
    return images, [tmp_path / "a.npy", tmp_path / "b.npz"]


def test_arrays_are_read_in_batches(arrays):
    images, paths = arrays
    assert count_images(paths) == 307
    batches = list(read_batches(paths, Preparation((8, 8, 1)), []))
    assert [len(names) for names, _, _ in batches] == [256, 44, 7]
    np.testing.assert_array_equal(
        np.concatenate([part for _, part, _ in batches]), np.concatenate([images, images[:7]])
    )
    assert batches[1][0][0] == f"{paths[0]}[256]"


def test_the_most_probable_class_comes_first(arrays):
    images, paths = arrays
    rows = list(predict(Brightness(), ["dark", "bright"], read_batches(paths[:1], Preparation((8, 8, 1)), []), top=2))
    assert [row["top"][0]["class"] for row in rows] == ["bright" if i.mean() > 127.5 else "dark" for i in images]
    assert sum(best["probability"] for best in rows[0]["top"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.zeros((3, 8, 8, 1), np.float32), "float32"),
        (np.zeros((8, 8), np.uint8), "uint8 (n, height, width, channels)"),
        (np.asarray([{"a": 1}], dtype=object), "without running code"),
        (b"not an array", "without running code"),
        (np.zeros((0, 8, 8, 1), np.uint8), "holds no images"),
    ],
)
def test_other_arrays_are_refused_in_one_line(tmp_path, content, words):
    path = tmp_path / "x.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    with pytest.raises(KcnnError) as caught:
        read_array(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_systems_and_tools_hide_in_a_folder_is_left_out(tmp_path):
    folder = tmp_path / ".mine" / "pictures"  # above the folder named nothing is hidden
    (folder / "sub/.ipynb_checkpoints").mkdir(parents=True)
    for name in ("a.png", "sub/b.PNG", "._a.png", "sub/.ipynb_checkpoints/b.png"):
        (folder / name).write_bytes(b"")
    assert find_images([str(folder)]).pictures == [folder / "a.png", folder / "sub/b.PNG"]


def test_images_of_another_size(arrays):
    bad = []
    assert list(read_batches(arrays[1], Preparation((28, 28, 1)), bad)) == []
    assert all("8×8×1" in sentence and "28×28×1" in sentence for sentence in bad)
    assert len(bad) == 2


def test_a_data_set_into_csv(trained, tmp_path, cli):
    table = tmp_path / "new" / "digits.csv"
    result = cli("predict", trained[0], "--dataset", "digits", "--csv", table, "--top", 2, "--json")
    rows, table_rows = json.loads(result.stdout), list(csv.DictReader(table.open()))
    assert list(table_rows[0]) == ["path", "true", "class", "probability", "class_2", "probability_2"]
    assert [row["class"] for row in table_rows] == [row["top"][0]["class"] for row in rows]
    right = np.mean([row["true"] == row["class"] for row in table_rows])
    report = json.loads((trained[0] / "result.json").read_text())
    assert right == pytest.approx(report["test"]["accuracy"], abs=0.003)
    one_line_error(cli("predict", trained[0], "--dataset", "digits", "--csv", table), 2, "already exists")


def test_an_exported_onnx_file_predicts_the_same(trained, tmp_path, cli):
    pytest.importorskip("onnxruntime")
    np.save(tmp_path / "x.npy", random_images(5, 28, 28, 1))
    exported = tmp_path / "m.onnx"
    assert cli("export", trained[0], "--format", "onnx", "-o", exported).exit_code == 0
    runs = [json.loads(cli("predict", run, tmp_path / "x.npy", "--json").stdout) for run in (trained[0], exported)]
    for ours, theirs in zip(*runs, strict=True):
        assert [best["class"] for best in ours["top"]] == [best["class"] for best in theirs["top"]]
        assert ours["top"][0]["probability"] == pytest.approx(theirs["top"][0]["probability"], abs=1e-4)


def test_a_damaged_onnx_file(tmp_path, cli):
    pytest.importorskip("onnxruntime")
    np.save(tmp_path / "x.npy", random_images(2, 8, 8, 1))
    (tmp_path / "m.onnx").write_bytes(b"damaged")
    one_line_error(cli("predict", tmp_path / "m.onnx", tmp_path / "x.npy"), 1, "m.onnx", "export it again")


def test_paths_or_a_data_set(trained, cli):
    one_line_error(cli("predict", trained[0]), 2, "--dataset")
    one_line_error(cli("predict", trained[0], "--dataset", "digit"), 2, "Did you mean 'digits'")
