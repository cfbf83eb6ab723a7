"""From a recipe's numbers to Keras objects: the one file that knows both. The rest takes plain arguments."""

import math
import sys
from typing import Any

import keras

from kcnn.callbacks import EarlyStopping, LearningRate, Randomness, Recorder, StopWhenNotFinite
from kcnn.callbacks.ema import EvaluateAverage
from kcnn.callbacks.tensorboard import TensorBoard
from kcnn.data import Dataset, Split, load_dataset
from kcnn.data.augment import check_data
from kcnn.data.batches import TrainingBatches
from kcnn.data.dataset import limit, split_validation
from kcnn.errors import UsageError
from kcnn.finetune import backbone_rates, find_source, transfer
from kcnn.history import History
from kcnn.models import build_model
from kcnn.optimizers import make_optimizer
from kcnn.recipe import Recipe
from kcnn.rundir import RunDir
from kcnn.stages import Stage, plan_schedule, plan_stages


def load_parts(recipe: Recipe) -> tuple[Dataset, Split, Split]:
    """(data set, training part, validation part) of a recipe; the test part is `dataset.test`.

    Raises:
        UsageError: no image is left to train on.
        KcnnError: the data are missing or damaged.
    """
    dataset = load_dataset(recipe.dataset, recipe.data_dir, recipe.image_size, recipe.classes)
    images = limit(dataset.train, recipe.limit_train, recipe.seed)
    train, validation = split_validation(images, recipe.validation, recipe.seed)
    if not len(train):
        raise UsageError(
            f"validation = {recipe.validation:g} leaves none of {len(images)} images to train on: choose a smaller one."
        )
    return dataset, train, validation


def check_parts(recipe: Recipe, dataset: Dataset, train: Split, validation: Split) -> None:
    """Refuse settings of a new run that these images cannot take.

    Raises:
        UsageError: augmentations, validation without images, or a part of the run without an update.
    """
    check_augment(recipe, dataset)
    if recipe.validation and not len(validation):
        raise UsageError(
            f"validation = {recipe.validation:g} keeps none of the {len(train)} images, whose classes are too small "
            f"for it: choose a larger part, more images, or --validation 0."
        )
    for frozen in (True, False):  # each begins with an optimizer of its own
        stages = [stage for stage in plan_stages(recipe) if stage.frozen == frozen]
        if stages:
            steps = sum((stage.last - stage.first) * math.ceil(len(train) / stage.batch_size) for stage in stages)
            check_accumulation(recipe, steps)


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


def new_model(recipe: Recipe, dataset: Dataset) -> Any:
    """The recipe's architecture for this data set, with new weights or those that the recipe starts from.

    Weights that were learned elsewhere come with their own normalisation.
    """
    source = find_source(recipe.pretrained, recipe.weights, recipe.model, recipe.model_options)
    model = build_model(
        recipe.model,
        dataset.train.images.shape[1:],
        len(dataset.class_names),
        mean=source.mean if source else dataset.mean,
        std=source.std if source else dataset.std,
        image_size=recipe.image_size or None,
        **recipe.model_options,
    )
    if source:
        print(transfer(model, source, dataset.class_names), file=sys.stderr)
    return model


def compile_model(model: Any, recipe: Recipe) -> None:
    """Give the model the recipe's optimizer, built, with cross-entropy on logits and accuracy."""
    optimizer = make_optimizer(
        recipe.optimizer,
        recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        decoupled_weight_decay=recipe.decoupled_weight_decay,
        clip_norm=recipe.clip_norm,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        ema=recipe.ema,
        rates=backbone_rates(model, recipe.backbone_rate) if recipe.backbone_rate != 1 else None,
    )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=[keras.metrics.CategoricalAccuracy("accuracy")])
    optimizer.build(model.trainable_variables)


def training_batches(recipe: Recipe, stage: Stage, train: Split, num_classes: int, first_epoch: int) -> TrainingBatches:
    """The batches of a stage, from `first_epoch` (counted from 0) on."""
    return TrainingBatches(
        train,
        num_classes,
        stage.batch_size,
        epochs=stage.last,
        first_epoch=first_epoch,
        seed=recipe.seed,
        augment=recipe.augment,
        label_smoothing=recipe.label_smoothing,
    )


def training_callbacks(
    recipe: Recipe, stage: Stage, batches: TrainingBatches, run: RunDir, history: History, class_names: list[str]
) -> list[Any]:
    """The callbacks of a stage, in the order in which they act."""
    schedule = plan_schedule(recipe, batches.steps_per_epoch, history.rows)
    return [
        LearningRate(stage.learning_rate, schedule),
        Randomness(recipe.seed),
        StopWhenNotFinite(),
        *([EvaluateAverage(batches)] if recipe.ema else []),
        Recorder(run, history, class_names, batches),
        *([TensorBoard(run, history)] if recipe.tensorboard else []),
        *([EarlyStopping(history, recipe.patience, recipe.freeze_epochs)] if recipe.patience else []),
    ]
