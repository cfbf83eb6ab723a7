"""What a run was begun with: kept in `last.keras`, and compared before the run goes on, so that it stays one run."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.data.dataset import Split
from kcnn.errors import KcnnError, UsageError, command
from kcnn.methods.schedules import OPEN_ENDED
from kcnn.recipes.parts import Parts
from kcnn.recipes.recipe import FIELDS, Recipe

# The keys that may change while a run goes on, and why; every other one is part of what was learned so far.
MAY_CHANGE = {
    "epochs": "it says when the run ends; with a schedule that looks at the end it may not change: see `check_epochs`",
    "patience": "it says when the run ends",
    "data_dir": "it says where the images are; they themselves are compared",
    "device": "the same mathematics, though rounding and the draws of dropout are each device's own",
    "backend": "likewise each backend's",
    "tensorboard": "it says what else is written",
}

Origin = Mapping[str, Any]


def make_origin(recipe: Recipe, parts: Parts) -> dict[str, Any]:
    """The recipe's values, and of each part of the images how many they are and a digest; ready for JSON."""
    return {"recipe": asdict(recipe), "images": fingerprint(parts)}


def fingerprint(parts: Parts) -> dict[str, dict[str, Any]]:
    """Part → how many images, and a digest of their labels and pixels in their order."""
    splits = {"training": parts.train, "validation": parts.validation, "test": parts.dataset.test}
    return {name: {"count": len(split), "digest": digest(split)} for name, split in splits.items()}


def digest(split: Split) -> str:
    """16 letters; a second for about a gigabyte of pixels."""
    state = hashlib.blake2b(str(split.images.shape).encode(), digest_size=8)
    state.update(split.labels.astype("<i8").tobytes())
    state.update(np.ascontiguousarray(split.images).data)
    return state.hexdigest()


def check_recipe(began: Origin, recipe: Recipe, run: Path) -> str:
    """What has changed of the settings and may, in words; "" if nothing.

    Args:
        began: of the `last.keras` in the directory `run`.

    Raises:
        KcnnError: what has changed makes it another run.
    """
    then, now = began["recipe"], asdict(recipe)
    values = {key: (then.get(key, getattr(Recipe(), key)), now[key]) for key in FIELDS}
    words = {key: f"{key} was {a!r} and is {b!r}" for key, (a, b) in values.items() if not _same(a, b)}
    if refused := [text for key, text in words.items() if key not in MAY_CHANGE]:
        place = run / "recipe.toml"
        raise KcnnError(
            f"{place} no longer says what this run was begun with: {'; '.join(refused)}. Put back what was to "
            f"continue the run, or begin another one: {command('train', '--recipe', place)}"
        )
    if "epochs" in words:
        check_epochs(recipe, run)
    return "; ".join(words.values())


def check_epochs(recipe: Recipe, run: Path) -> None:
    """Refuse another number of epochs for a run that goes on, where its rates so far would have been others.

    Raises:
        UsageError: naming the way out.
    """
    way_out = f"Begin a new run from its weights: {command('train', '--weights', run)}"
    if recipe.schedule not in OPEN_ENDED:
        raise UsageError(
            f"The epochs of {run} cannot change: schedule {recipe.schedule} leads the learning rate to the last epoch, "
            f"so the rates so far would have been others (not so with {', '.join(OPEN_ENDED)}). {way_out}"
        )
    if recipe.lookahead and recipe.lookahead_power:
        raise UsageError(
            f"The epochs of {run} cannot change: lookahead's share of the slow average rises to the last epoch, so it "
            f"would have been another so far (not so with lookahead_power = 0). {way_out}"
        )


def check_images(began: Origin, parts: Mapping[str, Mapping[str, Any]], run: Path) -> None:
    """Refuse other images than those with which a run was begun.

    Args:
        parts: of `fingerprint`; some of its parts are enough.

    Raises:
        KcnnError: naming the parts, and how many images they had and have.
    """
    if changes := changed_images(began, parts):
        raise KcnnError(
            f"The images are not those with which {run} was begun: {changes}. What was trained on could now be in "
            f"validation or test. Put the images back (--data-dir if they are elsewhere), or begin a new run from "
            f"these weights: {command('train', '--weights', run)}"
        )


def changed_images(began: Origin, parts: Mapping[str, Mapping[str, Any]]) -> str:
    """The parts whose images are others than at the beginning, in words; "" if none is."""
    words = []
    for name, now in parts.items():
        then = began["images"].get(name)
        if now == then:
            continue
        before = then.get("count") if isinstance(then, dict) else None
        if before == now["count"]:
            words.append(f"{name} has {before} images as before, but some of them are others")
        else:
            words.append(f"{name} had {before} images and has {now['count']}")
    return "; ".join(words)


def _same(then: Any, now: Any) -> bool:
    """Equal, and of a table in the same order: augmentations are applied in theirs."""
    return then == now and (not isinstance(now, dict) or list(then) == list(now))
