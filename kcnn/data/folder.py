"""One's own pictures: a folder for each class, with pictures of any size.

`<data dir>/<class>/*.jpg`, of which one fifth, fixed, is for testing; or `<data dir>/train/<class>/…` and
`<data dir>/test/<class>/…`. What is transparent counts as white.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kcnn.data.dataset import Dataset, Split, channel_statistics, stratified
from kcnn.data.images import EXTENSIONS, hidden, is_picture, read_image
from kcnn.errors import KcnnError

DEFAULT_SIZE = 64


def missing(name: str, data_dir: Path) -> list[Path]:
    """The folder itself, if it is not there."""
    return [] if data_dir.is_dir() else [data_dir]


def load(name: str, data_dir: Path, image_size: int) -> Dataset:
    """Read every picture as `image_size` × `image_size` × 3 (default 64)."""
    size = image_size or DEFAULT_SIZE
    if (data_dir / "train").is_dir() and (data_dir / "test").is_dir():
        train, names = _read(data_dir / "train", size)
        test, test_names = _read(data_dir / "test", size)
        if names != test_names:
            odd = ", ".join(sorted(set(names) ^ set(test_names)))
            raise KcnnError(f"{data_dir}: train and test must have the same class folders; only one of them has {odd}.")
    else:
        everything, names = _read(data_dir, size)
        train, test = (everything.take(part) for part in stratified(everything.labels, 0.2, seed=0))
    return Dataset(train, test, names, *channel_statistics(train.images))


def _read(root: Path, size: int) -> tuple[Split, list[str]]:
    from torchvision.datasets.folder import make_dataset

    try:
        names = sorted(path.name for path in root.iterdir() if path.is_dir() and not hidden(path.relative_to(root)))
        if len(names) < 2:
            found = f"one class folder, {names[0]!r}" if names else "no folders in it. Each class is a folder"
            raise KcnnError(f"{root} has {found}; a classifier needs at least two.")
        indices = {name: label for label, name in enumerate(names)}
        samples = make_dataset(str(root), indices, is_valid_file=lambda path: is_picture(Path(path), root))
    except FileNotFoundError as error:
        reason = str(error).split(". ")[0]
        raise KcnnError(
            f"{root}: {reason}. Each class is a folder with at least one picture ({', '.join(EXTENSIONS)})."
        ) from error
    labels = np.asarray([label for _, label in samples], np.int64)
    return Split(_decode([Path(path) for path, _ in samples], size), labels), names


def _decode(paths: list[Path], size: int) -> np.ndarray:
    """Read in threads: Pillow decodes outside Python's lock."""
    from rich.console import Console
    from rich.progress import track

    images = np.empty((len(paths), size, size, 3), np.uint8)
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(lambda path: read_image(path, (size, size, 3)), paths)
        console = Console(stderr=True)
        for index, image in enumerate(
            track(decoded, "reading pictures", len(paths), console=console, disable=not console.is_terminal)
        ):
            images[index] = image
    return images
