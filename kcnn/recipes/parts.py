"""The images of a run, in their three parts, and what they must be fit for."""

from dataclasses import dataclass

import numpy as np

from kcnn.data.augment.operations import check_data
from kcnn.data.dataset import Dataset, Split, count_steps, limit, split_validation
from kcnn.data.registry import load_dataset
from kcnn.errors import UsageError
from kcnn.machine.terminal import say
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.stages import Stage, plan_stages


@dataclass(frozen=True)
class Parts:
    """The data set of a run, and its training images in the part that is learned and the part that picks the epoch."""

    dataset: Dataset
    train: Split
    validation: Split

    @property
    def class_names(self) -> list[str]:
        """In the order of the labels and logits."""
        return self.dataset.class_names


def recipe_dataset(recipe: Recipe) -> Dataset:
    """The data set of a recipe.

    Raises:
        KcnnError: the data are missing or damaged.
    """
    return load_dataset(recipe.dataset, recipe.data_dir, recipe.image_size, recipe.classes, recipe.skip_bad)


def load_parts(recipe: Recipe) -> Parts:
    """The images of a recipe.

    Raises:
        UsageError: no image is left to train on.
        KcnnError: the data are missing or damaged.
    """
    dataset = recipe_dataset(recipe)
    images = limit(dataset.train, recipe.limit_train, recipe.seed)
    if dataset.validation is None:
        train, validation = split_validation(images, recipe.validation, recipe.seed)
    else:
        train, validation = images, _own_validation(dataset.validation, recipe.validation)
    if not len(train):
        raise UsageError(
            f"validation = {recipe.validation:g} leaves none of {len(images)} images to train on: choose a smaller one."
        )
    return Parts(dataset, train, validation)


def _own_validation(split: Split, fraction: float) -> Split:
    """A data set's own validation part, or nothing of it for fraction 0; says which."""
    if fraction:
        say(f"validation: the data set's own part of {len(split):,} images; none is drawn from the training images")
        return split
    say(f"validation = 0: the data set's own part of {len(split):,} images is not used")
    return split.take(np.arange(0))


def check_parts(recipe: Recipe, parts: Parts) -> None:
    """Refuse settings of a new run that these images cannot take.

    Raises:
        UsageError: augmentations, validation without images, or a part of the run without an update.
    """
    check_augment(recipe, parts.dataset)
    train = parts.train
    if recipe.validation and not len(parts.validation):
        raise UsageError(
            f"validation = {recipe.validation:g} keeps none of the {len(train)} images, whose classes are too small "
            f"for it: choose a larger part, more images, or --validation 0."
        )
    for frozen in (True, False):  # each begins with an optimizer of its own
        stages = [stage for stage in plan_stages(recipe) if stage.frozen == frozen]
        if stages:
            check_accumulation(recipe, sum(_steps(recipe, stage, len(train)) for stage in stages))


def _steps(recipe: Recipe, stage: Stage, images: int) -> int:
    """All steps of a stage; a UsageError if it has none."""
    steps = count_steps(images, stage.batch_size, recipe.drop_last)
    if not steps:
        raise UsageError(
            f"drop_last leaves no batch of {stage.batch_size} from {images} images: "
            f"choose a smaller batch_size, more images, or drop_last = false."
        )
    return (stage.last - stage.first) * steps


def check_augment(recipe: Recipe, dataset: Dataset) -> None:
    """Raise a UsageError that names every augmentation that these images, or the batches of any stage, cannot take."""
    smallest = min(stage.batch_size for stage in plan_stages(recipe))
    check_data(recipe.augment, dataset.train.images.shape[1:], len(dataset.class_names), smallest)


def check_accumulation(recipe: Recipe, steps: int) -> None:
    """Raise a UsageError if so many steps end before the first update."""
    if recipe.gradient_accumulation_steps > steps:
        raise UsageError(
            f"gradient_accumulation_steps must be at most the {steps} steps that are trained, or nothing is learned; "
            f"received {recipe.gradient_accumulation_steps}."
        )
