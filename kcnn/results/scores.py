"""Scores of a trained model on labelled images."""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data.dataset import Split
from kcnn.errors import UsageError, unknown
from kcnn.recipes.files import read_recipe
from kcnn.recipes.origin import changed_images, digest
from kcnn.recipes.parts import load_parts, recipe_dataset
from kcnn.results.kept import keep_predictions
from kcnn.results.logits import check_form, predict_views, softmax
from kcnn.results.views import augmented_images
from kcnn.run.checkpoint import check_classes, read_info
from kcnn.run.directory import RunDir

SPLITS = ("test", "validation")


def score(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Accuracy with its 95 % interval, top-5 accuracy (0…1) and mean cross-entropy (nats)."""
    chosen = logits[np.arange(len(labels)), labels]
    highest = logits.max(-1, keepdims=True)
    loss = np.log(np.exp(logits - highest).sum(-1)) + highest[:, 0] - chosen
    right = logits.argmax(-1) == labels
    return {
        "accuracy": float(right.mean()),
        "interval": wilson(int(right.sum()), len(labels)),
        "top5": top_accuracy(logits, labels, 5),
        "loss": float(loss.mean()),
    }


def wilson(right: int, images: int) -> list[float]:
    """[low, high] of the accuracy (0…1) that `right` of so many images speak for, with 95 % confidence.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference". It is about other images of the
    same kind, the network kept: how much another seed's network differs, it cannot tell.
    """
    square = 1.959964**2 / images
    middle, part = right / images + square / 2, right / images * (1 - right / images)
    half = math.sqrt(square * (part + square / 4))
    return [round((middle + side) / (1 + square), 6) for side in (-half, half)]


def full_report(logits: np.ndarray, labels: np.ndarray, class_names: list[str]) -> dict[str, Any]:
    """`{"test": score, "per_class": [precision, recall, F1, images], "confusion": rows true, columns predicted}`."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    classes, predicted = np.arange(len(class_names)), logits.argmax(-1)
    columns = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    per_class = [
        {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "images": int(n)}
        for name, p, r, f, n in zip(class_names, *columns, strict=True)
    ]
    confusion = confusion_matrix(labels, predicted, labels=classes).tolist()
    return {"test": score(logits, labels), "per_class": per_class, "confusion": confusion}


def calibration(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> dict[str, Any]:
    """How far the model's confidence is from its accuracy: `{"ece": 0…1, "bins": [row, …]}`.

    Guo et al. 2017, "On calibration of modern neural networks", equation 3: images fall into `bins` equal intervals
    (low, high] of the probability of their predicted class; the expected calibration error is the mean of
    |accuracy - mean confidence| over the intervals, each weighted by its images.

    Args:
        logits: float (n, classes); labels: int (n,).

    Returns:
        Rows have low, high, images, accuracy, confidence; the last two are 0 in an interval without images.
    """
    probabilities = softmax(logits.astype(np.float64))
    confidence, right = probabilities.max(-1), logits.argmax(-1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    images = np.bincount(place, minlength=bins)
    columns = [
        np.bincount(place, weights=values, minlength=bins) / np.maximum(images, 1) for values in (right, confidence)
    ]
    ece = float((images / len(labels) * np.abs(columns[0] - columns[1])).sum())
    rows = [
        {"low": m / bins, "high": (m + 1) / bins, "images": int(n), "accuracy": float(a), "confidence": float(c)}
        for m, (n, a, c) in enumerate(zip(images, *columns, strict=True))
    ]
    return {"ece": ece, "bins": rows}


def top_accuracy(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Part of the images (0…1) whose true class is among the `k` with the largest logits; of equal ones the first."""
    ranked = np.argsort(-logits, axis=-1, kind="stable")[:, :k]
    return float((ranked == labels[:, None]).any(-1).mean())


def run_split(run: RunDir, split: str = "test", data_dir: str = "") -> tuple[Split, list[str]]:
    """The labelled images of a run's part, and the class names.

    Args:
        split: "test", or "validation": those that the run, with its seed, kept out of its training.
        data_dir: where the data are now, if not where the recipe says.

    Raises:
        UsageError: another part, or the run kept no validation images.
        KcnnError: the data are not there, or have other classes than the run's.
    """
    if split not in SPLITS:
        raise UsageError(unknown("split", split, SPLITS))
    recipe = read_recipe(run.recipe)
    recipe = recipe.replace(data_dir=data_dir) if data_dir else recipe
    if split == "test":
        dataset = recipe_dataset(recipe)
        images = dataset.test
    else:
        parts = load_parts(recipe)
        dataset, images = parts.dataset, parts.validation
        if not len(images):
            raise UsageError(f"{run.path} kept no validation images. Use --split test.")
    check_classes(run.checkpoint(), dataset.class_names)
    _tell_changes(run, split, images)
    return images, dataset.class_names


def _tell_changes(run: RunDir, split: str, images: Split) -> None:
    """Say so if these are not the images that the run kept apart: it may have been trained on some of them."""
    origin = read_info(run.last).get("origin") if run.last.exists() else None
    now = {split: {"count": len(images), "digest": digest(images)}}
    if origin and (changes := changed_images(origin, now)):
        print(
            f"The images of {run.path} have changed since it began ({changes}): it may have learned from some of them.",
            file=sys.stderr,
        )


def evaluate_run(
    path: Path,
    data_dir: str = "",
    split: str = "test",
    top: int = 0,
    tta: Sequence[str] = (),
    augment: Mapping[str, float] | None = None,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Score a run's best model on one of its parts; see `full_report`, whose "test" is here called as the part.

    The score has two numbers more: "ece" (see `calibration`), and "topK" for `top` K above 0. `tta` names views that
    are averaged, see `predict_views`. With `augment` each image is first augmented, once, by the run's seed.

    Args:
        keep: a file for what the model said of each image, see `keep_predictions`.

    Raises:
        UsageError: an unknown part, or an augmentation that the images cannot take.
        KcnnError: no such run, no checkpoint in it, or its data are not there.
    """
    from kcnn.native.acceleration import accelerate
    from kcnn.run.checkpoint import load_model

    run = RunDir.open(path)
    images, class_names = run_split(run, split, data_dir)
    model, _ = load_model(run.checkpoint())
    check_form(model, images.images)
    accelerate(model)
    pixels = images.images
    if augment:
        pixels = augmented_images(pixels, augment, read_recipe(run.recipe).seed, len(class_names))
    logits = predict_views(model, pixels, tta)
    if keep:
        keep_predictions(keep, logits, images.labels)
    report = full_report(logits, images.labels, class_names)
    scores = report.pop("test") | {"ece": calibration(logits, images.labels)["ece"]}
    if top:
        scores[f"top{top}"] = top_accuracy(logits, images.labels, top)
    return {split: scores, **report}
