"""The main job: a recipe goes in, a run directory comes out. Read from top to bottom, in the order the data flow."""

import sys
from contextlib import closing
from typing import Any

from kcnn.data.batches import Direct, EvaluationBatches
from kcnn.errors import KcnnError, UsageError
from kcnn.machine.backend import device_name
from kcnn.machine.files import write_json, write_text
from kcnn.machine.randomness import kept_streams
from kcnn.recipes.files import read_recipe
from kcnn.recipes.origin import check_images
from kcnn.recipes.parts import Parts, check_parts, load_parts
from kcnn.recipes.recipe import Recipe
from kcnn.recipes.stages import Stage, plan_stages
from kcnn.run.checkpoint import check_classes, load_model, restore_optimizer
from kcnn.run.directory import RunDir
from kcnn.run.history import History
from kcnn.run.manifest import make_manifest
from kcnn.training.callbacks import tensorboard
from kcnn.training.callbacks.progress import ShowProgress
from kcnn.training.construct import new_model, prepare, training_batches, training_callbacks
from kcnn.training.finish import ensure_best, finish_run
from kcnn.training.job import Job
from kcnn.training.state import resumable


@kept_streams()
def train(recipe: Recipe, run: RunDir, resume: bool = False) -> dict[str, Any]:
    """Train, pick the best epoch on validation, score it once on test, and return what is in `result.json`.

    Keras' backend, device and precision are those of the process: see `kcnn.machine.backend.select`. Python's, NumPy's,
    Keras' and torch's own random streams are left as they were found: all that is drawn depends on the seed alone.

    Args:
        run: a directory in which nothing was trained yet, or with `resume` any other; one that is finished stays as it
            is, but for files that are missing.

    Raises:
        UsageError: a run without `resume`, an augmentation that the data cannot take, too few images, or too many
            steps an update.
        KcnnError: the data are missing or damaged, they or the recipe are not those that the run was begun with, or
            the loss is no longer finite.
    """
    if run.begun and not resume:
        raise UsageError(f"{run.path} holds a run already. Continue it with resume, or name another directory.")
    if recipe.tensorboard:
        tensorboard.check_installed()
    resumed = run.begun
    run.clean()
    parts = load_parts(recipe)
    model, job = _resumed(recipe, parts, run) if resumed else _begun(recipe, parts, run)
    history = job.history
    if not job.finished:
        run.reopen()
    for stage in plan_stages(recipe):
        if history.epochs < stage.last and not job.finished:
            if not model.compiled or history.epochs == recipe.freeze_epochs:
                prepare(model, recipe, stage.frozen)
                if resumed and history.epochs != recipe.freeze_epochs:
                    restore_optimizer(model.optimizer, run.last)
            _fit(model, job, stage)
    return finish_run(job)


def _begun(recipe: Recipe, parts: Parts, run: RunDir) -> tuple[Any, Job]:
    """A new model, and a run directory that says what it is to be."""
    check_parts(recipe, parts)
    model = new_model(recipe, parts.dataset)
    write_text(run.recipe, recipe.to_toml())
    write_json(run.manifest, make_manifest(recipe.seed, device_name()))
    return model, Job(recipe, parts, run, History())


def _resumed(recipe: Recipe, parts: Parts, run: RunDir) -> tuple[Any, Job]:
    """The model and the log of `last.keras`, if it is still this recipe's run on these images."""
    info, history = resumable(recipe, run)
    check_classes(run.last, parts.class_names)
    job = Job(recipe, parts, run, history)
    if "origin" in info:
        check_images(info["origin"], job.origin["images"], run.path)
    model, _ = load_model(run.last)
    _check_model(model, job)
    try:
        ensure_best(job)
    except KcnnError as problem:
        if job.finished:
            raise
        print(f"{problem} Or find a better epoch by training on, as is done now.", file=sys.stderr)
    if read_recipe(run.recipe) != recipe:
        write_text(run.recipe, recipe.to_toml())
    if not run.log.exists() or run.log.read_bytes() != history.to_csv().encode():
        write_text(run.log, history.to_csv())  # the run was killed between the two files
    return model, job


def _check_model(model: Any, job: Job) -> None:
    """Refuse a model that cannot be this recipe's: a run of an older kcnn does not say what it was begun with."""
    shape = job.parts.train.images.shape[1:]
    if model.name != job.recipe.model or model.input_shape[1:] != shape:
        kind = f"{model.name} for images of {'×'.join(map(str, model.input_shape[1:]))}"
        raise KcnnError(
            f"{job.run.last} is a {kind}, but {job.run.recipe} says {job.recipe.model} for {'×'.join(map(str, shape))}."
        )


def _fit(model: Any, job: Job, stage: Stage) -> None:
    """Train what is left of a stage; Keras' own `fit`, with the callbacks that keep the run directory."""
    history, validation = job.history, job.parts.validation
    batches = training_batches(job.recipe, stage, job.parts, history.epochs)
    progress = ShowProgress(history, job.recipe.epochs)
    with closing(progress):
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
