"""Every purpose draws from streams of its own, which depend on the seed alone, and other people's go on as before."""

import itertools
import random
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import torch
from keras import layers

import kcnn
from kcnn.data.dataset import Split, limit, split_validation
from kcnn.machine.keras_internals import all_layers
from kcnn.machine.randomness import PURPOSES, generator, number, seed_dropout, seeded
from kcnn.models.registry import build_model
from kcnn.recipes.recipe import Recipe
from kcnn.run.directory import RunDir
from kcnn.training.construct import new_model
from kcnn.training.trainer import train


def test_no_two_streams_are_the_same():
    numbers = [(), *itertools.product(range(3)), *itertools.product(range(3), repeat=2), (0, 0, 0), (2**32 - 1,)]
    keys = list(itertools.product(PURPOSES, (0, 1, 2, 2**31, 2**32, 2**40), numbers))
    starts = {generator(seed, purpose, *rest).bytes(16) for purpose, seed, rest in keys}
    plain = {np.random.default_rng(seed).bytes(16) for seed in (0, 1, 2, (0, 1), (1, 0, 1))}
    assert len(starts | plain) == len(keys) + len(plain)


def test_the_purposes_have_different_numbers():
    assert len(set(PURPOSES.values())) == len(PURPOSES)


@pytest.mark.parametrize("numbers", [(-1,), (2**32,), (0, -3)])
def test_a_number_that_two_streams_could_share_is_refused(numbers):
    with pytest.raises(ValueError, match="from 0 to 4294967295"):
        generator(0, "shuffle", *numbers)
    with pytest.raises(ValueError, match="non-negative"):
        generator(-1, "shuffle")


def test_a_seed_for_others_fits_into_31_bits():
    drawn = [number(seed, "weights") for seed in range(200)]
    assert len(set(drawn)) == 200
    assert 0 <= min(drawn) <= max(drawn) < 2**31


def test_nothing_else_in_kcnn_makes_a_stream():
    root = Path(kcnn.__file__).parent
    sources = {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*.py")}
    found = {name for name, text in sources.items() if re.search(r"default_rng|set_random_seed|np\.random\.seed", text)}
    # The fixed test part of a data set has a plain number.
    assert found <= {"machine/randomness.py", "machine/keras_internals.py", "data/dataset.py"}


def test_limit_and_validation_draw_from_different_streams():
    split = Split(np.arange(200, dtype=np.uint8).reshape(-1, 1, 1, 1), np.zeros(200, np.int64))
    limited, (_, validation) = limit(split, 50, seed=3), split_validation(split, 0.25, seed=3)
    assert set(limited.images.flat) != set(validation.images.flat)


# ---- what is not kcnn's ----------------------------------------------------------------------------------------------


def draws():
    """What a user's own program would draw next."""
    return (
        random.random(),
        float(np.random.random()),
        float(torch.rand(())),
        np.asarray(keras.random.uniform((2,))).tolist(),
    )


def test_a_run_leaves_all_global_streams_as_they_were(tmp_path):
    keras.utils.set_random_seed(5)
    expected = draws()
    keras.utils.set_random_seed(5)
    recipe = Recipe.of({"model": "alexnet", "limit_train": 20, "validation": 0, "epochs": 1, "batch_size": 10})
    train(recipe, RunDir.create(tmp_path / "run", "x"))
    assert draws() == expected


def test_weights_depend_on_the_seed_and_not_on_what_was_drawn_before():
    from kcnn.recipes.parts import load_parts

    recipe = Recipe.of({"limit_train": 20})
    dataset = load_parts(recipe).dataset
    first = new_model(recipe, dataset).get_weights()
    random.seed(9)
    again, other = (new_model(recipe.replace(seed=seed), dataset).get_weights() for seed in (0, 1))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_the_streams_go_on_after_an_error():
    keras.utils.set_random_seed(5)
    expected = draws()
    keras.utils.set_random_seed(5)
    with pytest.raises(ZeroDivisionError), seeded(0, "weights"):
        random.random(), 1 / 0
    assert draws() == expected


# ---- dropout ---------------------------------------------------------------------------------------------------------


def masks(model, seed, epoch):
    """What the model's dropout layers do to ones in the first step, in Keras' own path."""
    seed_dropout(model, seed, epoch)
    kept = [layer for layer in all_layers(model) if isinstance(layer, layers.Dropout)]
    return [np.asarray(layer(np.ones((4, 500), np.float32), training=True)) for layer in kept]


def test_dropout_depends_on_seed_and_epoch_and_layers_differ():
    model = build_model("vgg11", (32, 32, 3))
    first = masks(model, 0, 0)
    assert len(first) == 2
    assert (first[0] != first[1]).any()
    for again, mask in zip(masks(model, 0, 0), first, strict=True):
        np.testing.assert_array_equal(again, mask)
    others = [mask for seed, epoch in ((0, 1), (1, 0), (2, 0)) for mask in masks(model, seed, epoch)]
    assert len({mask.tobytes() for mask in [*first, *others]}) == 8


def test_native_dropout_depends_on_seed_and_epoch():
    model = keras.Sequential([keras.Input((4,)), layers.Dropout(0.5), layers.Dense(3)])
    found = []
    for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0)):
        seed_dropout(model, seed, epoch)
        found.append(torch.nn.functional.dropout(torch.ones(100)).tolist())
    assert found[0] == found[1]
    assert found[0] != found[2] != found[3] != found[0]
