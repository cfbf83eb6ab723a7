"""Choosing the backend; and one network file, one training, on every backend in a process of its own."""

import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from helpers import random_images, write_pictures
from kcnn.cli.plan import plan_recipe
from kcnn.machine import backend
from kcnn.machine.processes import environment, run_module
from kcnn.models.registry import build_model

OTHERS = ("jax", "tensorflow", "openvino", "numpy")
# Between them, every layer that the models have: both stems of the ResNets, resizing inside the model.
FILES = {
    "lenet5": ("lenet5", (28, 28, 1), {}),
    "simple_cnn": ("simple_cnn", (32, 32, 3), {"pooling": "average"}),
    "convnet": ("convnet", (28, 28, 1), {}),
    "alexnet": ("alexnet", (32, 32, 3), {}),
    "resnet20": ("resnet20", (32, 32, 3), {}),
    "resized": ("resnet20", (20, 20, 3), {"stem": "imagenet", "image_size": 40}),
}

# Everything that one process on one backend is to do, so that its libraries are read once.
CHILD = """
import json, sys
from pathlib import Path
import numpy as np
from click.testing import CliRunner
from kcnn.cli import main

folder, run, picture, name = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
answer = {}

def call(key, *arguments):
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    answer[key] = json.loads(result.stdout)

call("evaluate", "evaluate", run, "--backend", name)
call("predict", "predict", run, picture, "--backend", name)
if name in ("torch", "jax", "tensorflow"):
    call("train", *json.loads(sys.argv[5]), "--backend", name, "--run", str(folder / f"run-{name}"))
from kcnn.run.checkpoint import load_model
from kcnn.results.logits import predict_logits
logits = {}
for path in folder.glob("*.keras"):
    model, _ = load_model(path)
    logits[path.stem] = predict_logits(model, np.load(path.with_suffix(".npy")))
np.savez(folder / f"{name}.npz", **logits)
(folder / f"{name}.json").write_text(json.dumps(answer))
"""
TRAIN = ["train", "--epochs", "2", "--limit-train", "150", "--batch-size", "32", "--augment", "shift=1,rotation=5"]


def has(name):
    return importlib.util.find_spec(backend.PACKAGES[name]) is not None


@pytest.fixture(scope="module")
def work(trained, tmp_path_factory):
    """(folder with a network file and images for each of `FILES`, run directory, a picture)."""
    folder = tmp_path_factory.mktemp("files")
    for name, (model, shape, options) in FILES.items():
        keras.utils.set_random_seed(1)
        build_model(model, shape, **options).save(folder / f"{name}.keras")
        np.save(folder / f"{name}.npy", random_images(6, *shape))
    return folder, trained[0], write_pictures(folder / "pictures") / "cat" / "0.png"


@pytest.fixture(scope="module")
def done(work):
    """`done("jax")` → (its answers, its logits); computed once a backend."""
    folder, run, picture = work
    known = {}

    def compute(name):
        if not has(name):
            pytest.skip(f"{name} is not installed")
        if name not in known:
            command = [sys.executable, "-c", CHILD, folder, run, picture, name, json.dumps(TRAIN)]
            child = subprocess.run(command, env=environment(name), capture_output=True, text=True)
            assert child.returncode == 0, child.stderr[-3000:]
            known[name] = json.loads((folder / f"{name}.json").read_text()), dict(np.load(folder / f"{name}.npz"))
        return known[name]

    return compute


@pytest.mark.parametrize("name", OTHERS)
def test_a_network_file_gives_the_same_logits_on_every_backend(done, name):
    expected, found = done("torch")[1], done(name)[1]
    assert set(found) == set(FILES)
    for key, logits in found.items():
        np.testing.assert_allclose(logits, expected[key], atol=1e-4, rtol=1e-4, err_msg=key)


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_trained_on_torch_evaluates_and_predicts_alike_on_every_backend(done, name):
    expected, found = done("torch")[0], done(name)[0]
    assert found["evaluate"]["confusion"] == expected["evaluate"]["confusion"]
    assert found["evaluate"]["test"]["loss"] == pytest.approx(expected["evaluate"]["test"]["loss"], rel=1e-4)
    ranking = [[(row["class"], pytest.approx(row["probability"], abs=1e-4)) for row in picture["top"]]
               for picture in expected["predict"]]  # fmt: skip
    assert [[(row["class"], row["probability"]) for row in picture["top"]] for picture in found["predict"]] == ranking


@pytest.mark.parametrize("name", ["jax", "tensorflow"])
def test_training_runs_on_every_backend_and_leaves_a_whole_run(done, work, name):
    result = done(name)[0]["train"]
    assert result["backend"] == name
    assert result["epochs"] == 2
    run = work[0] / f"run-{name}"
    assert {"best.keras", "last.keras", "log.csv", "result.json", "curves.png"} <= {path.name for path in run.iterdir()}
    first, last = [float(line.split(",")[1]) for line in (run / "log.csv").read_text().splitlines()[1:]]
    assert last < first


