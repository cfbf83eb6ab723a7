"""Every row of every shipped study: its recipe is read, its network built and trained for two steps."""

import json
import shlex
from dataclasses import replace
from functools import cache

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from helpers import balanced_labels, random_images
from kcnn.cli import main
from kcnn.data.dataset import Dataset, Split
from kcnn.errors import KcnnError
from kcnn.models.registry import build_model
from kcnn.native.acceleration import accelerate
from kcnn.recipes.parts import Parts
from kcnn.recipes.recipe import FIELDS, Recipe
from kcnn.recipes.stages import plan_stages
from kcnn.studies.check import ROW_KEYS
from kcnn.studies.command import train_command
from kcnn.studies.study import OWN, REPORTED, read_study, shipped_studies
from kcnn.training.construct import compile_model, new_model, training_batches

STUDIES = {name: read_study(path) for name, path in shipped_studies().items()}
# Study → rows with the reported settings, with kcnn's own recipe, and rows that test another row's networks once more.
COUNTS = {
    "airbench": (7, 0, 1),
    "mnist": (8, 0, 2),
    "report1": (7, 6, 2),
    "report2": (8, 6, 0),
    "report3": (9, 1, 0),
    "report4": (19, 9, 0),
    "report5": (8, 5, 0),
}
TRAINED = [
    pytest.param(row, settings, id=f"{study.name}-{row.name}-{settings}")
    for study in STUDIES.values()
    for row in study.rows.values()
    for settings in row.recipes
]
CLASSES = {"cifar100": 100, "cifar100_coarse": 20}


def test_all_rows_are_there():
    found = {
        name: (
            sum(REPORTED in row.recipes for row in study.rows.values()),
            sum(OWN in row.recipes for row in study.rows.values()),
            sum(bool(row.test_of) for row in study.rows.values()),
        )
        for name, study in STUDIES.items()
    }
    assert found == COUNTS


def test_what_the_reports_say_is_in_the_tables():
    """The numbers of the reports' tables, in their order."""
    expected = {
        "report1": [0.6415, 0.6619, 0.6762, 0.8392, 0.9126, 0.9012, 0.9012],
        "report2": [0.7556, 0.8030, 0.8295, 0.8601, 0.8863, 0.8949],
        "report3": [0.989],
        "report4": [
            *(0.669375, 0.788673, 0.675752, 0.806685, 0.668562, 0.847254, 0.683861, 0.869836),
            *(0.869836, 0.820467, 0.820467),
        ],
        "report5": [0.70, 0.67, 0.75, 0.57],
    }
    for name, numbers in expected.items():
        values = [row.reported for row in STUDIES[name].rows.values()]
        assert [value for value in values if isinstance(value, float)] == numbers


def test_no_key_of_a_row_is_a_recipes():
    assert not {"name", "reported", "source", "note"} & set(FIELDS)
    assert set(ROW_KEYS) & set(FIELDS) == set()


def test_row_names_can_be_listed_with_commas():
    assert not [name for study in STUDIES.values() for name in study.rows if "," in name]


def dataset(recipe):
    """A dozen images of the shape and number of classes of the recipe's data set."""
    shape, classes = ((28, 28, 1) if recipe.dataset == "mnist" else (32, 32, 3)), CLASSES.get(recipe.dataset, 10)
    split = Split(random_images(12, *shape), balanced_labels(12, classes).astype(np.int64))
    return Dataset(split, split, [str(index) for index in range(classes)], [0.5] * shape[2], [0.25] * shape[2])


@cache
def network(key):
    """(model, its first weights) of the recipes that share a network: drawing eleven million weights takes a second."""
    recipe = Recipe.of(json.loads(key))
    model = new_model(recipe, dataset(recipe))
    return model, model.get_weights()


@cache
def parameters(key):
    """How many the network has at its whole size, for which shapes without memory are enough."""
    recipe = Recipe.of(json.loads(key))
    shape, classes = dataset(recipe).train.images.shape[1:], len(dataset(recipe).class_names)
    with keras.device("meta"):
        model = build_model(recipe.model, shape, classes, image_size=recipe.image_size or None, **recipe.model_options)
    assert model.output_shape == (None, classes)
    return model.count_params()


def network_key(recipe):
    return json.dumps({key: getattr(recipe, key) for key in ("model", "model_options", "dataset", "image_size")})


@pytest.mark.parametrize(("row", "settings"), TRAINED)
def test_the_row_is_built_and_trained_for_two_steps(row, settings):
    recipe = row.recipes[settings]
    small = replace(recipe, weights="", pretrained="", image_size=min(recipe.image_size, 48), batch_size=2, stages=[])
    model, weights = network(network_key(small))
    assert model.count_params() == parameters(network_key(recipe))
    model.set_weights(weights)
    compile_model(model, small)
    assert accelerate(model)
    data = dataset(recipe)
    batches = training_batches(small, plan_stages(small)[0], Parts(data, data.train, data.train), 0)
    losses = [float(model.train_on_batch(*batches[step], return_dict=True)["loss"]) for step in range(2)]
    assert np.isfinite(losses).all()


@pytest.mark.parametrize(("row", "settings"), TRAINED)
def test_the_command_to_copy_is_the_row(row, settings, monkeypatch, tmp_path):
    seen = []

    def stop(plan, *_):
        seen.append(plan)
        raise KcnnError("stop")

    monkeypatch.setattr("kcnn.cli.train._train", stop)
    recipe = replace(row.recipes[settings], weights="")
    words = shlex.split(train_command(recipe))
    assert words[:2] == ["kcnn", "train"]
    CliRunner().invoke(main, [*words[1:], "--run", str(tmp_path / "run")])
    assert seen == [recipe]
