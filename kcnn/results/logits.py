"""What a model says of images in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kcnn.errors import KcnnError
from kcnn.results.views import image_views, six_views


def predict_logits(model: Any, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """uint8 images (n, height, width, channels) → float32 logits (n, classes).

    Raises:
        KcnnError: some are no numbers, of which no class is the largest.
    """
    logits = np.asarray(model.predict(images, batch_size=batch_size, verbose=0), np.float32)
    if wrong := int((np.isnan(logits) | np.isposinf(logits)).any(-1).sum()):
        raise KcnnError(
            f"The model gives NaN or infinite numbers for {wrong} of {len(logits)} images: its weights are damaged, or "
            f"too large for its precision. Take another file, or train again at a lower rate."
        )
    return logits


def check_form(model: Any, images: np.ndarray) -> None:
    """Raise a KcnnError unless the images (n, height, width, channels) are of the form that the model takes."""
    wanted, found = model.input_shape[1:], images.shape[1:]
    if len(wanted) != len(found) or any(isinstance(a, int) and a != b for a, b in zip(wanted, found, strict=True)):
        sizes = ["×".join(map(str, shape)) for shape in (wanted, found)]
        raise KcnnError(f"The model takes images of {sizes[0]}, but these are {sizes[1]}: they are not its data set's.")


def predict_views(model: Any, images: np.ndarray, names: Sequence[str] = ()) -> np.ndarray:
    """Logits as `predict_logits`; with names of `kcnn.results.views`, the logarithms of their mean probabilities.

    Probabilities are averaged and not logits, so that a view on which the model is very sure does not outvote others.
    The six views are the exception, as they were published.
    """
    if not names:
        return predict_logits(model, images)
    if "six" in names:
        return _predict_six(model, images)
    if "six-quarter" in names:
        logits = predict_logits(model, images)
        certainty = softmax(logits).max(-1)
        least = np.argsort(certainty, kind="stable")[: -(-len(images) // 4)]
        logits[least] = _predict_six(model, images[least])
        return logits
    probabilities = [softmax(predict_logits(model, view)) for view in image_views(images, names)]
    return np.log(np.maximum(np.mean(probabilities, axis=0), 1e-30)).astype(np.float32)


def _predict_six(model: Any, images: np.ndarray) -> np.ndarray:
    weighted = [weight * predict_logits(model, view) for weight, view in six_views(images)]
    return np.stack(weighted).sum(0)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Logits (n, classes) → probabilities that add up to 1 in each row."""
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)
