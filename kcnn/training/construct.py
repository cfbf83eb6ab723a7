"""From a recipe, the weights that it starts from and its images to Keras objects: model, batches, callbacks."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kcnn.data.batches import TrainingBatches
from kcnn.data.dataset import Dataset
from kcnn.machine.randomness import seeded
from kcnn.methods.optimizers import factors_by_kind, make_optimizer
from kcnn.models.registry import build_model
from kcnn.native.acceleration import accelerate
from kcnn.recipes.parts import Parts
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.stages import Stage, plan_schedule
from kcnn.starts.transfer import backbone_rates, find_source, freeze_backbone, transfer_weights
from kcnn.starts.whitening import fit_whitening
from kcnn.training.callbacks.ema import EvaluateAverage
from kcnn.training.callbacks.lookahead import Lookahead
from kcnn.training.callbacks.recorder import EarlyStopping, Recorder
from kcnn.training.callbacks.rules import LearningRate, Randomness, StopWhenNotFinite
from kcnn.training.callbacks.tensorboard import TensorBoard
from kcnn.training.job import Job


def new_model(recipe: Recipe, dataset: Dataset) -> Any:
    """The recipe's architecture for this data set, with new weights or those that the recipe starts from.

    Weights that were learned elsewhere come with their own normalisation.
    """
    source = find_source(recipe.pretrained, recipe.weights, recipe.model, recipe.model_options)
    with seeded(recipe.seed, "weights"):
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
        print(transfer_weights(model, source, dataset.class_names), file=sys.stderr)
    else:
        fit_whitening(model, dataset.train.images, recipe.seed)
    return model


def prepare(model: Any, recipe: Recipe, frozen: bool) -> bool:
    """Compile for the epochs with a frozen backbone, or for those after: what trains is fixed by compiling.

    Returns:
        Whether the model runs natively, see `kcnn.accelerate`.
    """
    freeze_backbone(model, frozen)
    compile_model(model, recipe)
    return accelerate(model)


def compile_model(model: Any, recipe: Recipe) -> None:
    """Give the model the recipe's optimizer, built, with cross-entropy on logits and accuracy, both in float32.

    Under mixed_float16 Keras wraps the optimizer in one that scales the loss.
    """
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
        momentum_of=recipe.momentum_of,
        rates=_rates(model, recipe),
        decay_factors=factors_by_kind(model.trainable_variables, recipe.decay_factors) if recipe.decay_factors else (),
    )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, dtype="float32")
    model.compile(optimizer, loss, metrics=[keras.metrics.CategoricalAccuracy("accuracy", dtype="float32")])
    model.optimizer.build(model.trainable_variables)


def lookahead(recipe: Recipe) -> Lookahead:
    """The callback of the recipe's slow average."""
    decay, power, epochs = recipe.lookahead_decay, recipe.lookahead_power, recipe.epochs
    return Lookahead(recipe.lookahead, lambda time: decay * (time / epochs) ** power)


def _rates(model: Any, recipe: Recipe) -> list[float]:
    """The factor on the learning rate of each trainable variable, or nothing where all have 1."""
    pairs = zip(
        backbone_rates(model, recipe.backbone_rate),
        factors_by_kind(model.trainable_variables, recipe.rate_factors),
        strict=True,
    )
    rates = [backbone * kind for backbone, kind in pairs]
    return rates if set(rates) != {1.0} else []


def training_batches(recipe: Recipe, stage: Stage, parts: Parts, first_epoch: int) -> TrainingBatches:
    """The batches of a stage, from `first_epoch` (counted from 0) on."""
    return TrainingBatches(
        parts.train,
        len(parts.class_names),
        stage.batch_size,
        epochs=stage.last,
        first_epoch=first_epoch,
        seed=recipe.seed,
        augment=recipe.augment,
        label_smoothing=recipe.label_smoothing,
        drop_last=recipe.drop_last,
    )


def step_callbacks(
    recipe: Recipe, stage: Stage, batches: TrainingBatches, rows: Sequence[Mapping[str, Any]] = ()
) -> list[Any]:
    """The callbacks that decide what a step does, whether or not anything is kept; for `rows` see `plan_schedule`."""
    return [
        LearningRate(stage.learning_rate, plan_schedule(recipe, batches.steps_per_epoch, rows)),
        Randomness(recipe.seed),
        StopWhenNotFinite(),
        *([lookahead(recipe)] if recipe.lookahead else []),
    ]


def training_callbacks(job: Job, stage: Stage, batches: TrainingBatches) -> list[Any]:
    """The callbacks of a stage, in the order in which they act."""
    recipe, history = job.recipe, job.history
    return [
        *step_callbacks(recipe, stage, batches, history.rows),
        *([EvaluateAverage(batches)] if recipe.ema else []),
        Recorder(job, batches),
        *([TensorBoard(job.run, history)] if recipe.tensorboard else []),
        *([EarlyStopping(history, recipe.patience, recipe.freeze_epochs)] if recipe.patience else []),
    ]
