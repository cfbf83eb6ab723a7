"""The main job: a recipe goes in, a run directory comes out. Read from top to bottom, in the order the data flow."""

from typing import Any

import keras

from kcnn import plots
from kcnn.accelerate import accelerate
from kcnn.backend import device_name
from kcnn.callbacks import EarlyStopping, LearningRate, Randomness, Recorder, StopWhenNotFinite
from kcnn.checkpoint import load_model, restore_optimizer
from kcnn.data import Dataset, Split
from kcnn.data.batches import EvaluationBatches, TrainingBatches
from kcnn.evaluate import full_report, parts, predict_logits, score
from kcnn.history import History
from kcnn.models import build_model
from kcnn.optimizers import make_optimizer
from kcnn.progress import ShowProgress
from kcnn.recipe import Recipe
from kcnn.rundir import RunDir, manifest, write_json, write_text
from kcnn.schedules import make_schedule
from kcnn.stages import plan_stages


def train(recipe: Recipe, run: RunDir, resume: bool = False) -> dict[str, Any]:
    """Train, pick the best epoch on validation, score it once on test, and return what is in `result.json`.

    Keras' backend, device and precision are those of the process: see `kcnn.backend.select`.

    Args:
        run: an empty directory, or with `resume` one that holds a `last.keras`.

    Raises:
        KcnnError: the data are missing or damaged, or the loss is no longer finite.
    """
    keras.utils.set_random_seed(recipe.seed)
    dataset, train_part, validation_part = parts(recipe)
    if resume:
        model, info = load_model(run.last)
        history = History(info["history"])
    else:
        model, history = _new_model(recipe, dataset), History()
        write_text(run.recipe, recipe.to_toml())
        write_json(run.manifest, manifest(recipe.seed, device_name()))
    _compile(model, recipe)
    if resume:
        restore_optimizer(model.optimizer, run.last)
    accelerate(model)
    _fit(model, recipe, run, history, train_part, validation_part, dataset.class_names)
    return _score(recipe, run, history, dataset, validation_part)


def _new_model(recipe: Recipe, dataset: Dataset) -> Any:
    return build_model(
        recipe.model,
        dataset.train.images.shape[1:],
        len(dataset.class_names),
        mean=dataset.mean,
        std=dataset.std,
        image_size=recipe.image_size or None,
        **recipe.model_options,
    )


def _compile(model: Any, recipe: Recipe) -> None:
    optimizer = make_optimizer(
        recipe.optimizer,
        recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        decoupled_weight_decay=recipe.decoupled_weight_decay,
        clip_norm=recipe.clip_norm,
    )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=[keras.metrics.CategoricalAccuracy("accuracy")])
    optimizer.build(model.trainable_variables)


def _stopped(recipe: Recipe, history: History) -> bool:
    """Whether early stopping ended the run."""
    return bool(recipe.patience) and history.epochs - history.best_epoch >= recipe.patience


def _fit(
    model: Any, recipe: Recipe, run: RunDir, history: History, train: Split, validation: Split, class_names: list[str]
) -> None:
    """Train the stages that are not finished yet."""
    schedule = make_schedule(
        recipe.schedule,
        recipe.epochs,
        recipe.warmup_epochs,
        step_epochs=recipe.step_epochs,
        milestones=recipe.milestones,
        gamma=recipe.gamma,
    )
    classes = len(class_names)
    held_out = EvaluationBatches(validation, classes, 256) if len(validation) else None
    for stage in plan_stages(recipe):
        if history.epochs >= stage.last or _stopped(recipe, history):
            continue
        batches = TrainingBatches(
            train,
            classes,
            stage.batch_size,
            epochs=stage.last,
            first_epoch=history.epochs,
            seed=recipe.seed,
            augment=recipe.augment,
            label_smoothing=recipe.label_smoothing,
        )
        progress = ShowProgress(history, recipe.epochs)
        callbacks = [
            LearningRate(stage.learning_rate, schedule),
            Randomness(recipe.seed),
            StopWhenNotFinite(),
            Recorder(run, history, class_names, len(train)),
            *([EarlyStopping(history, recipe.patience)] if recipe.patience else []),
            progress,
        ]
        try:
            model.fit(
                batches,
                epochs=stage.last,
                initial_epoch=history.epochs,
                steps_per_epoch=batches.steps_per_epoch,
                validation_data=held_out,
                callbacks=callbacks,
                shuffle=False,
                verbose=0,
            )
        finally:
            progress.close()


def _score(recipe: Recipe, run: RunDir, history: History, dataset: Dataset, validation: Split) -> dict[str, Any]:
    """Score `best.keras`, on validation and once on test, and write the result and the pictures."""
    model, _ = load_model(run.best)
    accelerate(model)
    report = full_report(predict_logits(model, dataset.test.images), dataset.test.labels, dataset.class_names)
    held_out = score(predict_logits(model, validation.images), validation.labels) if len(validation) else None
    result = {
        "test": report["test"],
        "validation": held_out,
        "best_epoch": history.best_epoch,
        "epochs": history.epochs,
        "seconds": round(history.seconds, 2),
        "images_per_second": history.images_per_second,
        "parameters": model.count_params(),
        "backend": keras.backend.backend(),
        "device": device_name(),
    }
    write_json(run.result, result)
    plots.curves({run.path.name: history}, run.curves)
    plots.confusion(report["confusion"], dataset.class_names, run.confusion)
    return result
