"""From a study's TOML values to its rows; every mistake is found before anything runs."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kcnn.data.augment.operations import check_magnitudes
from kcnn.errors import UsageError, unknown
from kcnn.recipes.files import find_recipe, read_recipe, shipped_recipes
from kcnn.recipes.recipe import FIELDS, Recipe
from kcnn.results.views import parse_views
from kcnn.studies.study import OWN, REPORTED, Row, Study, folder_name

STUDY_KEYS = ("title", "about", "seeds", "base", "own", "row")
WORDS = ("name", "source", "note", "against", "weights_of", "test_of")
ROW_KEYS = (*WORDS, "reported", "seeds", "recipe", "own", "test")
FILES = ("study.toml", "report.")  # how the files beside the rows' folders begin
TEST_KEYS = ("augment", "tta")
# What is learned from what: kcnn's own recipe for a row has these from the row, unless it says otherwise.
SHARED = ("model", "model_options", "dataset", "data_dir", "classes", "image_size", "skip_bad")
Values = Mapping[str, Any]


class _Errors:
    """Collects sentences and the rows in which they are true, so that all mistakes are told at once."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}

    def catch(self, where: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """The function's result, or None if it raises a UsageError, which is kept."""
        try:
            return function(*arguments)
        except UsageError as error:
            self.found.setdefault(str(error), []).append(where)
            return None

    def end(self) -> None:
        """Raise a UsageError that has all sentences, if there are any."""
        if self.found:
            raise UsageError(" ".join(f"{_places(places)}{text}" for text, places in self.found.items()))


def _places(names: Sequence[str]) -> str:
    shown = [*names[:3], *([f"{len(names) - 3} more"] if len(names) > 3 else [])]
    return f"{', '.join(shown)}: " if any(names) else ""


def checked_study(name: str, values: Values, text: str) -> Study:
    """The study of these values, the file's `text` beside them.

    Raises:
        UsageError: all that is wrong, row by row.
    """
    errors = _Errors()
    errors.catch("", _check_keys, "a study", values, STUDY_KEYS)
    title, about = (errors.catch("", _word, values, key) for key in ("title", "about"))
    base = errors.catch("base", _base, values.get("base", {}))
    own = errors.catch("", _table, values, "own")
    seeds = errors.catch("", _seeds, values.get("seeds", 1))
    entries = errors.catch("", _entries, values.get("row"))
    errors.end()
    errors.catch("", _check_places, entries)
    rows: dict[str, Row] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"row {entry.get('name', number)!r}"
        row = errors.catch(where, _row, entry, base, own, seeds, rows)
        if row:
            rows[row.name] = row
    errors.end()
    _check_against(rows)
    return Study(name, title or name, about, rows, text)


def _row(entry: Values, base: Values, own: Values, seeds: tuple[int, ...], above: Mapping[str, Row]) -> Row:
    errors = _Errors()
    errors.catch("", _check_keys, "a row", entry, (*ROW_KEYS, *FIELDS))
    errors.catch("", _check_seed, entry)
    words = {key: errors.catch("", _word, entry, key) for key in WORDS}
    own_seeds = errors.catch("", _seeds, entry.get("seeds", list(seeds)))
    reported = errors.catch("", _reported, entry.get("reported"))
    errors.end()
    _check_name(words["name"])
    _check_above(words, above)
    row = Row(**words, place=folder_name(words["name"]), recipes={}, seeds=own_seeds, reported=reported)
    return (_tests if row.test_of else _trains)(row, entry, base, own)


def _trains(row: Row, entry: Values, base: Values, own: Values) -> Row:
    """The row with its recipes."""
    if "test" in entry:
        raise UsageError("test belongs to a row with test_of.")
    start = {"weights": f"row {row.weights_of}"} if row.weights_of else {}
    keys = {key: value for key, value in entry.items() if key in FIELDS}
    base = _values(_shipped(entry["recipe"])) if "recipe" in entry else base
    recipes = {REPORTED: Recipe.of({**_changed(base, keys), **start})}
    if "own" in entry:
        recipes[OWN] = _own_recipe(recipes[REPORTED], {**own, **_table(entry, "own"), **start})
    return replace(row, recipes=recipes)


def _own_recipe(reported: Recipe, changes: dict[str, Any]) -> Recipe:
    """kcnn's shipped recipe for what the row learns, or the one that `recipe` names, with the changes."""
    shared = {key: getattr(reported, key) for key in SHARED} | changes
    name = shared.pop("recipe", "")
    try:
        _check_seed(changes)
        start = _shipped(name) if name else find_recipe("", shared["model"], shared["dataset"])[1]
        return Recipe.of(_changed(_values(start), shared))
    except UsageError as error:
        raise UsageError(f"own: {error}") from error


def _changed(values: Values, changes: Values) -> dict[str, Any]:
    """The values with the changes; as in `kcnn train`, fewer epochs warm up for half of them at most."""
    changed = {**values, **changes}
    epochs, warmup = changes.get("epochs"), values.get("warmup_epochs", 0)
    if type(epochs) is int and isinstance(warmup, (int, float)) and "warmup_epochs" not in changes:
        changed["warmup_epochs"] = min(warmup, epochs / 2)
    return changed


def _tests(row: Row, entry: Values, base: Values, own: Values) -> Row:
    """The row with what it changes in the test."""
    trains = [key for key in entry if key in FIELDS or key in ("recipe", "own", "seeds")]
    if trains:
        raise UsageError(f"it tests the networks of {row.test_of} and trains none: leave out {', '.join(trains)}.")
    test = _table(entry, "test")
    _check_keys("test", test, TEST_KEYS)
    augment, tta = _table(test, "augment"), _word(test, "tta")
    if not augment and not tta:
        raise UsageError("test must say what changes: augment, such as {crop = 4}, or tta, such as 'flip'.")
    parse_views(tta)
    return replace(row, augment=check_magnitudes(augment), tta=tta)


def _check_name(name: str) -> None:
    if not name.isprintable() or not folder_name(name):
        raise UsageError(f"name must be words, with a letter or digit; received {name!r}.")
    if folder_name(name).casefold().startswith(FILES):
        raise UsageError(f"the name {name!r} would lie on one of the study's own files: choose another.")


def _check_places(entries: Sequence[Values]) -> None:
    """No two rows may have one name, or one folder."""
    taken: dict[str, str] = {}
    for name in [entry["name"].strip() for entry in entries if isinstance(entry.get("name"), str)]:
        place = folder_name(name).casefold()
        if taken.get(place) == name:
            raise UsageError(f"the name {name!r} is used twice.")
        if place and place in taken:
            raise UsageError(f"the names {taken[place]!r} and {name!r} would share the folder {place}.")
        taken[place] = name


def _check_above(words: Mapping[str, str], above: Mapping[str, Row]) -> None:
    """A row stands on rows above it alone, so that none stands on itself, and on such as train."""
    if words["weights_of"] and words["test_of"]:
        raise UsageError("weights_of and test_of do not go together: a row of tests trains nothing.")
    trained = [name for name, row in above.items() if not row.test_of]
    for key in ("weights_of", "test_of"):
        if words[key] and words[key] not in trained:
            raise UsageError(unknown(f"row above in {key}", words[key], trained))


def _check_against(rows: Mapping[str, Row]) -> None:
    for row in rows.values():
        if row.against and row.against not in rows:
            raise UsageError(f"row {row.name!r}: {unknown('row in against', row.against, rows)}")


def _check_keys(what: str, values: Values, allowed: Collection[str]) -> None:
    if wrong := [unknown(f"key of {what}", key, allowed) for key in values if key not in allowed]:
        raise UsageError(" ".join(wrong))


def _check_seed(values: Values) -> None:
    if "seed" in values:
        raise UsageError("seed is set by seeds: leave it out.")


def _base(value: Any) -> Values:
    if isinstance(value, str):
        return _values(_shipped(value))
    if not isinstance(value, Mapping):
        raise UsageError(f"it must be a shipped recipe's name or a table of recipe keys; received {value!r}.")
    _check_seed(value)
    _check_keys("a recipe", value, FIELDS)
    return value


def _shipped(name: Any) -> Recipe:
    shipped = shipped_recipes()
    if not isinstance(name, str) or name not in shipped:
        raise UsageError(unknown("recipe", name, shipped))
    return read_recipe(shipped[name])


def _values(recipe: Recipe) -> dict[str, Any]:
    return {key: getattr(recipe, key) for key in FIELDS}


def _entries(value: Any) -> Sequence[Values]:
    if not isinstance(value, list) or not value or not all(isinstance(entry, Mapping) for entry in value):
        raise UsageError("a study has at least one [[row]].")
    return value


def _word(values: Values, key: str) -> str:
    value = values.get(key, "")
    if not isinstance(value, str):
        raise UsageError(f"{key} must be text; received {value!r}.")
    return value.strip()


def _table(values: Values, key: str) -> Values:
    value = values.get(key, {})
    if not isinstance(value, Mapping):
        raise UsageError(f"{key} must be a table of keys; received {value!r}.")
    return value


def _seeds(value: Any) -> tuple[int, ...]:
    """A number of seeds, from 0 on, or a list of them."""
    seeds = list(range(value)) if type(value) is int and value < 10_000 else value
    good = isinstance(seeds, list) and all(type(seed) is int and 0 <= seed <= 2**31 for seed in seeds)
    if not good or not seeds or len(set(seeds)) < len(seeds):
        raise UsageError(f"seeds must be how many, or a list of different whole numbers; received {value!r}.")
    return tuple(seeds)


def _reported(value: Any) -> float | str | None:
    if value is None or (isinstance(value, str) and value.strip()):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        if 0 <= value <= 1:
            return float(value)
        raise UsageError(f"reported is an accuracy from 0 to 1, such as {value / 100:.6g} for {value:g} %.")
    raise UsageError(f"reported must be an accuracy from 0 to 1, or words; received {value!r}.")
