"""What a run confuses: its matrix, and its most confident mistakes as pictures inside the page."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from kcnn.data.dataset import Split
from kcnn.data.registry import missing_files
from kcnn.errors import KcnnError
from kcnn.recipes.files import read_recipe
from kcnn.recipes.parts import recipe_dataset
from kcnn.results.kept import Predictions
from kcnn.run.checkpoint import read_info
from kcnn.run.directory import RunDir

MOST_CELLS = 20  # classes; of more the matrix is a picture, and its largest entries are named
MISTAKES, PAIRS = 12, 8
DATA = ("dataset", "data_dir", "image_size", "classes", "skip_bad")  # recipe keys that decide what images there are


class Gallery:
    """Test images of the runs of a page, each data set loaded once."""

    def __init__(self) -> None:
        self._loaded: dict[str, Split] = {}

    def images(self, run: RunDir) -> Split:
        """The test images of a run's recipe; nothing is fetched.

        Raises:
            KcnnError: they are not on this machine.
        """
        recipe = read_recipe(run.recipe)
        key = repr([getattr(recipe, name) for name in DATA])
        if key not in self._loaded:
            if missing_files(recipe.dataset, recipe.data_dir):
                raise KcnnError(f"The images of {recipe.dataset} are not on this machine, so no mistakes are shown.")
            self._loaded[key] = recipe_dataset(recipe).test
        return self._loaded[key]


def class_names(run: RunDir, count: int) -> list[str]:
    """Those that its model learned, or numbers."""
    try:
        names = read_info(run.checkpoint()).get("class_names", [])
    except KcnnError:
        names = []
    return list(names) if len(names) == count else [str(index) for index in range(count)]


def confusion(found: Predictions, names: Sequence[str]) -> dict[str, Any]:
    """The matrix as cells with their shades, or as a picture; and the classes that are most often mistaken."""
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (found.labels, found.predicted), 1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    wrong = np.where(np.eye(len(names), dtype=bool), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    places = [divmod(int(place), len(names)) for place in order]
    pairs = [(names[i], names[j], int(wrong[i, j])) for i, j in places if wrong[i, j]]
    cells = [
        {"name": name, "counts": [(int(n), f"{share:.3f}") for n, share in zip(*rows, strict=True)]}
        for name, *rows in zip(names, counts, shares, strict=True)
    ]
    small = len(names) <= MOST_CELLS
    return {"names": names, "rows": cells if small else [], "picture": "" if small else _matrix(shares), "pairs": pairs}


def mistakes(found: Predictions, names: Sequence[str], split: Split) -> list[dict[str, str]]:
    """The most confident of them: picture, predicted and true class, probability.

    Raises:
        KcnnError: these are not the images that were predicted.
    """
    if not np.array_equal(found.labels, split.labels):
        raise KcnnError("The test images on this machine are not those that were predicted, so no mistakes are shown.")
    confidence = found.probabilities.max(-1)
    wrong = np.flatnonzero(found.predicted != found.labels)
    chosen = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    return [
        {
            "picture": data_uri(split.images[index]),
            "predicted": names[found.predicted[index]],
            "true": names[found.labels[index]],
            "probability": f"{confidence[index]:.1%}",
        }
        for index in chosen
    ]


def data_uri(image: np.ndarray) -> str:
    """A uint8 image (height, width, 1, 3 or 4) inside an address: PNG, or JPEG where it is large."""
    from PIL import Image

    kind = "png" if image.shape[0] <= 64 or image.shape[-1] == 4 else "jpeg"
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, kind)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _matrix(shares: np.ndarray) -> str:
    """A pixel a cell, blue and as dense as the root of the share, so that it can lie on any ground."""
    pixels = np.zeros((*shares.shape, 4), np.uint8)
    pixels[..., :3] = (59, 125, 221)
    pixels[..., 3] = np.rint(255 * np.sqrt(shares))
    return data_uri(pixels)
