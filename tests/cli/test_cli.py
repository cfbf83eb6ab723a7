"""The command line: help, exit codes, what goes to stdout and what to stderr."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from helpers import one_line_error
from kcnn import __version__
from kcnn.cli import main
from kcnn.data.registry import DATASETS
from kcnn.errors import KcnnError
from kcnn.models.registry import MODELS
from kcnn.recipes.files import find_recipe, read_recipe, shipped_recipes
from kcnn.recipes.recipe import Recipe

COMMANDS = sorted(main.commands)


def test_the_commands_of_the_main_job_are_there():
    assert {"train", "evaluate", "predict", "export", "models", "datasets", "recipes"} <= set(COMMANDS)


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(cli, command, flag):
    outcome = cli(*command.split(), flag)
    assert outcome.exit_code == 0
    assert outcome.stdout.startswith("Usage: ")
    assert outcome.stderr == ""


def test_every_command_and_option_is_explained(cli):
    overview = cli("--help").stdout
    for name, command in main.commands.items():
        assert f"  {name} " in overview
        assert command.help
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert parameter.help, (name, parameter.name)


def test_version(cli):
    assert __version__ in cli("--version").stdout


@pytest.mark.parametrize("arguments", [["trian"], ["train", "--epoch", "3"], ["train", "--epochs", "x"], ["evaluate"]])
def test_wrong_usage_is_exit_2(cli, arguments):
    outcome = cli(*arguments)
    assert outcome.exit_code == 2
    assert "Error: " in outcome.stderr
    assert outcome.stdout == ""


# Runs the commands in one process that must not import keras, and prints [[exit code, stderr], …] and what it imported.
WITHOUT_KERAS = """
import json, sys
from click.testing import CliRunner
from kcnn.cli import main
outcomes = [CliRunner().invoke(main, arguments) for arguments in json.loads(sys.argv[1])]
print(json.dumps([[[o.exit_code, o.stderr] for o in outcomes], [m for m in ("keras", "torch") if m in sys.modules]]))
"""

MISTAKES = {
    ("train", "--model", "lenet"): "unknown model 'lenet'. Did you mean 'lenet5'?",
    ("train", "--dataset", "cifar"): "unknown data set 'cifar'. Did you mean 'cifar10'?",
    ("train", "--recipe", "lenet5-minst"): "unknown recipe 'lenet5-minst'. Did you mean 'lenet5-mnist'?",
    ("train", "--optimizer", "adm"): "unknown optimizer 'adm'. Did you mean 'adam'?",
    ("train", "--schedule", "cosin"): "unknown schedule 'cosin'. Did you mean 'cosine'?",
    ("train", "--augment", "flp"): "unknown augmentation 'flp'. Did you mean 'flip'?",
    ("train", "--precision", "float31"): "unknown precision 'float31'. Did you mean 'float32'?",
    ("train", "--backend", "pytorch"): "unknown backend 'pytorch'. Did you mean 'torch'?",
    ("train", "--device", "gpu"): "unknown device 'gpu'. Allowed: auto, cpu, cuda, cuda:N.",
    ("train", "--set", "epoch=3"): "unknown recipe key 'epoch'. Did you mean 'epochs'?",
    ("train", "--set", "model_options.poling=max"): "unknown option of lenet5 'poling'. Did you mean 'pooling'?",
    ("train", "--set", "nesterov"): "--set takes key=value; received 'nesterov'.",
    ("train", "--epochs", "0", "--learning-rate", "-1"): "epochs must be from 1",
    ("train", "--learning-rate", "-1"): "learning_rate must be from",
    ("train", "--resume", "x", "--model", "lenet5"): "--resume continues a run as its recipe.toml says",
    ("models", "lenet"): "unknown model 'lenet'. Did you mean 'lenet5'?",
    ("recipes", "lenet5-minst"): "Did you mean 'lenet5-mnist'?",
    ("export", "RUN", "--format", "onx", "-o", "x"): "unknown format 'onx'. Did you mean 'onnx'?",
    ("evaluate", "RUN", "--backend", "pytorch"): "unknown backend 'pytorch'.",
    ("evaluate", "RUN", "--device", "gpu"): "unknown device 'gpu'.",
    ("predict", "RUN", "PICTURE", "--device", "cuda:x"): "unknown device 'cuda:x'.",
}


def test_mistakes_are_told_before_keras_is_imported(tmp_path):
    (tmp_path / "recipe.toml").write_text(Recipe().to_toml())
    (tmp_path / "best.keras").touch()
    (tmp_path / "a.png").touch()
    places = {"RUN": str(tmp_path), "PICTURE": str(tmp_path / "a.png")}
    calls = [["--help"], ["recipes"], ["recipes", "--keys"], ["datasets"], *(list(mistake) for mistake in MISTAKES)]
    calls = [[places.get(word, word) for word in call] for call in calls]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS, json.dumps(calls)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    outcomes, imported = json.loads(done.stdout)
    assert imported == []
    assert [code for code, _ in outcomes[:4]] == [0] * 4
    for (code, stderr), (call, words) in zip(outcomes[4:], MISTAKES.items(), strict=True):
        assert code == 2, (call, stderr)
        assert words in stderr, (call, stderr)
        assert stderr.startswith("Error: "), call
        assert stderr.count("\n") == 1, (call, stderr)
    assert not (tmp_path / "runs").exists()


def test_python_m_kcnn_and_the_checkout_script(tmp_path):
    root = Path(__file__).parents[2]
    for command in (["-m", "kcnn"], [str(root / "cli.py")]):
        done = subprocess.run([sys.executable, *command, "--help"], capture_output=True, text=True, cwd=root)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Usage: kcnn ")


def test_train_json_is_all_there_is_on_stdout(cli, tmp_path):
    run = tmp_path / "run"
    outcome = cli("train", "--epochs", 1, "--limit-train", 100, "--run", run, "--json")
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.stdout) == json.loads((run / "result.json").read_text())
    assert "epoch 1/1" in outcome.stderr


def test_options_end_up_in_the_recipe(cli, tmp_path, monkeypatch):
    """Each option of `kcnn train`, read back from recipe.toml; nothing is trained."""
    seen = []

    def stop(recipe, run, resume):
        seen.append((recipe, read_recipe(run.recipe)))
        raise KcnnError("stop")

    monkeypatch.setattr(import_module("kcnn.training.trainer"), "train", stop)
    options = {
        **{"model": "convnet", "dataset": "fashion_mnist", "epochs": 7, "batch_size": 9, "optimizer": "adam"},
        **{"learning_rate": 0.5, "schedule": "step", "validation": 0.2, "patience": 3, "seed": 5, "image_size": 30},
        **{"limit_train": 11, "data_dir": str(tmp_path), "precision": "float32", "backend": "torch", "device": "cpu"},
    }
    flags = [text for key, value in options.items() for text in (f"--{key.replace('_', '-')}", value)]
    settings = ["--augment", "crop=3,flip", "--set", "step_epochs=2", "--set", "model_options.pooling=average"]
    one_line_error(cli("train", *flags, *settings, "--run", tmp_path / "run"), 1, "stop")
    ((recipe, written),) = seen
    assert written == recipe
    assert not (tmp_path / "run").exists()
    for key, value in options.items():
        assert getattr(recipe, key) == value
    assert recipe.augment == {"crop": 3, "flip": 0.5}
    assert (recipe.step_epochs, recipe.model_options) == (2, {"pooling": "average"})
    assert find_recipe("", "convnet")[1].nesterov
    assert not recipe.nesterov  # it is sgd's alone


def test_a_short_run_shortens_the_warm_up(cli, tmp_path, monkeypatch):
    seen = []

    def stop(recipe, run, resume):
        seen.append(recipe.warmup_epochs)
        raise KcnnError("stop")

    monkeypatch.setattr(import_module("kcnn.training.trainer"), "train", stop)
    for options in (["--epochs", 1], ["--epochs", 9], ["--epochs", 3, "--set", "warmup_epochs=2.5"]):
        cli("train", "--model", "alexnet", *options, "--run", tmp_path / "run")
    assert seen == [0.5, 1, 2.5]


def test_models_list(cli, monkeypatch):
    for name in set(MODELS) - {"lenet5", "simple_cnn", "resnet20"}:
        monkeypatch.delitem(MODELS, name)
    rows = json.loads(cli("models", "--json").stdout)
    keys = ["name", "parameters", "trainable_parameters", "flops", "input_shape", "dataset"]
    assert [list(row) for row in rows] == [keys] * 3
    lenet5 = next(row for row in rows if row["name"] == "lenet5")
    # 2 operations for each weight at each place: 28² places of the first convolution, 10² of the second.
    flops = 2 * (28 * 28 * 25 * 6 + 10 * 10 * 25 * 6 * 16 + 400 * 120 + 120 * 84 + 84 * 10)
    assert list(lenet5.values()) == ["lenet5", 61_706, 61_706, flops, [28, 28, 1], "mnist"]
    table = cli("models").stdout.splitlines()
    assert len(table) == 4
    assert any(line.split()[:3] == ["simple_cnn", "62,006", "62,006"] for line in table)


def test_layer_table_of_a_model(cli):
    outcome = cli("models", "convnet")
    assert outcome.exit_code == 0
    assert "5,070,832" in outcome.stdout
    assert sum("Conv2D" in line for line in outcome.stdout.splitlines()) == 2
    assert "4,918,032" in outcome.stdout  # 6272 × 784 weights and 784 biases: the first dense layer


def test_recipes_list(cli):
    listed = cli("recipes").stdout
    for name in shipped_recipes():
        assert any(line.split()[0] == name for line in listed.splitlines())
    assert cli("recipes", "lenet5-mnist").stdout == shipped_recipes()["lenet5-mnist"].read_text(encoding="utf-8")
    assert cli("recipes", "--keys").stdout == Recipe().to_toml()


def test_datasets_list(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("KCNN_DATA_DIR", str(tmp_path / "none"))
    rows = json.loads(cli("datasets", "--json").stdout)
    assert [row["name"] for row in rows] == list(DATASETS)
    assert [row["name"] for row in rows if row["present"]] == ["digits"]


def test_a_reader_that_stops_early_is_no_error():
    """As in `kcnn recipes --keys | head -1`."""
    done = subprocess.run(
        f"{sys.executable} -m kcnn recipes --keys | head -1", shell=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("model = ")
    assert done.stderr == ""
