"""Fewer epochs keep the shape of a training."""

import pytest

from kcnn.methods.schedules import make_schedule
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.stages import plan_schedule, plan_stages
from kcnn.studies.scaling import scale_epochs


def scaled(scale, **values):
    return scale_epochs(Recipe.of(values), scale)


def test_nothing_changes_at_one():
    recipe = Recipe.of({"epochs": 7, "warmup_epochs": 0.5})
    assert scale_epochs(recipe, 1) is recipe


def test_what_counts_epochs_shrinks_together():
    recipe = scaled(0.1, epochs=100, warmup_epochs=5, patience=48, weights="x", freeze_epochs=20)
    assert (recipe.epochs, recipe.warmup_epochs, recipe.patience, recipe.freeze_epochs) == (10, 0.5, 5, 2)


def test_stages_add_up_and_none_is_lost():
    stages = [[20, 32, 0.05], [20, 128, 0.005], [10, 256, 0.0005]]
    tenth, least = (scaled(scale, epochs=50, stages=stages) for scale in (0.1, 0.001))
    assert (tenth.epochs, [stage[0] for stage in tenth.stages]) == (5, [2, 2, 1])
    assert (least.epochs, [stage[0] for stage in least.stages]) == (3, [1, 1, 1])
    assert [stage.learning_rate for stage in plan_stages(least)] == [0.05, 0.005, 0.0005]


def test_milestones_stay_apart_and_inside():
    assert scaled(0.1, epochs=50, schedule="multistep", milestones=[30, 40]).milestones == [3, 4]
    assert scaled(0.1, epochs=50, schedule="multistep", milestones=[10, 12]).milestones == [1, 2]
    assert scaled(0.02, epochs=50, schedule="multistep", milestones=[30, 40]).milestones == [1]


@pytest.mark.parametrize("scale", [0.05, 0.1, 0.25, 0.5, 2])
@pytest.mark.parametrize(
    "schedule", [{"schedule": "step", "step_epochs": 2, "gamma": 0.9}, {"schedule": "exponential", "gamma": 0.95}]
)
def test_a_decay_ends_where_the_whole_one_ends(scale, schedule):
    whole = Recipe.of({"epochs": 64, **schedule})
    short = scale_epochs(whole, scale)
    ends = [
        make_schedule(r.schedule, r.epochs, step_epochs=r.step_epochs, gamma=r.gamma)(r.epochs) for r in (whole, short)
    ]
    # With few epochs the last step may lie just behind the end.
    assert ends[1] == pytest.approx(ends[0], rel=1e-6) or short.epochs % short.step_epochs


def test_the_shape_of_a_cosine_is_the_same():
    whole = Recipe.of({"epochs": 100, "schedule": "cosine", "warmup_epochs": 5})
    short = scale_epochs(whole, 0.1)
    for part in (0.02, 0.3, 0.9):
        factors = [plan_schedule(recipe, 10)(part * recipe.epochs) for recipe in (whole, short)]
        assert factors[0] == pytest.approx(factors[1])


def test_one_epoch_is_the_least():
    recipe = scaled(0.001, epochs=100, warmup_epochs=5, patience=10, schedule="step", step_epochs=10, gamma=0.1)
    assert (recipe.epochs, recipe.patience) == (1, 1)
    assert recipe.warmup_epochs < 1
    assert scaled(0.001, epochs=10, weights="x", freeze_epochs=2).freeze_epochs == 0
