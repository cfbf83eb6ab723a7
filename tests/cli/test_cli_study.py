"""`kcnn study`: listing, showing, and what is refused before anything is written or imported."""

import json
import subprocess
import sys

import pytest

from helpers import one_line_error
from kcnn.cli import main, study
from kcnn.studies import timing
from kcnn.studies.study import find_study, shipped_studies

MINE = """
title = "Mine"
[base]
limit_train = 100
epochs = 1
[[row]]
name = "a"
[[row]]
name = "b"
own = {epochs = 1}
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    return path


def test_every_subcommand_and_option_is_explained(cli):
    group = main.commands["study"]
    assert list(group.commands) == ["list", "show", "run", "status", "report"]
    for name, command in group.commands.items():
        assert cli("study", name, "--help").exit_code == 0
        assert command.help
        assert all(option.help for option in command.params if option.param_type_name == "option"), name


def test_list(cli):
    listed = cli("study", "list").stdout
    for name in shipped_studies():
        assert any(line.split()[0] == name for line in listed.splitlines())
    rows = json.loads(cli("study", "list", "--json").stdout)
    assert [row["name"] for row in rows] == list(shipped_studies())
    assert "plain on augmented test" in next(row["rows"] for row in rows if row["name"] == "report1")


@pytest.mark.parametrize("name", shipped_studies())
def test_show(cli, name):
    text = cli("study", "show", name).stdout
    for row in study_rows(name):
        assert f"\n{row}: reported " in text
    assert max(len(line) for line in text.split(": reported ")[0].splitlines()) <= 100


def study_rows(name):
    return find_study(name).rows


def test_show_says_what_a_row_stands_on(cli):
    text = cli("study", "show", "report1").stdout
    assert "tests plain with crop=4,flip=0.5" in text
    assert "starts from the weights of resnet18\n" in text
    assert "weights=" not in text


MISTAKES = {
    ("run", "reprt1"): "unknown study 'reprt1'. Did you mean 'report1'?",
    ("run", "MINE", "--rows", "c"): "No row of mine matches: unknown row 'c'.",
    ("run", "MINE", "--rows", "a,x*"): "No row of mine matches: unknown row 'x*'.",
    ("run", "MINE", "--settings", "mine"): "--settings is reported or own; received 'mine'.",
    ("run", "MINE", "--settings", "own", "--rows", "a"): "None of these rows has settings 'own'",
    ("run", "MINE", "--epochs-scale", "0"): "--epochs-scale must be above 0",
    ("run", "MINE", "--epochs-scale", "nan"): "--epochs-scale must be above 0",
    ("run", "MINE", "--precision", "float31"): "unknown precision 'float31'. Did you mean 'float32'?",
    ("run", "MINE", "--device", "gpu"): "unknown device 'gpu'.",
    ("show", "reprt1"): "unknown study 'reprt1'. Did you mean 'report1'?",
}


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_mistakes_leave_nothing_behind(cli, mine, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    outcome = cli("study", *[str(mine) if word == "MINE" else word for word in words])
    one_line_error(outcome, 2, MISTAKES[words])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize("option", [("--seeds", "0"), ("--jobs", "0"), ("--seeds", "x")])
def test_numbers_out_of_range(cli, mine, option):
    assert cli("study", "run", mine, *option).exit_code == 2


def test_a_dry_run_measures_and_writes_nothing(cli, mine, tmp_path, monkeypatch):
    measured = []

    def measure(module, arguments, backend, threads=0):
        measured.append(module)
        timing.main(*arguments)
        return ""

    monkeypatch.setattr("kcnn.studies.timing.run_module", measure)
    monkeypatch.setattr("kcnn.studies.timing.ENOUGH", 0.02)
    monkeypatch.chdir(tmp_path)
    outcome = cli("study", "run", mine, "--dry-run")
    assert outcome.exit_code == 0, outcome.output
    assert measured == ["kcnn.studies.timing"]
    assert "Mine: 3 runs, 0 of them finished already → studies/mine" in outcome.stderr
    assert "  b (kcnn's own recipe): 1 run, " in outcome.stderr
    assert "expected on this machine: about " in outcome.stderr
    assert not (tmp_path / "studies").exists()


def test_a_forecast_that_fails_says_why_and_is_no_end(cli, mine, tmp_path, monkeypatch):
    mine.write_text(MINE.replace("[base]", '[base]\nmodel = "lenet5"\ndataset = "mnist"'))
    monkeypatch.setenv("KCNN_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.setattr("kcnn.studies.timing.run_module", lambda module, arguments, backend, threads=0: "no memory")
    monkeypatch.chdir(tmp_path)
    outcome = cli("study", "run", mine, "--dry-run")
    assert outcome.exit_code == 0
    assert outcome.stderr.count("no forecast: no memory") == 1
    assert "  a: 1 run, –" in outcome.stderr


@pytest.mark.parametrize(("answer", "begins"), [("y", True), ("n", False), ("", False)])
def test_somebody_at_a_terminal_is_asked_before_a_long_study(monkeypatch, answer, begins):
    class Terminal:
        def isatty(self):
            return True

    monkeypatch.setattr("click.confirm", lambda *_, **__: answer == "y")
    monkeypatch.setattr(sys, "stdin", Terminal())
    expected = {"a": study.LONG, "b": study.LONG, "c": None}
    assert study._agreed(expected, 1, False) is begins
    assert study._agreed(expected, 1, True) is True
    assert study._agreed(expected, 3, False) is True  # in a third of the time


def test_looking_needs_no_keras(mine, tmp_path):
    code = (
        "import sys; from click.testing import CliRunner; from kcnn.cli import main\n"
        "words = ('list', 'show report1', f'run {sys.argv[1]} --rows x', 'status .', 'report .')\n"
        "calls = [text.split() for text in words]\n"
        "print([CliRunner().invoke(main, ['study', *call]).exit_code for call in calls])\n"
        "print([name for name in ('keras', 'torch', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(mine)], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines() == ["[0, 0, 2, 1, 1]", "[]"], done.stderr
