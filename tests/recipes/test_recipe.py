"""Recipes: checked all at once, written and read back the same, and every shipped one trains."""

import importlib
import json
import tomllib
from dataclasses import asdict, fields

import numpy as np
import pytest

from helpers import balanced_labels, random_images
from kcnn.cli.options import parse_augment, parse_settings, parse_value
from kcnn.data.dataset import Dataset, Split
from kcnn.data.registry import DATASETS
from kcnn.errors import KcnnError, UsageError
from kcnn.models.registry import MODELS
from kcnn.recipes.files import find_recipe, read_recipe, shipped_recipes
from kcnn.recipes.recipe import Recipe
from kcnn.run.directory import RunDir

SHIPPED = shipped_recipes()


def wrong(values, *words):
    """Assert that these values are refused in one line that has all the words."""
    with pytest.raises(UsageError) as caught:
        Recipe.of(values)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_errors_at_once():
    values = {
        "modle": "lenet5",
        "dataset": "cifar",
        "epochs": 0,
        "learning_rate": "fast",
        "model_options": {"poling": 1},
    }
    wrong(
        values,
        "unknown recipe key 'modle'. Did you mean 'model'?",
        "unknown data set 'cifar'. Did you mean 'cifar10'?",
        "epochs must be from 1 to 1e+09; received 0",
        "learning_rate must be a number; received 'fast'",
        "unknown option of lenet5 'poling'. Did you mean 'pooling'?",
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": "resnet"}, "unknown model 'resnet'. Did you mean 'resnet"),
        ({"optimizer": "adm"}, "Did you mean 'adam'?"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'?"),
        ({"precision": "float16"}, "unknown precision 'float16'. Did you mean"),
        ({"backend": "pytorch"}, "Did you mean 'torch'?"),
        ({"device": "gpu"}, "unknown device 'gpu'. Allowed: auto, cpu, cuda"),
        ({"device": "cpu:1"}, "unknown device 'cpu:1'"),
        ({"epochs": 2.5}, "epochs must be a whole number; received 2.5"),
        ({"epochs": True}, "epochs must be a whole number; received True"),
        ({"nesterov": 1}, "nesterov must be true or false; received 1"),
        ({"model": 3}, "model must be a word; received 3"),
        ({"learning_rate": float("nan")}, "learning_rate must be from"),
        ({"learning_rate": -0.1}, "received -0.1"),
        ({"validation": 1.0}, "validation must be from 0 to 0.9"),
        ({"milestones": 5}, "milestones must be a list of whole numbers"),
        ({"milestones": [3, 2]}, "milestones must be rising"),
        ({"augment": "crop"}, "augment must be a table"),
        ({"augment": {"crp": 4}}, "unknown augmentation 'crp'. Did you mean 'crop'?"),
        ({"augment": {"flip": 1.5}}, "augmentation flip (probability) must be above 0 and at most 1; received 1.5"),
        ({"augment": {"crop": "4"}}, "received '4'"),
        ({"schedule": "multistep"}, "schedule multistep needs milestones"),
        ({"nesterov": True, "optimizer": "adam"}, "nesterov needs optimizer sgd"),
        ({"epochs": 2, "warmup_epochs": 2}, "warmup_epochs must be below epochs (2)"),
        ({"patience": 3, "validation": 0}, "patience needs validation images"),
        ({"model": "alexnet", "model_options": {"dropout": 2}}, "received 2"),
    ],
)
def test_wrong_values(values, words):
    wrong(values, words)


def test_whole_numbers_of_stages_may_be_written_as_floats():
    assert Recipe.of({"epochs": 20, "stages": [[10.0, 32.0, 1], [10, 64]]}).stages == [[10.0, 32.0, 1], [10, 64]]


def test_errors_come_in_the_order_of_the_keys():
    values = {key: object() for key in ("seed", "epochs", "batch_size", "momentum", "clip_norm", "patience")}
    messages = set()
    for _ in range(3):
        with pytest.raises(UsageError) as caught:
            Recipe.of(values)
        messages.add(str(caught.value))
    (message,) = messages
    found = sorted(values, key=message.index)
    assert found == [field.name for field in fields(Recipe) if field.name in values]


def odd_recipe():
    return Recipe.of(
        {
            "model": "alexnet",
            "model_options": {"activation": "sigmoid", "batch_norm": False, "dropout": 0.25},
            "dataset": "folder",
            "data_dir": 'C:\\pictures "mine"\tégale 🐈 # no comment',
            "learning_rate": 1e-7,
            "weight_decay": 5e-4,
            "schedule": "multistep",
            "milestones": [3, 5],
            "augment": {"crop": 4, "flip": 0.5},
            "nesterov": True,
            "seed": 2**31,
        }
    )


def test_toml_round_trip(tmp_path):
    for recipe in (Recipe(), odd_recipe()):
        path = tmp_path / "recipe.toml"
        path.write_text(recipe.to_toml(), encoding="utf-8")
        assert read_recipe(path) == recipe


def test_toml_explains_every_key():
    lines = odd_recipe().to_toml().splitlines()
    assert [line.split(" = ")[0] for line in lines] == [field.name for field in fields(Recipe)]
    for line, field in zip(lines, fields(Recipe), strict=True):
        assert line.endswith(f"# {field.metadata['help']}")
    assert tomllib.loads(odd_recipe().to_toml()) == asdict(odd_recipe())


