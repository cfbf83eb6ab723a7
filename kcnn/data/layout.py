"""Where a folder keeps its pictures: which parts and classes it has, and which file belongs to which."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kcnn.data.picture_files import Found, hidden, is_kcnns, is_picture, look_below, passed_over
from kcnn.errors import KcnnError

# Part → the names of its folder, in any letter case.
PARTS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
TEST = 0.2  # the fraction that is for testing where no folder says so
CLASSES = "Each class is a folder with pictures in it (.jpg, .png, .webp, .tif and others that Pillow reads)"

Sample = tuple[Path, str]  # a file, and its class


@dataclass(frozen=True)
class Listing:
    """The files of each part with their classes, the classes in the order of the labels, and what a user should know.

    `validation` is None where the folder has no such part.
    """

    train: list[Sample]
    validation: list[Sample] | None
    test: list[Sample]
    class_names: list[str]
    notes: list[str]

    @property
    def parts(self) -> list[list[Sample]]:
        """Training, test and, if there is one, validation."""
        return [self.train, self.test, *([] if self.validation is None else [self.validation])]


def list_pictures(root: Path) -> Listing:
    """The pictures of `root/CLASS/`, or of `root/train/CLASS/` with `test/`, `val/`, `valid/` or `validation/`.

    Without a test part it is drawn from the training pictures, see `draw_test`.

    Raises:
        KcnnError: no such folder, no two classes, a class without a picture, or parts that do not go together.
    """
    folders = _subfolders(root)
    parts = _parts(root, folders)
    places = parts or {"train": root}
    classes = {part: _classes(place) for part, place in places.items()}
    names = list(classes["train"])
    _check_classes(root, places, classes)
    samples = {
        part: [(path, name) for name, below in rows.items() for path in below.pictures]
        for part, rows in classes.items()
    }
    notes = _left_out(root, folders, parts, classes)
    if "test" not in samples:
        samples["train"], samples["test"] = draw_test(samples["train"], places["train"])
        untested = [name for name in names if name not in {name for _, name in samples["test"]}]
        notes += [f"no picture for testing, as there are too few: {', '.join(untested)}"] if untested else []
    return Listing(samples["train"], samples.get("validation"), samples["test"], names, notes)


def _subfolders(root: Path) -> list[Path]:
    """The folders that are the user's own, in order.

    Raises:
        KcnnError: there is no such folder, or none in it.
    """
    if not root.is_dir():
        state = "is a file" if root.exists() else "is not there"
        raise KcnnError(f"The folder of pictures {root} {state}: name yours with --data-dir. {CLASSES}.")
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not hidden(path.name)]
    folders = [path for path in folders if not is_kcnns(path)]
    if not folders:
        raise KcnnError(f"{root} has no folders in it. {CLASSES}.")
    return folders


def _parts(root: Path, folders: Sequence[Path]) -> dict[str, Path]:
    """Part → its folder; empty if the folders are classes, of which one may well be called train.

    Raises:
        KcnnError: two folders for one part, or none for training.
    """
    found: dict[str, list[Path]] = {}
    for folder in folders:
        if part := _part(folder):
            found.setdefault(part, []).append(folder)
    if (len(found) < 2 or "train" not in found) and any(not _part(folder) for folder in folders):
        return {}
    for part, several in found.items():
        if len(several) > 1:
            names = " and ".join(folder.name for folder in several)
            raise KcnnError(f"{root} has {names}, which both mean the {part} part: keep one, or put them together.")
    if "train" not in found:
        names = ", ".join(folder.name for folder in folders)
        raise KcnnError(f"{root} has only {names}, and nothing to train on: add a folder train, or name classes so.")
    return {part: several[0] for part, several in found.items()}


def _part(folder: Path) -> str | None:
    return next((part for part, names in PARTS.items() if folder.name.casefold() in names), None)


def _classes(root: Path) -> dict[str, Found]:
    """Class → what lies in its folder, in the order of the labels: of numbers, or else of names.

    Raises:
        KcnnError: no folders, or one without a picture.
    """
    found = {folder.name: look_below(folder) for folder in _subfolders(root)}
    if empty := [name for name, below in found.items() if not below.pictures]:
        others = passed_over(file for name in empty for file in found[name].others)
        raise KcnnError(
            f"{root}: {', '.join(empty)} {'has' if len(empty) == 1 else 'have'} no picture"
            f"{f', but {others}' if others else ''}. {CLASSES}: fill or remove it."
        )
    numbers = all(name.isascii() and name.isdecimal() for name in found)
    return {name: found[name] for name in (sorted(found, key=int) if numbers else found)}


def _check_classes(root: Path, places: Mapping[str, Path], classes: Mapping[str, Mapping[str, Found]]) -> None:
    """Raise a KcnnError unless there are two classes, the same in all parts."""
    names = classes["train"].keys()
    odd = [
        f"{places[part].name} {word} {', '.join(sorted(differing))}"
        for part, rows in classes.items()
        for word, differing in (("lacks", names - rows.keys()), ("also has", rows.keys() - names))
        if differing
    ]
    if odd:
        raise KcnnError(f"{root}: all parts must have the same class folders; {' and '.join(odd)}.")
    if len(names) < 2:
        raise KcnnError(
            f"{places['train']} has one class folder, {next(iter(names))!r}; a classifier needs at least two."
        )


def _left_out(
    root: Path, folders: Sequence[Path], parts: Mapping[str, Path], classes: Mapping[str, Mapping[str, Found]]
) -> list[str]:
    """Sentences on files and folders that are not used, and on a class that is called as a part."""
    loose = [path for place in (root, *parts.values()) for path in place.iterdir() if path.is_file()]
    loose = [path for path in loose if not hidden(path.name)]
    others = [file for rows in classes.values() for below in rows.values() for file in below.others]
    outside = sum(map(is_picture, loose))
    left_out = [
        passed_over([*others, *(path for path in loose if not is_picture(path))]),
        f"{outside} {'picture' if outside == 1 else 'pictures'} in no class folder" if outside else "",
        *(f"the folder {folder.name}" for folder in folders if parts and folder not in parts.values()),
    ]
    notes = [f"passed over in {root}: {text}" for text in ["; ".join(filter(None, left_out))] if text]
    alone = [folder.name for folder in folders if not parts and _part(folder)]
    return notes + [f"the folder {name} is taken for a class: there are others beside it" for name in alone]


def draw_test(samples: Sequence[Sample], root: Path) -> tuple[list[Sample], list[Sample]]:
    """(training, test) pictures: about a fifth, by a hash of each file's name below `root`.

    So a picture's part does not depend on which others there are, and those that come later move none. There are two
    exceptions while pictures are very few: a class keeps one picture for training, and one picture at least is for
    testing.

    Raises:
        KcnnError: no class has two pictures.
    """
    shares = {path: _share(path.relative_to(root)) for path, _ in samples}
    several: dict[str, list[Path]] = {}
    for path, name in samples:
        several.setdefault(name, []).append(path)
    kept = {max(paths, key=shares.__getitem__) for paths in several.values()}
    free = [path for path, _ in samples if path not in kept]
    if not free:
        raise KcnnError(
            f"{root} has one picture a class, and none is left for testing: add pictures (some ten a class are a "
            f"beginning), or make the folders train and test."
        )
    chosen = {path for path in free if shares[path] < TEST} or {min(free, key=shares.__getitem__)}
    parts: tuple[list[Sample], list[Sample]] = ([], [])
    for sample in samples:
        parts[sample[0] in chosen].append(sample)
    return parts


def _share(name: Path) -> float:
    """A number in 0…1 that the name alone decides, on every machine."""
    digest = hashlib.sha256(os.fsencode(name.as_posix())).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