@pytest.mark.parametrize("name", ["jax", "tensorflow"])
def test_a_run_trained_on_another_backend_evaluates_on_torch(done, work, cli, name):
    expected = done(name)[0]["train"]["test"]
    found = json.loads(cli("evaluate", work[0] / f"run-{name}", "--backend", "torch", "--json").stdout)["test"]
    assert found["accuracy"] == expected["accuracy"]
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)


# ---- what the user may have got wrong --------------------------------------------------------------------------------


def ask(*arguments, code="", **variables):
    """Run kcnn in a new process after `code`; (exit code, the last line of stderr)."""
    program = f"import sys\n{code}\nfrom kcnn.cli import main\nmain(sys.argv[1:])"
    env = {key: value for key, value in {**environment("torch"), **variables}.items() if value is not None}
    child = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], env=env, capture_output=True, text=True
    )
    assert "Traceback" not in child.stderr, child.stderr
    return child.returncode, child.stderr.strip().splitlines()[-1]


def test_an_unknown_backend_is_told_with_the_nearest_name(trained, cli):
    for command in (("evaluate", trained[0]), ("train",)):
        result = cli(*command, "--backend", "tensorflwo")
        assert result.exit_code == 2
        assert "unknown backend 'tensorflwo'. Did you mean 'tensorflow'?" in result.stderr


@pytest.mark.parametrize(("name", "extra"), [("jax", "jax"), ("tensorflow", "tensorflow"), ("numpy", "jax")])
def test_an_absent_backend_names_the_extra_to_install(trained, name, extra):
    code, line = ask("evaluate", trained[0], "--backend", name, code=f"sys.modules[{extra!r}] = None")
    assert (code, line) == (1, f"Error: The backend {name!r} is not installed. Run: pip install 'kcnn[{extra}]'")


def test_a_broken_backend_is_one_line(trained, tmp_path):
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("raise AttributeError('libjax has no symbol x\\nmore')")
    code, line = ask("evaluate", trained[0], "--backend", "jax", code=f"sys.path.insert(0, {str(tmp_path)!r})")
    assert code == 1
    assert line.startswith(
        "Error: The backend 'jax' is installed but does not start (libjax has no symbol x). Run: pip"
    )


@pytest.mark.parametrize("command", ["evaluate", "train"])
def test_keras_backend_against_the_option_is_told(trained, tmp_path, command):
    place = ["--run", tmp_path / "run"] if command == "train" else [trained[0]]
    code, line = ask(command, *place, "--backend", "torch", KERAS_BACKEND="jax", **{backend.OURS: None})
    assert code == 2
    assert "KERAS_BACKEND is 'jax', but the backend asked for is 'torch'" in line


def test_an_unknown_keras_backend_is_told(trained):
    code, line = ask("evaluate", trained[0], KERAS_BACKEND="theano", **{backend.OURS: None})
    assert code == 2
    assert "unknown backend 'theano'" in line


def test_a_backend_cannot_change_within_a_process(monkeypatch):
    monkeypatch.setenv(backend.OURS, "1")
    with pytest.raises(backend.UsageError, match="another backend in this process"):
        backend.select("jax")


def test_what_a_backend_lacks_is_one_line(trained, cli, monkeypatch):
    def lack(*arguments, **options):
        raise NotImplementedError("`sort` is not supported with openvino backend\nmore")

    monkeypatch.setattr("kcnn.results.scores.evaluate_run", lack)
    result = cli("evaluate", trained[0])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The backend torch lacks what this needs (`sort` is not supported with")


def test_a_graphics_card_that_is_not_there_is_told(trained, cli):
    result = cli("evaluate", trained[0], "--device", "cuda:3")
    assert result.exit_code == 1
    assert "torch finds no CUDA device for device='cuda:3'" in result.stderr


# ---- the environment -------------------------------------------------------------------------------------------------


def test_torch_is_the_default_and_a_child_does_not_take_it_for_the_users_choice(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.delenv(backend.OURS, raising=False)
    backend.set_default()
    assert os.environ["KERAS_BACKEND"] == "torch"
    assert backend.named_by_environment() == ""


def test_keras_backend_chooses_for_a_training_that_names_none(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.delenv(backend.OURS, raising=False)
    start = {"model": "lenet5", "dataset": "digits", "recipe": "", "augment": None, "settings": ()}
    assert plan_recipe(**start)[1].backend == "jax"
    assert plan_recipe(**start, backend="tensorflow")[1].backend == "tensorflow"


def test_a_child_process_says_why_it_failed(monkeypatch, tmp_path):
    (tmp_path / "dies.py").write_text("import os, sys\nprint('hello', file=sys.stderr)\nsys.exit(sys.argv[1])")
    (tmp_path / "killed.py").write_text("import os\nos.kill(os.getpid(), 9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    lines = []
    assert run_module("dies", ["Error: no data"], "torch", lines.append) == "no data"
    assert lines[0] == "hello"
    assert run_module("killed", [], "torch") == "The process was ended by SIGKILL: usually too little memory."


def test_a_child_process_imports_nothing_from_where_the_user_stands(monkeypatch, tmp_path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/imports.py").write_text("import colorsys")
    (tmp_path / "colorsys.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.chdir(tmp_path)
    assert run_module("imports", [], "torch") == ""
