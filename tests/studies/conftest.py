"""A small study that is run, and a way to run its tasks without the seconds that each new process takes."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from kcnn.cli import main
from kcnn.studies import timing

SMALL = """
title = "Small <b>study</b>"
about = "What is here."
seeds = 2

[base]
model = "lenet5"
dataset = "digits"
limit_train = 300
epochs = 4
batch_size = 32
learning_rate = 0.05

[[row]]
name = "plain"
reported = 0.25
source = "row 1"
own = {epochs = 2, augment = {}, learning_rate = 0.1}

[[row]]
name = "<i>moved</i>"
augment = {shift = 1}
reported = "about | half"
note = "a note"

[[row]]
name = "plain, harder test"
test_of = "plain"
test = {augment = {rotation = 90}}

[[row]]
name = "on"
weights_of = "plain"
seeds = 1
"""
BROKEN = """
[[row]]
name = "broken"
augment = {crop = 500}
seeds = 1

[[row]]
name = "on broken"
weights_of = "broken"
seeds = 1
"""


def in_process(module, arguments, backend, relay=None, threads=0):
    """`run_module` without a process of its own."""
    if module != "kcnn":
        timing.main(*arguments)
        return ""
    result = CliRunner().invoke(main, arguments)
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    return "" if result.exit_code == 0 else lines[-1].removeprefix("Error: ")


@pytest.fixture
def here(monkeypatch):
    """Tasks and measurements run in this process; gives the list of commands."""
    commands = []

    def run(module, arguments, *rest, **options):
        commands.append(arguments)
        return in_process(module, arguments, *rest, **options)

    monkeypatch.setattr("kcnn.studies.runner.run_module", run)
    monkeypatch.setattr("kcnn.studies.timing.run_module", in_process)
    monkeypatch.setattr("kcnn.studies.timing.ENOUGH", 0.02)
    return commands


@pytest.fixture
def small(tmp_path):
    """The file of the small study."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="session")
def done(tmp_path_factory):
    """The directory of the small study with a row that fails, run as a user would, but for the processes."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "small.toml").write_text(SMALL + BROKEN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kcnn.studies.runner.run_module", in_process)
        patch.setattr("kcnn.studies.timing.run_module", in_process)
        patch.setattr("kcnn.studies.timing.ENOUGH", 0.02)
        result = CliRunner().invoke(main, ["study", "run", str(folder / "small.toml"), "-o", str(folder / "out")])
    (folder / "said").write_text(f"{result.exit_code}\n{result.output}")
    return folder / "out"


@pytest.fixture
def said(done):
    """Exit code and all output of the run of `done`."""
    code, _, text = (Path(done).parent / "said").read_text().partition("\n")
    return int(code), text
