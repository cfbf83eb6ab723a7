"""A frozen backbone and a lower rate: what stands still, what the stages are, what resumes."""

from importlib import import_module

import keras
import numpy as np
import pytest
from variables import changed, values

from helpers import random_images
from kcnn.models.registry import build_model
from kcnn.native.acceleration import accelerate
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.stages import plan_stages
from kcnn.run.checkpoint import load_model
from kcnn.run.directory import RunDir
from kcnn.starts import transfer as finetune
from kcnn.training.construct import compile_model

train = import_module("kcnn.training.trainer").train
pytestmark = pytest.mark.usefixtures("no_pictures")


def tiny_resnet(classes=3):
    return build_model("resnet20", (8, 8, 1), classes)


@pytest.mark.parametrize("native", [True, False])
def test_a_frozen_backbone_stands_still_with_its_batch_statistics(native):
    keras.utils.set_random_seed(0)
    model, images, targets = tiny_resnet(), random_images(12, 8, 8, 1), np.eye(3, dtype=np.float32)[np.arange(12) % 3]
    seen = []
    for frozen in (True, False):
        before = values(model)
        finetune.freeze_backbone(model, frozen)
        compile_model(model, Recipe.of({"model": "resnet20"}))
        if native:
            assert accelerate(model)
        model.fit(images, targets, batch_size=6, epochs=1, verbose=0)
        seen.append(changed(before, values(model)))
    assert seen[0] == {"fc"}
    assert seen[1] == {layer.name for layer in model.layers if layer.weights}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, [(0, 6, 0.4, False)]),
        ({"freeze_epochs": 2}, [(0, 2, 0.4, True), (2, 6, 0.04, False)]),
        ({"freeze_epochs": 2, "unfreeze_rate": 1.0}, [(0, 2, 0.4, True), (2, 6, 0.4, False)]),
        ({"freeze_epochs": 6}, [(0, 6, 0.4, True)]),
        ({"stages": [[2, 8], [4, 16]], "freeze_epochs": 2}, [(0, 2, 0.4, True), (2, 6, 0.04, False)]),
        (
            {"stages": [[4, 8], [2, 16, 0.2]], "freeze_epochs": 3},
            [(0, 3, 0.4, True), (3, 4, 0.04, False), (4, 6, 0.02, False)],
        ),
    ],
)
def test_stages_of_a_run_with_frozen_epochs(keys, expected):
    start = {"weights": "somewhere"} if "freeze_epochs" in keys else {}
    stages = plan_stages(Recipe.of({"epochs": 6, "learning_rate": 0.4, **start, **keys}))
    assert [(s.first, s.last, pytest.approx(s.learning_rate), s.frozen) for s in stages] == expected


@pytest.mark.parametrize(
    "keys",
    [{"optimizer": "sgd"}, {"optimizer": "sgd", "weight_decay": 0.1, "nesterov": True}, {"optimizer": "adam"}],
)
def test_the_backbone_can_have_a_lower_rate(keys):
    """After one step, each of its variables has moved a quarter as far; the head as far as ever."""
    steps = []
    for rate in (1.0, 0.25):
        keras.utils.set_random_seed(0)
        model = build_model("lenet5", (28, 28, 1), 3)
        compile_model(model, Recipe.of({"backbone_rate": rate, "learning_rate": 0.01, **keys}))
        accelerate(model)
        before = values(model)
        model.fit(random_images(4, 28, 28, 1), np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], verbose=0)
        steps.append({path: value - before[path] for path, value in values(model).items()})
    for path in steps[0]:
        factor = 1.0 if path.startswith("logits") else 0.25
        np.testing.assert_allclose(steps[1][path], factor * steps[0][path], rtol=2e-3, atol=2e-6)


class Killed(Exception):
    pass


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_run_killed_around_the_thaw_resumes_to_the_last_bit(trained, tmp_path, monkeypatch, epoch):
    recipe = Recipe.of(
        {
            **{"limit_train": 120, "epochs": 4, "batch_size": 32, "learning_rate": 0.01, "schedule": "cosine"},
            **{"weights": str(trained[0]), "freeze_epochs": 2, "weight_decay": 1e-3},
        }
    )
    whole, broken = RunDir.create(tmp_path / "whole", ""), RunDir.create(tmp_path / "broken", "")
    train(recipe, whole)
    recorder = import_module("kcnn.training.callbacks.recorder").Recorder
    finish = recorder.on_epoch_end

    def finish_and_die(self, number, logs=None):
        finish(self, number, logs)
        if number + 1 == epoch:
            raise Killed

    monkeypatch.setattr(recorder, "on_epoch_end", finish_and_die)
    with pytest.raises(Killed):
        train(recipe, broken)
    monkeypatch.undo()
    train(recipe, broken, resume=True)
    for a, b in zip(load_model(whole.last)[0].get_weights(), load_model(broken.last)[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_frozen_epochs_do_not_use_up_the_patience():
    from kcnn.run.history import History

    rows = [{"epoch": e, "val_accuracy": 0.5, "val_loss": 1.0} for e in (1, 2, 3, 4)]
    assert History(rows).exhausted(2)
    assert not History(rows).exhausted(2, since=3)
    assert History(rows).exhausted(1, since=3)
