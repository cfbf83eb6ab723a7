"""Fewer epochs with the same shape: all that a recipe counts in epochs shrinks together."""

from kcnn.recipes.recipe import Recipe


def scale_epochs(recipe: Recipe, scale: float) -> Recipe:
    """The recipe over `scale` times its epochs, at least 1 in each stage.

    Warm-up, milestones, frozen epochs and patience shrink alike. A decay every so many epochs keeps its end: where the
    epochs between two steps cannot shrink as far, its factor makes up for it.
    """
    if scale == 1:
        return recipe
    stages = [[_whole(epochs, scale), *rest] for epochs, *rest in recipe.stages]
    epochs = int(sum(stage[0] for stage in stages)) if stages else _whole(recipe.epochs, scale)
    part = epochs / recipe.epochs  # what the rounding has left of the scale
    return recipe.replace(
        epochs=epochs,
        stages=stages,
        warmup_epochs=recipe.warmup_epochs * part,
        freeze_epochs=min(_whole(recipe.freeze_epochs, part), epochs - 1) if recipe.freeze_epochs else 0,
        patience=_whole(recipe.patience, part) if recipe.patience else 0,
        milestones=_milestones(recipe, epochs, part),
        **_decay(recipe, part),
    )


def _whole(epochs: float, scale: float) -> int:
    return max(1, round(epochs * scale))


def _milestones(recipe: Recipe, epochs: int, part: float) -> list[int]:
    """Each at least an epoch after the one before; those that no longer fit are left out, but not the first."""
    found: list[int] = []
    for milestone in recipe.milestones:
        found.append(max(_whole(milestone, part), found[-1] + 1 if found else 1))
    return [milestone for milestone in found if milestone < epochs] or found[:1]


def _decay(recipe: Recipe, part: float) -> dict[str, float]:
    """`step_epochs` and `gamma` of the shorter run, where its schedule has them."""
    if recipe.schedule == "exponential":
        return {"gamma": max(recipe.gamma ** (1 / part), 1e-6)}
    if recipe.schedule not in ("step", "plateau"):
        return {}
    wanted = recipe.step_epochs * part
    steps = _whole(wanted, 1)
    stretch = steps / wanted if recipe.schedule == "step" else 1
    return {"step_epochs": steps, "gamma": max(recipe.gamma**stretch, 1e-6)}
