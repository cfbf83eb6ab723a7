"""The main job: a recipe goes in, a run directory comes out. Read from top to bottom, in the order the data flow."""

from typing import Any

import keras

from kcnn import plots
from kcnn.data.batches import Direct, EvaluationBatches
from kcnn.errors import KcnnError
from kcnn.machine.backend import device_name
from kcnn.machine.files import write_json, write_text
from kcnn.native.acceleration import accelerate
from kcnn.recipes.parts import Parts, check_parts, load_parts
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.stages import Stage, plan_stages
from kcnn.results.logits import predict_logits
from kcnn.results.scores import full_report, score
from kcnn.run.checkpoint import check_classes, load_model, restore_optimizer
from kcnn.run.directory import RunDir
from kcnn.run.history import History
from kcnn.run.manifest import make_manifest
from kcnn.starts.transfer import freeze_backbone
from kcnn.training.callbacks import tensorboard
from kcnn.training.callbacks.progress import ShowProgress
from kcnn.training.construct import compile_model, new_model, training_batches, training_callbacks
from kcnn.training.job import Job


def train(recipe: Recipe, run: RunDir, resume: bool = False) -> dict[str, Any]:
    """Train, pick the best epoch on validation, score it once on test, and return what is in `result.json`.

    Keras' backend, device and precision are those of the process: see `kcnn.machine.backend.select`.

    Args:
        run: an empty directory, or with `resume` one that holds a `last.keras`.

    Raises:
        UsageError: an augmentation that the data cannot take, too few images, or too many steps an update.
        KcnnError: the data are missing, damaged or of other classes than before, or the loss is no longer finite.
    """
    if recipe.tensorboard:
        tensorboard.check_installed()
    keras.utils.set_random_seed(recipe.seed)
    parts = load_parts(recipe)
    model, job = _resumed(recipe, parts, run) if resume else _begun(recipe, parts, run)
    history = job.history
    for stage in plan_stages(recipe):
        if history.epochs < stage.last and not history.exhausted(recipe.patience, recipe.freeze_epochs):
            if not model.compiled or history.epochs == recipe.freeze_epochs:
                _prepare(model, recipe, stage.frozen)
                if resume and history.epochs != recipe.freeze_epochs:
                    restore_optimizer(model.optimizer, run.last)
            _fit(model, job, stage)
    result = _score(job)
    if recipe.tensorboard:
        tensorboard.add_picture(run, "confusion matrix, test images", run.confusion, history.best_epoch)
    return result


def _begun(recipe: Recipe, parts: Parts, run: RunDir) -> tuple[Any, Job]:
    """A new model, and a run directory that says what it is to be."""
    check_parts(recipe, parts)
    model = new_model(recipe, parts.dataset)
    write_text(run.recipe, recipe.to_toml())
    write_json(run.manifest, make_manifest(recipe.seed, device_name()))
    return model, Job(recipe, parts, run, History())


def _resumed(recipe: Recipe, parts: Parts, run: RunDir) -> tuple[Any, Job]:
    """The model and the log of `last.keras`."""
    check_classes(run.last, parts.class_names)
    model, info = load_model(run.last)
    if "history" not in info:
        raise KcnnError(f"{run.last} has no log in it, so it cannot be continued: start a new run with another --run.")
    history = History(info["history"])
    write_text(run.log, history.to_csv())  # the run may have been killed between the two files
    return model, Job(recipe, parts, run, history)


def _prepare(model: Any, recipe: Recipe, frozen: bool) -> None:
    """Compile for the epochs with a frozen backbone, or for those after: what trains is fixed by compiling."""
    freeze_backbone(model, frozen)
    compile_model(model, recipe)
    accelerate(model)


def _fit(model: Any, job: Job, stage: Stage) -> None:
    """Train what is left of a stage; Keras' own `fit`, with the callbacks that keep the run directory."""
    history, validation = job.history, job.parts.validation
    batches = training_batches(job.recipe, stage, job.parts, history.epochs)
    progress = ShowProgress(history, job.recipe.epochs)
    try:
        model.fit(
            Direct(batches),
            epochs=stage.last,
            initial_epoch=history.epochs,
            steps_per_epoch=batches.steps_per_epoch,
            validation_data=EvaluationBatches(validation, len(job.parts.class_names)) if len(validation) else None,
            callbacks=[*training_callbacks(job, stage, batches), progress],
            shuffle=False,
            verbose=0,
        )
    finally:
        progress.close()


def _score(job: Job) -> dict[str, Any]:
    """Score `best.keras`, on validation and once on test, and write the result and the pictures."""
    run, history, dataset, validation = job.run, job.history, job.parts.dataset, job.parts.validation
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
