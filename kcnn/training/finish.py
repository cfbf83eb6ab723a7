"""The end of a run: its best epoch is scored, once, and drawn. Only what is missing is done."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from kcnn import plots
from kcnn.errors import command
from kcnn.machine.backend import device_name
from kcnn.machine.files import write_json
from kcnn.models.flops import training_pflop
from kcnn.native.acceleration import accelerate
from kcnn.results.kept import keep_predictions
from kcnn.results.logits import predict_logits
from kcnn.results.scores import full_report, score
from kcnn.run.checkpoint import load_model, save_model
from kcnn.training.callbacks import tensorboard
from kcnn.training.job import Job
from kcnn.training.state import best_weights, known_result, outcome


def finish_run(job: Job) -> dict[str, Any]:
    """Score `best.keras`, on validation and once on test, write `result.json`, draw the pictures; return the result.

    Raises:
        KcnnError: the best epoch's weights are gone.
    """
    if done := outcome(job.recipe, job.run, job.history):
        return done
    ensure_best(job)
    model, _ = load_model(job.run.best)
    accelerate(model)
    dataset, known = job.parts.dataset, known_result(job.run, job.history)
    logits = predict_logits(model, dataset.test.images)
    report = full_report(logits, dataset.test.labels, dataset.class_names)
    result = known or _result(job, model, report)
    if not job.run.predictions.exists():
        keep_predictions(job.run.predictions, logits, dataset.test.labels)
    if not known:
        write_json(job.run.result, result)
    _draw_pictures(job, report, missing_only=bool(known))
    return result


def ensure_best(job: Job) -> None:
    """Let `best.keras` be the best epoch of the log; where it is gone, `last.keras` may be that.

    Raises:
        KcnnError: see `best_weights`.
    """
    run, history = job.run, job.history
    if history.rows and best_weights(job.recipe, run, history) == run.last:
        info = {"class_names": job.parts.class_names, "epoch": history.best_epoch}
        save_model(load_model(run.last)[0], run.best, info)


def _result(job: Job, model: Any, report: dict[str, Any]) -> dict[str, Any]:
    history, validation = job.history, job.parts.validation
    return {
        "test": report["test"],
        "validation": score(predict_logits(model, validation.images), validation.labels) if len(validation) else None,
        "best_epoch": history.best_epoch,
        "epochs": history.epochs,
        "seconds": round(history.seconds, 2),
        "images_per_second": history.images_per_second,
        "parameters": model.count_params(),
        "pflop": training_pflop(model, len(job.parts.train) * history.epochs),
        "backend": keras.backend.backend(),
        "device": device_name(),
    }


def _draw_pictures(job: Job, report: dict[str, Any], missing_only: bool) -> None:
    """Draw the run's two pictures; one that cannot be drawn is told, and costs nothing else."""

    def curves(path: Path) -> None:
        plots.curves({job.run.path.resolve().name: job.history}, path)

    def confusion(path: Path) -> None:
        plots.confusion(report["confusion"], job.parts.class_names, path)
        if job.recipe.tensorboard:
            tensorboard.add_picture(job.run, "confusion matrix, test images", path, job.history.best_epoch)

    pictures: dict[Path, Callable[[Path], None]] = {job.run.curves: curves, job.run.confusion: confusion}
    for path, draw in pictures.items():
        if missing_only and path.exists():
            continue
        try:
            draw(path)
        except Exception as error:  # of matplotlib, a font, a full disk: the result is written, and stays
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            again = command("train", "--resume", job.run.path)
            print(f"{path} could not be drawn ({reason[:160]}). To try again: {again}", file=sys.stderr)
