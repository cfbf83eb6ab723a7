"""The main job: a recipe goes in, a run directory comes out. Read from top to bottom, in the order the data flow."""

from typing import Any

import keras

from kcnn import plots
from kcnn.accelerate import accelerate
from kcnn.backend import device_name
from kcnn.callbacks import tensorboard
from kcnn.callbacks.progress import ShowProgress
from kcnn.checkpoint import check_classes, load_model, restore_optimizer
from kcnn.construct import (
    check_parts,
    compile_model,
    load_parts,
    new_model,
    training_batches,
    training_callbacks,
)
from kcnn.data import Dataset, Split
from kcnn.data.batches import Direct, EvaluationBatches
from kcnn.errors import KcnnError
from kcnn.evaluate import full_report, score
from kcnn.finetune import freeze_backbone
from kcnn.history import History
from kcnn.predict.logits import predict_logits
from kcnn.recipe import Recipe
from kcnn.rundir import RunDir, manifest, write_json, write_text
from kcnn.stages import Stage, plan_stages


def train(recipe: Recipe, run: RunDir, resume: bool = False) -> dict[str, Any]:
    """Train, pick the best epoch on validation, score it once on test, and return what is in `result.json`.

    Keras' backend, device and precision are those of the process: see `kcnn.backend.select`.

    Args:
        run: an empty directory, or with `resume` one that holds a `last.keras`.

    Raises:
        UsageError: an augmentation that the data cannot take, too few images, or too many steps an update.
        KcnnError: the data are missing, damaged or of other classes than before, or the loss is no longer finite.
    """
    if recipe.tensorboard:
        tensorboard.check_installed()
    keras.utils.set_random_seed(recipe.seed)
    dataset, train_part, validation_part = load_parts(recipe)
    if resume:
        model, history = _load_last(run, dataset.class_names)
        write_text(run.log, history.to_csv())  # the run may have been killed between the two files
    else:
        check_parts(recipe, dataset, train_part, validation_part)
        model, history = new_model(recipe, dataset), History()
        write_text(run.recipe, recipe.to_toml())
        write_json(run.manifest, manifest(recipe.seed, device_name()))
    for stage in plan_stages(recipe):
        if history.epochs < stage.last and not history.exhausted(recipe.patience, recipe.freeze_epochs):
            if not model.compiled or history.epochs == recipe.freeze_epochs:
                _prepare(model, recipe, stage.frozen)
                if resume and history.epochs != recipe.freeze_epochs:
                    restore_optimizer(model.optimizer, run.last)
            _fit(model, recipe, stage, run, history, train_part, validation_part, dataset.class_names)
    result = _score(run, history, dataset, validation_part)
    if recipe.tensorboard:
        tensorboard.add_picture(run, "confusion matrix, test images", run.confusion, history.best_epoch)
    return result


def _load_last(run: RunDir, class_names: list[str]) -> tuple[Any, History]:
    check_classes(run.last, class_names)
    model, info = load_model(run.last)
    if "history" not in info:
        raise KcnnError(f"{run.last} has no log in it, so it cannot be continued: start a new run with another --run.")
    return model, History(info["history"])


def _prepare(model: Any, recipe: Recipe, frozen: bool) -> None:
    """Compile for the epochs with a frozen backbone, or for those after: what trains is fixed by compiling."""
    freeze_backbone(model, frozen)
    compile_model(model, recipe)
    accelerate(model)


def _fit(
    model: Any,
    recipe: Recipe,
    stage: Stage,
    run: RunDir,
    history: History,
    train_part: Split,
    validation_part: Split,
    class_names: list[str],
) -> None:
    """Train what is left of a stage; Keras' own `fit`, with the callbacks that keep the run directory."""
    batches = training_batches(recipe, stage, train_part, len(class_names), history.epochs)
    progress = ShowProgress(history, recipe.epochs)
    try:
        model.fit(
            Direct(batches),
            epochs=stage.last,
            initial_epoch=history.epochs,
            steps_per_epoch=batches.steps_per_epoch,
            validation_data=EvaluationBatches(validation_part, len(class_names)) if len(validation_part) else None,
            callbacks=[*training_callbacks(recipe, stage, batches, run, history, class_names), progress],
            shuffle=False,
            verbose=0,
        )
    finally:
        progress.close()


def _score(run: RunDir, history: History, dataset: Dataset, validation: Split) -> dict[str, Any]:
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