def test_replace_changes_one_entry_of_a_table():
    recipe = odd_recipe().replace(**{"model_options.dropout": 0.1, "augment.shift": 2, "epochs": 7})
    assert recipe.model_options == {"activation": "sigmoid", "batch_norm": False, "dropout": 0.1}
    assert recipe.augment == {"crop": 4, "flip": 0.5, "shift": 2}
    assert recipe.epochs == 7
    assert odd_recipe().epochs == 20


@pytest.mark.parametrize("key", ["self", "epochs.x", "a.b", "", "model_options.poling"])
def test_replace_refuses_unknown_keys(key):
    with pytest.raises(UsageError, match="unknown"):
        Recipe().replace(**{key: 1})


def test_recipe_files_that_are_none(tmp_path):
    with pytest.raises(KcnnError, match=r"There is no recipe file .*missing\.toml"):
        read_recipe(tmp_path / "missing.toml")
    for content in (b"model = lenet5", b"\xff\xfe\x00"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(KcnnError, match=r"bad\.toml is not a TOML file"):
            read_recipe(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text('modle = "lenet5"')
    with pytest.raises(UsageError, match=r"bad\.toml: unknown recipe key 'modle'"):
        read_recipe(tmp_path / "bad.toml")


# ---- which recipe --------------------------------------------------------------------------------------------------


def test_shipped_recipes_are_complete():
    assert len(SHIPPED) >= 7
    assert {"lenet5-digits", "lenet5-mnist", "convnet-mnist", "simple_cnn-cifar10"} <= set(SHIPPED)
    assert {"alexnet-cifar10", "resnet18-cifar10", "vgg16-cifar10"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_says_what_it_is(name):
    recipe = read_recipe(SHIPPED[name])
    assert name.startswith(f"{recipe.model}-{recipe.dataset}")
    assert SHIPPED[name].read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("model", MODELS)
def test_a_model_alone_finds_its_home_data_set_and_recipe(model):
    name, recipe = find_recipe(model=model)
    assert (recipe.model, recipe.dataset) == (model, MODELS[model].dataset)
    assert name in SHIPPED


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_data_set_alone_finds_a_model(dataset):
    _, recipe = find_recipe(dataset=dataset)
    assert (recipe.model, recipe.dataset) == (DATASETS[dataset].model, dataset)


def test_nothing_named_is_lenet5_on_the_digits():
    name, recipe = find_recipe()
    assert (name, recipe.model, recipe.dataset) == ("lenet5-digits", "lenet5", "digits")


def test_a_pair_without_its_own_recipe_takes_the_models():
    name, recipe = find_recipe(model="lenet5", dataset="fashion_mnist")
    assert name == "lenet5-mnist"
    assert recipe == read_recipe(SHIPPED["lenet5-mnist"]).replace(dataset="fashion_mnist")


def test_a_recipe_is_named_or_a_file(tmp_path):
    assert find_recipe("convnet-mnist")[1] == read_recipe(SHIPPED["convnet-mnist"])
    path = tmp_path / "mine.toml"
    path.write_text('model = "simple_cnn"\nepochs = 3')
    assert find_recipe(str(path))[1] == Recipe.of({"model": "simple_cnn", "epochs": 3})
    with pytest.raises(UsageError, match=r"unknown recipe 'convnet-minst'\. Did you mean 'convnet-mnist'"):
        find_recipe("convnet-minst")
    with pytest.raises(KcnnError, match="There is no recipe file"):
        find_recipe(str(tmp_path / "other.toml"))


def test_values_of_the_command_line():
    assert parse_augment("none") == {}
    assert parse_augment("crop,flip=0.3") == {"crop": 4, "flip": 0.3}
    assert parse_settings(("milestones=[3, 4]", "nesterov=true", "model_options.pooling=average", "data_dir=/a b")) == {
        "milestones": [3, 4],
        "nesterov": True,
        "model_options.pooling": "average",
        "data_dir": "/a b",
    }
    with pytest.raises(UsageError, match="--set takes key=value; received 'nesterov'"):
        parse_settings(("nesterov",))
    assert [parse_value(text) for text in ("3", "0.5", "1e-4", "", '"3"')] == [3, 0.5, 1e-4, "", "3"]


# ---- every shipped recipe trains -----------------------------------------------------------------------------------


def stand_in(name, *_):
    """A tiny set of the right shape and classes."""
    shape = (28, 28, 1) if name in ("digits", "mnist", "fashion_mnist") else (32, 32, 3)
    classes = {"cifar100": 100, "cifar100_coarse": 20}.get(name, 10)
    images = [random_images(count, *shape, seed=count) for count in (2 * classes, classes)]
    splits = [Split(part, balanced_labels(len(part), classes).astype(np.int64)) for part in images]
    return Dataset(*splits, [f"class {index}" for index in range(classes)], [0.5] * shape[2], [0.25] * shape[2])


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_trains_for_a_step(name, tmp_path, monkeypatch):
    monkeypatch.setattr("kcnn.recipes.parts.load_dataset", stand_in)
    monkeypatch.setattr("kcnn.training.callbacks.recorder.Recorder._save_last", lambda self: None)  # VGG's is 400 MB
    train = importlib.import_module("kcnn.training.trainer").train
    recipe = read_recipe(SHIPPED[name])
    short = {"epochs": 1, "warmup_epochs": 0, "stages": [], "validation": 0.5, "patience": 0, "drop_last": False}
    result = train(recipe.replace(**short), RunDir.create(tmp_path / name, name))
    assert result["epochs"] == result["best_epoch"] == 1
    assert np.isfinite(result["test"]["loss"])
    assert json.loads((tmp_path / name / "result.json").read_text()) == result
