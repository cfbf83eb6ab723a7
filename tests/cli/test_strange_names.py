"""Names of files and classes that are no UTF-8, or have what ends a line, a field or a string in them."""

import csv
import json
import os
import subprocess
import sys

import pytest

from helpers import one_line_error, write_pictures
from kcnn.cli.options import write_csv
from kcnn.errors import printable
from kcnn.recipes.files import read_recipe

STRAY = os.fsdecode(b"caf\xe9")  # Latin-1
CLASSES = (STRAY, "new\nline", '猫,"q"', "$a$ $b^")
FILES = (
    f"{STRAY}.png",
    "new\nline.png",
    "re\rturn.png",
    'a,"b".png',
    "em🐈.png",
    "-dash.png",
    "e\x1b[31m.png",
    " .png",
)


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """(folder of pictures, run) whose every name is strange, the run's and the folder's own too."""
    from click.testing import CliRunner

    from kcnn.cli import main

    base = tmp_path_factory.mktemp("strange")
    photos, run = write_pictures(base / f"ph{STRAY}$o$", CLASSES, 8), base / f"r{STRAY} $u$_n$"
    for index, name in enumerate(FILES):
        (photos / CLASSES[0] / f"{index}.png").rename(photos / CLASSES[0] / name)
    options = ("--model", "lenet5", "--image-size", "28", "--epochs", "1", "--limit-train", "0")
    outcome = CliRunner().invoke(main, ["train", "--dataset", str(photos), *options, "--run", str(run)])
    assert outcome.exit_code == 0, outcome.output
    return photos, run


def read(path):
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_csv_and_json_give_the_names_back(strange, cli, tmp_path):
    photos, run = strange
    table = tmp_path / f"{STRAY}.csv"
    outcome = cli("predict", run, photos / CLASSES[0], "--top", 4, "--csv", table, "--json")
    assert outcome.exit_code == 0, outcome.output
    rows, lines = json.loads(outcome.stdout), read(table)
    assert outcome.stdout.isascii()
    expected = sorted(str(photos / CLASSES[0] / name) for name in FILES)
    assert [row["path"] for row in rows] == [line["path"] for line in lines] == expected
    assert all(os.path.exists(line["path"]) for line in lines)
    assert {line["class"] for line in lines} | {line["class_4"] for line in lines} <= set(CLASSES)
    assert b"caf\xe9.png" in table.read_bytes()


def test_tables_and_messages_are_printable(strange, cli, tmp_path):
    photos, run = strange
    outcome = cli("predict", run, photos / CLASSES[0])
    assert outcome.exit_code == 0, outcome.output
    for words in ("caf\\xe9.png", "new\\nline.png", "re\\rturn.png", "em🐈.png", "e\\x1b[31m.png"):
        assert words in outcome.stdout
    assert len(outcome.stdout.splitlines()) == 1 + len(FILES)
    assert "new\\nline" in cli("evaluate", run).stdout
    (tmp_path / f"bad\n{STRAY}.png").write_bytes(b"")
    one_line_error(cli("predict", run, tmp_path), 1, "bad\\ncaf\\xe9.png is empty")
    one_line_error(cli("predict", run, tmp_path / f"none\n{STRAY}"), 1, "none\\ncaf\\xe9 is no picture")


@pytest.mark.parametrize("encoding", ["utf-8:strict", "latin-1:strict"])
def test_a_terminal_of_another_encoding(encoding, tmp_path):
    """Standard output as a process has it, which the test runner replaces."""
    command = [sys.executable, "-m", "kcnn", "datasets", "--data-dir", tmp_path / f"{STRAY}🐈"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr
    assert b"looked in" in done.stdout
    assert b"caf\\udce9" in done.stdout


def test_the_run_can_be_repeated_evaluated_and_drawn(strange, cli, tmp_path):
    photos, run = strange
    assert read_recipe(run / "recipe.toml").data_dir == str(photos)
    table = tmp_path / "classes.csv"
    assert cli("evaluate", run, "--csv", table).exit_code == 0
    assert [line["class"] for line in read(table)] == sorted(CLASSES)
    assert json.loads(cli("evaluate", run, "--json").stdout)["per_class"][0]["class"] == sorted(CLASSES)[0]
    outcome = cli("plot", run, "--kind", "all", "-o", tmp_path / "drawn")
    assert outcome.exit_code == 0, outcome.output
    again = cli("train", "--recipe", run / "recipe.toml", "--run", tmp_path / "again")
    assert again.exit_code == 0, again.output
    onnx = cli("export", run, "--format", "onnx", "-o", tmp_path / "m.onnx")
    assert onnx.exit_code == 0, onnx.output
    rows = json.loads(cli("predict", tmp_path / "m.onnx", photos / CLASSES[0], "--json").stdout)
    assert {row["top"][0]["class"] for row in rows} <= set(CLASSES)


def test_csv_quotes_what_its_readers_need(tmp_path):
    values = ["a\rb", "a\nb", "a\r\nb", 'a"b', "a,b", "", " ", "é", "\udce9", "plain"]
    write_csv(tmp_path / "x.csv", [{"path": value, "n": str(number)} for number, value in enumerate(values)])
    assert [row["path"] for row in read(tmp_path / "x.csv")] == values
    assert (tmp_path / "x.csv").read_bytes().splitlines()[-1] == b"plain,9"


def test_printable():
    assert (
        printable("a\nb\tc\x1b\x7f\x85\u2028\udcff\ud800é猫🐈 \\")
        == "a\\nb\\tc\\x1b\\x7f\\x85\\u2028\\xff\\ud800é猫🐈 \\"
    )
