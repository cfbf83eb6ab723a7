"""The pictures of a finished run: what each kind takes from the run directory, its model and its images."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kcnn import plots
from kcnn.data.dataset import Split
from kcnn.errors import KcnnError, UsageError, unknown
from kcnn.plots.text import short
from kcnn.run.directory import RunDir
from kcnn.run.history import read_history

MOST_MISTAKES = 24


class Subject:
    """A run to draw; its model, images and predictions are made when a picture first needs them.

    Args:
        split: "test" or "validation".
        image: a picture file for the kinds that look at one image; else they take images of the split.
        class_name: the class that Grad-CAM explains; else the predicted one.
    """

    def __init__(
        self, run: RunDir, split: str = "test", data_dir: str = "", image: Path | None = None, class_name: str = ""
    ) -> None:
        self.run, self.split, self.data_dir, self.image, self.class_name = run, split, data_dir, image, class_name

    @cached_property
    def _opened(self) -> tuple[Any, list[str]]:
        from kcnn.native.acceleration import accelerate
        from kcnn.run.checkpoint import open_model

        model, names = open_model(self.run.path)
        accelerate(model)
        return model, names

    @property
    def model(self) -> Any:
        """The best model."""
        return self._opened[0]

    @property
    def class_names(self) -> list[str]:
        """In the order of the logits."""
        return self._opened[1]

    @cached_property
    def captions(self) -> list[str]:
        """The class names as pictures can show them."""
        return [short(name) for name in plots.drawable(self.class_names)]

    @cached_property
    def images(self) -> Split:
        """The labelled images of the split."""
        from kcnn.results.logits import check_form
        from kcnn.results.scores import run_split

        found = run_split(self.run, self.split, self.data_dir)[0]
        check_form(self.model, found.images)
        return found

    @cached_property
    def logits(self) -> np.ndarray:
        """float32 (n, classes) of `images`."""
        return self.predict(self.images.images)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """uint8 images (n, height, width, channels) → float32 logits (n, classes)."""
        from kcnn.results.logits import predict_logits

        return predict_logits(self.model, images)

    def one_image(self) -> np.ndarray:
        """uint8 (height, width, channels): the picture that the user named, or the first of the split."""
        from kcnn.data.images import read_image
        from kcnn.data.preparation import Preparation
        from kcnn.run.checkpoint import read_info

        if not self.image:
            return self.images.images[0]
        return read_image(self.image, Preparation.of(self.model.input_shape[1:], read_info(self.run.checkpoint())))

    def report(self) -> dict[str, Any]:
        """See `kcnn.results.scores.full_report`."""
        from kcnn.results.scores import full_report

        return full_report(self.logits, self.images.labels, self.class_names)


def _curves(subject: Subject, path: Path) -> None:
    plots.curves({subject.run.path.resolve().name: read_history(subject.run)}, path)


def _confusion(subject: Subject, path: Path) -> None:
    plots.confusion(subject.report()["confusion"], subject.class_names, path)


def _classes(subject: Subject, path: Path) -> None:
    plots.classes(subject.report()["per_class"], path)


def _reliability(subject: Subject, path: Path) -> None:
    from kcnn.results.scores import calibration

    found = calibration(subject.logits, subject.images.labels)
    plots.reliability(found["bins"], found["ece"], path)


def _mistakes(subject: Subject, path: Path) -> None:
    from kcnn.results.logits import softmax

    labels, probabilities = subject.images.labels, softmax(subject.logits)
    predicted, confidence = probabilities.argmax(-1), probabilities.max(-1)
    wrong = np.flatnonzero(predicted != labels)
    if not len(wrong):
        raise KcnnError(f"{subject.run.path} makes no mistake on its {len(labels)} {subject.split} images.")
    chosen = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_MISTAKES]
    names = subject.captions
    captions = [(names[labels[i]], names[predicted[i]], float(confidence[i])) for i in chosen]
    title = f"the {len(chosen)} most confident of {len(wrong):,} mistakes on {len(labels):,} {subject.split} images"
    plots.mistakes(subject.images.images[chosen], captions, title, path)


def _filters(subject: Subject, path: Path) -> None:
    import keras

    from kcnn.results.gradcam import convolutions

    layer = convolutions(subject.model)[0]
    plots.filters(keras.ops.convert_to_numpy(layer.kernel).astype(np.float32), layer.name, path)


def _features(subject: Subject, path: Path) -> None:
    from kcnn.results.gradcam import feature_maps

    image = subject.one_image()
    plots.features(image, feature_maps(subject.model, image), _best_guess(subject, image), path)


def _best_guess(subject: Subject, image: np.ndarray) -> str:
    from kcnn.results.logits import softmax

    probabilities = softmax(subject.predict(image[None]))[0]
    return f"{subject.captions[probabilities.argmax()]} ({probabilities.max():.1%})"


def _gradcam(subject: Subject, path: Path) -> None:
    panels = _explained(subject) if subject.image else _examples(subject)
    wanted = subject.captions[_index(subject)] if subject.class_name else "the class above them"
    plots.heat(panels, f"Grad-CAM: the places that speak for {wanted}", path)


def _explained(subject: Subject) -> list[tuple[np.ndarray, np.ndarray | None, str]]:
    """The user's picture, and what speaks for its three most probable classes or for the class that was asked for."""
    from kcnn.results.gradcam import heat_maps
    from kcnn.results.logits import softmax

    image = subject.one_image()
    probabilities = softmax(subject.predict(image[None]))[0]
    classes = np.argsort(-probabilities, kind="stable")[:3]
    if subject.class_name:
        classes = np.asarray([_index(subject)])
    heat = heat_maps(subject.model, np.stack([image] * len(classes)), classes)
    captions = [f"{subject.captions[label]} ({probabilities[label]:.1%})" for label in classes]
    return [(image, None, "image"), *((image, *row) for row in zip(heat, captions, strict=True))]


def _examples(subject: Subject) -> list[tuple[np.ndarray, np.ndarray | None, str]]:
    """The first image of each of up to nine classes, bare and with its heat map."""
    from kcnn.results.gradcam import heat_maps

    _, first = np.unique(subject.images.labels, return_index=True)
    images = subject.images.images[first[:9]]
    predicted = subject.predict(images).argmax(-1)
    wanted = np.full(len(images), _index(subject)) if subject.class_name else predicted
    panels: list[tuple[np.ndarray, np.ndarray | None, str]] = []
    for image, heat, label, guess in zip(
        images, heat_maps(subject.model, images, wanted), subject.images.labels[first], wanted, strict=False
    ):
        panels += [(image, None, f"is {subject.captions[label]}"), (image, heat, subject.captions[guess])]
    return panels


def _index(subject: Subject) -> int:
    if subject.class_name not in subject.class_names:
        raise UsageError(unknown("class", subject.class_name, subject.class_names))
    return subject.class_names.index(subject.class_name)


# Kind → function that draws it; `RUN/KIND.png` is where it goes.
KINDS: dict[str, Callable[[Subject, Path], None]] = {
    "curves": _curves,
    "confusion": _confusion,
    "mistakes": _mistakes,
    "classes": _classes,
    "reliability": _reliability,
    "filters": _filters,
    "features": _features,
    "gradcam": _gradcam,
}


def overlay(runs: Sequence[RunDir], path: Path) -> None:
    """The curves of several runs in one picture; runs of the same name in different folders go by their paths."""
    names = [run.path.resolve().name for run in runs]
    names = names if len(set(names)) == len(names) else [str(run.path) for run in runs]
    plots.curves({name: read_history(run) for name, run in zip(names, runs, strict=True)}, path)
