"""Running a study: what is done, skipped, resumed, refused; what fails does not stop the rest."""

import json
import shutil
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

from helpers import one_line_error
from kcnn.errors import KcnnError
from kcnn.recipes.files import read_recipe
from kcnn.run.directory import RunDir
from kcnn.studies import runner
from kcnn.studies.study import find_study
from kcnn.studies.tasks import BLOCKED, FINISHED, NEW, UNFINISHED, State, found_tasks, plan_tasks, state_of
from kcnn.training.callbacks.recorder import Recorder


def test_every_row_and_seed_is_a_run_directory(done, said):
    _, text = said
    study = find_study(str(done.parent / "small.toml"))
    names = ["seed0", "seed1", "own-seed0", "own-seed1"]
    for place, wanted in (("plain", names), ("i-moved-i", names[:2]), ("on", names[:1]), ("plain-harder-test", names)):
        found = sorted(path.name for path in (done / place).iterdir() if path.is_dir())
        assert found == sorted(wanted)
    for name, settings, seed in (("seed1", "reported", 1), ("own-seed0", "own", 0)):
        run = RunDir.open(done / "plain" / name)
        assert read_recipe(run.recipe) == study.rows["plain"].recipes[settings].replace(seed=seed)
        place = json.loads(run.result.read_text())["study"]
        assert place == {"row": "plain", "settings": settings, "epochs_scale": 1.0}
    assert read_recipe(done / "on/seed0/recipe.toml").weights == str(done / "plain/seed0")
    assert "measuring" in text
    assert "expected on this machine: about" in text
    assert "[1 of 13] " in text


def test_a_row_that_fails_does_not_stop_the_rest(done, said):
    code, text = said
    assert code == 1
    assert "broken, seed 0: failed: augmentation crop=500 is as large as the images" in text
    assert "on broken, seed 0: failed: broken, seed 0 failed, its start." in text
    assert text.splitlines()[-1].startswith("Error: 2 of 13 runs are not finished")
    assert "as large as" in (done / "broken/seed0.failed").read_text()
    assert (done / "on/seed0/result.json").exists()


def test_again_only_what_failed_is_tried(done, here, cli):
    before = {path: path.stat().st_mtime_ns for path in done.rglob("result.json")}
    outcome = cli("study", "run", done.parent / "small.toml", "-o", done)
    assert outcome.exit_code == 1
    assert "13 runs, 11 of them finished already" in outcome.stderr
    assert [command[:1] + command[-1:] for command in here] == [["train", str(done / "broken/seed0")]]
    assert {path: path.stat().st_mtime_ns for path in done.rglob("result.json")} == before


def test_an_unfinished_run_is_resumed(small, here, cli, tmp_path, monkeypatch):
    study, folder = find_study(str(small)), tmp_path / "out"
    options = ("--rows", "plain", "--settings", "reported", "--seeds", "1", "-o", folder)
    whole = plan_tasks(study, folder, ["plain"], "reported", [0])[0]
    real = Recorder.on_epoch_end

    def interrupted(self, epoch, logs=None):
        real(self, epoch, logs)
        if epoch == 1:
            raise KcnnError("the power went off")

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_epoch_end", interrupted)
        one_line_error(cli("study", "run", small, *options), 1, "1 of 1 runs are not finished")
    assert (state_of(whole).kind, state_of(whole).epochs, state_of(whole).reason) == (
        UNFINISHED,
        2,
        "the power went off",
    )
    outcome = cli("study", "run", small, *options)
    assert outcome.exit_code == 0, outcome.output
    assert here[-1] == ["train", "--resume", str(whole.path)]
    assert state_of(whole) == State(FINISHED, 4)
    assert not whole.failure_file.exists()


