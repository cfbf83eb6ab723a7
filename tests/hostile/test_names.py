"""Class names that anyone may have written into a `.keras` or ONNX file: reports and pictures survive them."""

import csv
import json

import data_readers
import mutations
import pytest
import readers

from kcnn.cli.evaluate import _print
from kcnn.errors import KcnnError
from kcnn.models.registry import build_model
from kcnn.plots.scores import classes, confusion
from kcnn.run.checkpoint import check_classes, open_model, save_model

NAMES = [*(name for name in mutations.ODD_NAMES if "\ud800" not in name), "twice", "twice"]
MOST = 40  # letters for a class, in the mean


@pytest.fixture(scope="module", params=["keras", "onnx"])
def named(request, tmp_path_factory):
    """(a model file with the odd names, a file of three images)"""
    folder = tmp_path_factory.mktemp("named")
    if request.param == "keras":
        path = folder / "m.keras"
        save_model(build_model("lenet5", readers.SHAPE, len(NAMES)), path, {"class_names": NAMES, "epoch": 1})
    else:
        path = readers.make_onnx(folder, NAMES, len(NAMES))
    return path, data_readers.make_npy(folder)


def test_tables_stay_tables(named, cli):
    path, images = named
    outcome = cli("predict", path, images, "--top", len(NAMES))
    assert outcome.exit_code == 0, outcome.output
    lines = outcome.stdout.split("\n")
    assert len(lines) == 1 + 3 + 1
    assert outcome.stdout.replace("\n", "").isprintable()
    assert max(map(len, lines)) < MOST * len(NAMES)


def test_json_and_csv_give_the_names_back(named, cli, tmp_path):
    path, images = named
    table = tmp_path / "out.csv"
    top = len(NAMES)
    outcome = cli("predict", path, images, "--top", top, "--json", "--csv", table)
    assert outcome.exit_code == 0, outcome.output
    for row in json.loads(outcome.stdout):
        assert sorted(best["class"] for best in row["top"]) == sorted(NAMES)
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    for row in rows:
        assert sorted([row["class"], *(row[f"class_{rank}"] for rank in range(2, top + 1))]) == sorted(NAMES)


def test_nothing_is_written_elsewhere(named, cli, tmp_path, monkeypatch):
    path, images = named
    monkeypatch.chdir(tmp_path)
    assert cli("predict", path, images, "--csv", "out.csv").exit_code == 0
    if path.suffix == ".keras":
        assert cli("export", path, "-o", "again.keras").exit_code == 0
        assert open_model(tmp_path / "again.keras")[1] == NAMES
    assert {file.name for file in tmp_path.iterdir()} <= {"out.csv", "again.keras"}


def test_scores_by_class_stay_a_table(capsys):
    rows = [{"class": name, "precision": 0.5, "recall": 0.5, "f1": 0.5, "images": 3} for name in NAMES]
    score = {"accuracy": 0.5, "interval": [0.4, 0.6], "top5": 0.9, "loss": 1.0}
    _print({"test": score, "per_class": rows, "confusion": [[1] * len(NAMES)] * len(NAMES)}, "test")
    text = capsys.readouterr().out
    assert text.replace("\n", "").isprintable()
    assert len(text.splitlines()) == 2 * (1 + len(NAMES)) + 4
    assert max(map(len, text.splitlines())) < MOST * len(NAMES)


def test_pictures_are_drawn(tmp_path):
    counts = [[1] * len(NAMES)] * len(NAMES)
    confusion(counts, NAMES, tmp_path / "a.png")
    confusion(counts, NAMES, tmp_path / "a.svg")
    rows = [{"class": name, "precision": 0.5, "recall": 0.5, "f1": 0.5, "images": 3} for name in NAMES]
    classes(rows, tmp_path / "b.png")
    for path in tmp_path.glob("*.png"):
        assert path.stat().st_size < 2_000_000


def test_other_classes_are_told_in_a_short_line(tmp_path):
    path = tmp_path / "m.keras"
    save_model(build_model("lenet5", readers.SHAPE, len(NAMES)), path, {"class_names": NAMES})
    with pytest.raises(KcnnError) as caught:
        check_classes(path, [f"class {index}" for index in range(300)])
    words = str(caught.value).removeprefix(str(path))
    assert words.startswith(f" has learned {len(NAMES)} classes, and these data have 300, without ")
    assert words.isprintable()
    assert "class 9, and 290 more: use data" in words
    assert len(words) < 700
