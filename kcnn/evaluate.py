"""Scores of a trained model on labelled images."""

from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data import load_dataset
from kcnn.recipe import read_recipe
from kcnn.rundir import RunDir


def predict_logits(model: Any, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """uint8 images (n, height, width, channels) → float32 logits (n, classes)."""
    return np.asarray(model.predict(images, batch_size=batch_size, verbose=0), np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (n, classes) → probabilities that add up to 1 in each row."""
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def score(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, top-5 accuracy (0…1) and mean cross-entropy (nats)."""
    chosen = logits[np.arange(len(labels)), labels][:, None]
    rank = (logits > chosen).sum(-1)
    highest = logits.max(-1, keepdims=True)
    loss = np.log(np.exp(logits - highest).sum(-1)) + highest[:, 0] - chosen[:, 0]
    return {
        "accuracy": float((logits.argmax(-1) == labels).mean()),
        "top5": float((rank < 5).mean()),
        "loss": float(loss.mean()),
    }


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


def evaluate_run(path: Path, data_dir: str = "") -> dict[str, Any]:
    """Score a run's best model on the test part; see `full_report`.

    Raises:
        KcnnError: no such run, no checkpoint in it, or its data are not there.
    """
    from kcnn.accelerate import accelerate
    from kcnn.checkpoint import load_model

    run = RunDir.open(path)
    recipe = read_recipe(run.recipe)
    model, _ = load_model(run.checkpoint())
    dataset = load_dataset(recipe.dataset, data_dir or recipe.data_dir, recipe.image_size)
    accelerate(model)
    return full_report(predict_logits(model, dataset.test.images), dataset.test.labels, dataset.class_names)
