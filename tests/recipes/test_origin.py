"""What a run was begun with: every key of the recipe and every part of the images is compared."""

import json

import numpy as np
import pytest

from kcnn.data.dataset import Dataset, Split
from kcnn.errors import KcnnError, UsageError
from kcnn.methods.schedules import OPEN_ENDED, SCHEDULES, make_schedule
from kcnn.recipes.origin import MAY_CHANGE, check_images, check_recipe, fingerprint, make_origin
from kcnn.recipes.parts import Parts
from kcnn.recipes.recipe import FIELDS, Recipe

# A recipe, and another value for each of its keys that goes with the rest of it.
BASE = Recipe.of(
    {
        **{"epochs": 8, "augment": {"crop": 2, "flip": 0.5}, "schedule": "multistep", "milestones": [5]},
        **{"weights": "/runs/a", "freeze_epochs": 1},
    }
)
OTHER = {
    **{"model": "convnet", "model_options": {"pooling": "average"}, "dataset": "mnist", "data_dir": "/elsewhere"},
    **{"classes": ["1", "7"], "pretrained": "", "weights": "/runs/b", "freeze_epochs": 2, "unfreeze_rate": 0.5},
    **{"backbone_rate": 0.5, "image_size": 32, "limit_train": 100, "validation": 0.2, "epochs": 9, "batch_size": 32},
    **{"stages": [[8, 32]], "optimizer": "adam", "learning_rate": 0.01, "momentum": 0.8, "nesterov": True},
    **{"weight_decay": 1e-4, "decoupled_weight_decay": 1e-4, "clip_norm": 1.0, "gradient_accumulation_steps": 2},
    **{"ema": 0.9, "schedule": "step", "step_epochs": 3, "milestones": [5, 7], "gamma": 0.5, "warmup_epochs": 1},
    **{"augment": {"flip": 0.5, "crop": 2}, "label_smoothing": 0.1, "patience": 3, "seed": 1, "tensorboard": True},
    **{"precision": "mixed_bfloat16", "backend": "jax", "device": "cpu", "skip_bad": True},
    **{"momentum_of": "gradients", "rate_factors": {"shift": 2.0}, "decay_factors": {"bias": 0.0}, "drop_last": True},
    **{"lookahead": 5, "lookahead_decay": 0.8, "lookahead_power": 3.0},
    **{"start_factor": 0.1, "peak_time": 0.3, "end_factor": 0.0},
}


def images(train=20, validation=5, test=6, seed=0):
    rng = np.random.default_rng(seed)
    splits = [Split(rng.integers(0, 256, (n, 4, 4, 1), np.uint8), np.arange(n) % 2) for n in (train, validation, test)]
    return Parts(Dataset(splits[0], splits[2], ["a", "b"], [0.5], [0.2]), splits[0], splits[1])


def begun(recipe=BASE, parts=None):
    """As it comes back from the file."""
    return json.loads(json.dumps(make_origin(recipe, parts or images())))


def test_every_key_has_another_value_here():
    assert set(OTHER) == set(FIELDS)
    assert set(MAY_CHANGE) < set(FIELDS)


def test_nothing_has_changed(tmp_path):
    assert check_recipe(begun(), BASE, tmp_path) == ""
    staged = BASE.replace(stages=[[3, 32], [5, 64, 0.01]])
    assert check_recipe(begun(staged), staged, tmp_path) == ""


@pytest.mark.parametrize("key", [key for key in OTHER if key not in MAY_CHANGE and OTHER[key] != getattr(BASE, key)])
def test_a_key_that_makes_it_another_run(key, tmp_path):
    with pytest.raises(KcnnError, match="no longer says") as caught:
        check_recipe(begun(), BASE.replace(**{key: OTHER[key]}), tmp_path)
    assert f"{key} was {getattr(BASE, key)!r} and is {OTHER[key]!r}" in str(caught.value)
    assert f"--recipe {tmp_path / 'recipe.toml'}" in str(caught.value)


def test_the_order_of_augmentations_counts(tmp_path):
    with pytest.raises(KcnnError, match="augment was"):
        check_recipe(begun(), BASE.replace(augment={"flip": 0.5, "crop": 2}), tmp_path)


@pytest.mark.parametrize("key", MAY_CHANGE)
def test_a_key_that_may_change(key, tmp_path):
    words = check_recipe(begun(), BASE.replace(**{key: OTHER[key]}), tmp_path)
    assert words == f"{key} was {getattr(BASE, key)!r} and is {OTHER[key]!r}"


def test_all_differences_are_told_at_once(tmp_path):
    with pytest.raises(KcnnError, match=r"model was .* seed was 0 and is 1\."):
        check_recipe(begun(), BASE.replace(model="convnet", seed=1, device="cpu"), tmp_path)


def test_a_key_that_an_older_kcnn_did_not_have_counts_as_its_default(tmp_path):
    old = begun()
    del old["recipe"]["gamma"]
    assert check_recipe(old, BASE, tmp_path) == ""
    with pytest.raises(KcnnError, match=r"gamma was 0\.1 and is 0\.5"):
        check_recipe(old, BASE.replace(gamma=0.5), tmp_path)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_that_can_be_prolonged_do_not_look_at_the_end(name, tmp_path):
    rows = [{"loss": 1.0}] * 8
    numbers = {"step_epochs": 2, "milestones": [3, 6], "gamma": 0.5, "steps_per_epoch": 10, "rows": rows}
    numbers |= {"start_factor": 0.2, "peak_time": 0.23, "end_factor": 0.07}
    short, long = (make_schedule(name, epochs, warmup_epochs=1, **numbers) for epochs in (8, 12))
    times = np.arange(0, 8, 0.25)
    same = all(short(time) == long(time) for time in times)
    assert same == (name in OPEN_ENDED)
    recipe = BASE.replace(schedule=name)
    if same:
        assert "epochs was 8 and is 12" in check_recipe(begun(recipe), recipe.replace(epochs=12), tmp_path)
    else:
        with pytest.raises(UsageError, match=f"schedule {name} .*--weights {tmp_path}"):
            check_recipe(begun(recipe), recipe.replace(epochs=12), tmp_path)


def test_a_slow_average_that_looks_at_the_end_keeps_the_epochs(tmp_path):
    recipe = BASE.replace(lookahead=5)
    assert "epochs was 8 and is 12" in check_recipe(begun(recipe), recipe.replace(epochs=12), tmp_path)
    rising = recipe.replace(lookahead_power=3)
    with pytest.raises(UsageError, match="lookahead's share of the slow average rises to the last epoch"):
        check_recipe(begun(rising), rising.replace(epochs=12), tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": 22}, "training had 20 images and has 22"),
        ({"validation": 0}, "validation had 5 images and has 0"),
        ({"test": 5}, "test had 6 images and has 5"),
        ({"seed": 1}, "training has 20 images as before, but some of them are others; validation has 5"),
    ],
)
def test_other_images(change, words, tmp_path):
    with pytest.raises(KcnnError, match="are not those with which") as caught:
        check_images(begun(), fingerprint(images(**change)), tmp_path)
    assert words in str(caught.value)


def test_one_pixel_one_label_and_the_order_count(tmp_path):
    check_images(begun(), fingerprint(images()), tmp_path)
    pixel, label, swapped = images(), images(), images()
    pixel.train.images[7, 1, 1, 0] ^= 1
    label.train.labels[7] ^= 1
    swapped.train.images[[0, 2]] = swapped.train.images[[2, 0]]
    for parts in (pixel, label, swapped):
        with pytest.raises(KcnnError, match="training has 20 images as before"):
            check_images(begun(), fingerprint(parts), tmp_path)
