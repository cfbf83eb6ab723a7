"""What tests of training runs share: a small recipe, runs compared to the last bit, and a kill at a chosen moment."""

import json
from importlib import import_module

import numpy as np

from kcnn.recipes.recipe import Recipe
from kcnn.run.checkpoint import load_model
from kcnn.run.history import History

SMALL = Recipe.of({"limit_train": 200, "epochs": 3, "batch_size": 32, "warmup_epochs": 1, "schedule": "cosine"})
TIMES = {"images_per_second", "seconds"}


def train(*arguments, **options):
    """`kcnn.train`, which is not imported before a test runs."""
    return import_module("kcnn.training.trainer").train(*arguments, **options)


def rows(run):
    """The log without what a clock says."""
    log = History.from_csv(run.log.read_text()).rows
    return [{key: value for key, value in row.items() if key not in TIMES} for row in log]


def result(run):
    found = json.loads(run.result.read_text())
    return {key: value for key, value in found.items() if key not in TIMES}


def weights(path):
    return load_model(path)[0].get_weights()


def same_run(first, second):
    """Equal to the last bit: log, result, best and last weights."""
    assert rows(first) == rows(second)
    assert result(first) == result(second)
    for name in ("best", "last"):
        for a, b in zip(weights(getattr(first, name)), weights(getattr(second, name)), strict=True):
            np.testing.assert_array_equal(a, b)


class Killed(BaseException):
    """Ends a run at once, as a kill would."""


def kill_in(monkeypatch, function, call):
    """Raise `Killed` in place of the given call (counted from 1) of a method or function "module:name"."""
    module, name = function.split(":")
    owner = import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    original, calls = getattr(owner, last), []

    def counted(*arguments, **options):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return original(*arguments, **options)

    monkeypatch.setattr(owner, last, counted)


# 180 training images are 6 steps; last.keras is written before the first epoch and after each.
MOMENTS = {
    "before the first step": ("kcnn.training.callbacks.rules:LearningRate.on_train_batch_begin", 1),
    "in the second epoch": ("kcnn.training.callbacks.rules:LearningRate.on_train_batch_begin", 9),
    "before the second last.keras": ("kcnn.training.callbacks.recorder:Recorder._save_last", 3),
    "before the last log.csv": ("kcnn.training.callbacks.recorder:write_text", 3),
    "before the result": ("kcnn.training.finish:write_json", 1),
}
