"""A command that is interrupted, or whose reader has gone, ends in one line or none, and says how to go on."""

import signal
import subprocess
import sys
from importlib import import_module

import pytest

from kcnn.run.checkpoint import load_model
from kcnn.run.directory import RunDir
from runs import rows


def interrupt_in(monkeypatch, owner, name, when=lambda *_: True):
    """Raise what Python's own handler of Ctrl-C raises."""
    original = getattr(owner, name)

    def interrupted(*arguments, **options):
        if when(*arguments):
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, interrupted)


def test_ctrl_c_keeps_the_epoch_and_says_how_to_go_on(cli, tmp_path, monkeypatch):
    run = RunDir(tmp_path / "my run")
    rates = import_module("kcnn.training.callbacks.rules").LearningRate
    interrupt_in(monkeypatch, rates, "on_train_batch_begin", lambda self, batch, logs=None: self.epoch and batch == 2)
    outcome = cli("train", "--epochs", 3, "--limit-train", 200, "--run", run.path)
    assert outcome.exit_code == 130
    last = f"Interrupted. The last finished epoch is kept. Continue with: kcnn train --resume '{run.path}'"
    assert outcome.stderr.splitlines()[-1] == last
    assert load_model(run.last)[1]["epoch"] == 1
    assert [row["epoch"] for row in rows(run)] == [1]


def test_ctrl_c_before_training_leaves_nothing(cli, tmp_path, monkeypatch):
    interrupt_in(monkeypatch, import_module("kcnn.recipes.parts"), "load_dataset")
    outcome = cli("train", "--run", tmp_path / "run")
    assert outcome.exit_code == 130
    assert outcome.stderr.endswith("Interrupted. Nothing was trained yet.\n")
    assert not (tmp_path / "run").exists()


def test_ctrl_c_of_a_run_that_begins_by_resume_keeps_it(cli, tmp_path, monkeypatch):
    run = RunDir.create(tmp_path / "run", "x", "epochs = 1\n")
    interrupt_in(monkeypatch, import_module("kcnn.recipes.parts"), "load_dataset")
    outcome = cli("train", "--resume", run.path)
    assert outcome.exit_code == 130
    last = f"Interrupted. Nothing was trained yet. Begin with: kcnn train --resume {run.path}\n"
    assert outcome.stderr.endswith(last)
    assert run.recipe.read_text() == "epochs = 1\n"


def test_ctrl_c_while_the_best_epoch_is_scored(cli, tmp_path, monkeypatch):
    run = RunDir(tmp_path / "run")
    interrupt_in(monkeypatch, import_module("kcnn.training.finish"), "full_report")
    outcome = cli("train", "--epochs", 1, "--limit-train", 100, "--run", run.path)
    assert outcome.exit_code == 130
    assert f"Continue with: kcnn train --resume {run.path}" in outcome.stderr
    assert not run.result.exists()
    monkeypatch.undo()
    assert cli("train", "--resume", run.path).exit_code == 0


@pytest.mark.parametrize(
    "command", [("evaluate",), ("predict",), ("export", "-o", "x.keras"), ("plot", "--kind", "all")]
)
def test_ctrl_c_in_other_commands(cli, trained, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    interrupt_in(monkeypatch, import_module("kcnn.machine.backend"), "select")
    extra = ["--dataset", "digits"] if command == ("predict",) else []
    outcome = cli(command[0], trained[0], *command[1:], *extra)
    assert (outcome.exit_code, outcome.stderr) == (130, "Interrupted.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_before_training_leaves_nothing(cli, tmp_path):
    outcome = cli("train", "--dataset", "folder", "--data-dir", tmp_path / "none", "--run", tmp_path / "run")
    assert outcome.exit_code == 1
    assert not (tmp_path / "run").exists()


# ---- in a process of its own -----------------------------------------------------------------------------------------


def start(*arguments, **streams):
    """`kcnn` as a terminal starts it; a shell's background job, and so this test in one, would ignore SIGINT."""
    command = [sys.executable, "-m", "kcnn", *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **streams}
    return subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **streams)


def test_a_real_sigint(tmp_path):
    run = RunDir(tmp_path / "run")
    with start("train", "--epochs", 300, "--limit-train", 200, "--run", run.path) as process:
        # Where TensorFlow is installed Keras imports it, and its C++ greets on stderr whatever it is told.
        ours = (line for line in process.stderr if not line.startswith(("WARNING: All log messages before absl", "I0")))
        before = [next(ours) for _ in range(3)]  # what is trained, and two epochs
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert [line.split()[0] for line in before] == ["lenet5", "epoch", "epoch"]  # and no warning
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    assert rest.endswith(f"Interrupted. The last finished epoch is kept. Continue with: {hint(run)}\n")
    epochs = [row["epoch"] for row in rows(run)]
    assert epochs == list(range(1, len(epochs) + 1))
    assert load_model(run.last)[1]["epoch"] in (len(epochs), len(epochs) + 1)
    assert not [path for path in run.path.iterdir() if path.name.startswith(".")]


def hint(run):
    return f"python -m kcnn train --resume {run.path}"


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGTERM, 143, "Terminated."), (signal.SIGHUP, 129, "Hung up.")]
)
def test_a_signal_while_modules_are_imported(tmp_path, number, code, word):
    with start("train", "--run", tmp_path / "run") as process:
        first = process.stderr.readline()
        process.send_signal(number)
        rest = process.stderr.read()
    assert first.startswith("lenet5 on digits")
    assert (process.returncode, rest.splitlines()[-1]) == (code, f"{word} Nothing was trained yet.")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("streams", [("stdout",), ("stdout", "stderr")])
def test_a_reader_that_has_gone(streams):
    with start("recipes", "--keys") as process:
        for name in streams:
            getattr(process, name).close()
        heard = "" if "stderr" in streams else process.stderr.read()
    assert (process.returncode, heard) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_from_the_start(closed, tmp_path):
    command = f"{sys.executable} -m kcnn schedule lenet5-digits -o {tmp_path / 'a.png'} {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (closed == "2>&-")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