def test_a_damaged_result_is_written_anew(done, here, cli, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(done, folder)
    result = folder / "plain/seed0/result.json"
    whole = json.loads(result.read_text())
    result.write_text(result.read_text()[:40])
    options = ("--rows", "plain", "--settings", "reported", "-o", folder)
    assert cli("study", "run", done.parent / "small.toml", *options).exit_code == 0
    assert here == [["train", "--resume", str(folder / "plain/seed0")]]
    assert json.loads(result.read_text()) == whole


def test_a_run_of_other_settings_is_not_touched(done, here, small, cli, tmp_path):
    folder = tmp_path / "out"
    (folder / "plain").mkdir(parents=True)
    (folder / "study.toml").write_text(small.read_text())
    shutil.copytree(done / "plain/own-seed0", folder / "plain/seed0")
    before = {path.name: path.read_bytes() for path in (folder / "plain/seed0").iterdir()}
    outcome = cli("study", "run", small, "-o", folder, "--rows", "plain", "--settings", "reported", "--seeds", 1)
    one_line_error(outcome, 1, "1 of 1 runs are not finished")
    assert "is a run with limit_train = 0 instead of 300, epochs = 2 instead of 4" in outcome.stdout
    assert {path.name: path.read_bytes() for path in (folder / "plain/seed0").iterdir()} == before
    assert here == []


def test_fewer_epochs_are_runs_of_their_own_and_say_so(small, here, cli, tmp_path):
    folder = tmp_path / "out"
    outcome = cli(
        *("study", "run", small, "--rows", "<i>*", "--seeds", 1, "--epochs-scale", 0.5, "-o", folder, "--jobs", 2)
    )
    assert outcome.exit_code == 0, outcome.output
    run = folder / "i-moved-i/seed0-x0.5"
    assert read_recipe(run / "recipe.toml").epochs == 2
    assert json.loads((run / "result.json").read_text())["study"]["epochs_scale"] == 0.5
    assert "(1) at 2 of 4 epochs" in outcome.stdout
    cli("study", "run", small, "--rows", "plain*", "--settings", "own", "--epochs-scale", 0.5, "-o", folder)
    text = cli("study", "report", folder).stdout
    assert "(2) at 1 of 2 epochs" in text
    assert "(2) at 0.5 of the epochs" in text  # the row of tests
    study = find_study(str(small))
    assert {(task.scale, state_of(task).kind) for task in found_tasks(study, folder)} == {(0.5, FINISHED)}
    assert state_of(plan_tasks(study, folder, ["<i>*"])[0]).kind == NEW


def test_rows_bring_what_they_stand_on(small, tmp_path):
    study = find_study(str(small))
    names = [(task.row.name, task.settings) for task in plan_tasks(study, tmp_path, ["on"], "reported", [5])]
    assert names == [("plain", "reported"), ("on", "reported")]
    tests = plan_tasks(study, tmp_path, ["plain-harder-test"], "own")
    assert [task.row.name for task in tests] == ["plain", "plain", "plain, harder test", "plain, harder test"]
    assert tests[2].source.path == tests[0].path


def test_data_and_device_make_no_other_run(done, tmp_path):
    study = find_study(str(done.parent / "small.toml"))
    tasks = plan_tasks(study, done, ["plain"], changes={"data_dir": str(tmp_path), "device": "cpu"})
    assert {state_of(task).kind for task in tasks} == {FINISHED}
    other = plan_tasks(study, done, ["plain"], changes={"precision": "mixed_bfloat16"})
    assert {state_of(task).kind for task in other} == {BLOCKED}


def test_the_backend_of_the_environment_is_the_runs(small, cli, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.delenv("KCNN_SET_KERAS_BACKEND", raising=False)
    monkeypatch.setattr("kcnn.studies.timing.run_module", lambda *_, **__: "not measured")

    def run(module, arguments, backend, threads=0):
        seen.append((backend, read_recipe(Path(arguments[2])).backend))
        return "enough"

    monkeypatch.setattr(runner, "run_module", run)
    cli("study", "run", small, "--rows", "plain", "--settings", "own", "--seeds", 1, "-o", tmp_path / "out")
    assert seen == [("jax", "jax")]


def test_no_more_jobs_at_a_time_than_asked_and_none_before_its_source(small, tmp_path, monkeypatch):
    tasks = plan_tasks(find_study(str(small)), tmp_path)
    tasks = tasks[::-1]  # in the worst order
    running, most, order, lock = set(), [], [], threading.Lock()

    def work(task, stands, threads):
        with lock:
            running.add(task.path)
            most.append(len(running))
            order.append(task.path)
        threading.Event().wait(0.01)
        with lock:
            running.discard(task.path)
        return ""

    monkeypatch.setattr(runner, "LOOK", 0.001)
    monkeypatch.setattr(runner, "work", work)
    assert runner.run_tasks(tasks, runner.processes(3), 3, 1, lambda *_: None) == {}
    assert max(most) == 3
    assert sorted(order) == sorted(task.path for task in tasks)
    for task in tasks:
        if task.source:
            assert order.index(task.source.path) < order.index(task.path)


def test_real_processes_share_the_threads(small, cli, tmp_path, monkeypatch):
    """Two processes of one thread each, as a user runs them."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    outcome = cli("study", "run", small, "--rows", "plain", "--settings", "own", "--jobs", 2, "-o", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.output
    runs = [RunDir.open(tmp_path / "out/plain" / f"own-seed{seed}") for seed in (0, 1)]
    assert all(run.result.exists() and run.predictions.exists() for run in runs)
    assert "kcnn train --recipe" in json.loads(runs[0].manifest.read_text())["command"]


def test_a_pool_that_breaks_is_a_failure_of_its_task(small, tmp_path):
    class Lost:
        def submit(self, function, *arguments):
            return self

        def done(self):
            return True

        def result(self):
            raise RuntimeError("Job 3 (task: 0) was\nkilled by the scheduler")

    tasks = plan_tasks(find_study(str(small)), tmp_path, ["plain"], "own", [0])
    assert runner.run_tasks(tasks, Lost(), 1, 1, lambda *_: None) == {tasks[0].path: "killed by the scheduler"}


def test_a_cluster_gets_one_job_a_task(small, here, cli, tmp_path, monkeypatch):
    """submitit's interface, with a stand-in that runs a job at once."""
    parameters, submitted = {}, []

    class Executor:
        def __init__(self, folder, cluster):
            if cluster != "slurm":
                raise ValueError(f"AutoExecutor doesn't know any executor named {cluster}")
            self.folder = folder

        def update_parameters(self, **given):
            parameters.update(given)

        def submit(self, function, *arguments):
            submitted.append(arguments[0].title)
            outcome = function(*arguments)
            return SimpleNamespace(done=lambda: True, result=lambda: outcome)

    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(AutoExecutor=Executor))
    options = ("study", "run", small, "--rows", "plain", "--settings", "own", "-o", tmp_path / "out")
    one_line_error(cli(*options, "--cluster", "slrum"), 1, "submitit finds no cluster 'slrum' here")
    outcome = cli(*options, "--cluster", "slurm", "--jobs", 2)
    assert outcome.exit_code == 0, outcome.output
    assert submitted == [f"plain (kcnn's own recipe), seed {seed}" for seed in (0, 1)]
    assert parameters["cpus_per_task"] >= 1


def test_a_cluster_without_submitit_says_what_to_install(small, here, cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    outcome = cli("study", "run", small, "-o", tmp_path / "out", "--cluster", "slurm")
    one_line_error(outcome, 1, "pip install 'kcnn[submitit]'")
