"""One training on several backends: the same weights and batches; what each takes, and how far they agree."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.compare.worker import LOGITS, REPORT
from kcnn.errors import listed
from kcnn.machine.backend import BACKENDS, installed, not_installed
from kcnn.machine.files import write_json, write_text
from kcnn.machine.processes import run_module
from kcnn.recipes.recipe import Recipe

COLUMNS = ("images_per_second", "compile_seconds", "peak_memory_mb", "test_accuracy", "losses")
AFTER = (1, 5, 10, 20)  # steps
Row = dict[str, Any]


def parse_backends(text: str) -> list[str]:
    """`torch,jax` → its names; see `kcnn.errors.listed`."""
    return listed("backend", text, BACKENDS)


def compare_backends(
    recipe: Recipe, backends: Sequence[str], folder: Path, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Train the recipe on each backend in turn, in a process of its own; a run directory a backend in `folder`.

    Args:
        folder: an empty directory; gets `compare.json`, `compare.png` and the common `start.keras` too.
        say: is told each epoch.

    Returns:
        `{"backends": {name: {a number or list for each of COLUMNS} or {"error": why}}, "agreement": …}`
    """
    from kcnn.compare.plot import draw_backends

    rows = {backend: _train(recipe.replace(backend=backend), folder, say) for backend in backends}
    good = {name: row for name, row in rows.items() if "error" not in row}
    report = {
        "backends": {name: {key: row[key] for key in COLUMNS} if name in good else row for name, row in rows.items()},
        "agreement": agreement(good, [np.load(folder / name / LOGITS) for name in good]),
    }
    write_json(folder / REPORT, report)
    if good:
        title = f"{recipe.model} on {recipe.dataset}, batch size {recipe.batch_size}"
        draw_backends(good, title, folder / "compare.png")
    return report


def _train(recipe: Recipe, folder: Path, say: Callable[[str], None]) -> Row:
    """One backend's numbers, or why there are none."""
    backend = recipe.backend
    if not installed(backend):
        return {"error": not_installed(backend)}
    run = folder / backend
    run.mkdir(parents=True)
    write_text(run / "recipe.toml", recipe.to_toml())

    def relay(line: str) -> None:
        if line.startswith("epoch "):  # the rest is what the libraries say for themselves
            say(f"{backend:10}  {line}")

    failure = run_module("kcnn.compare.worker", [str(folder), backend], backend, relay)
    return {"error": failure} if failure else json.loads((run / REPORT).read_text())


def agreement(rows: Mapping[str, Row], logits: Sequence[np.ndarray]) -> dict[str, Any]:
    """The largest differences between any two backends; None where fewer than two have worked.

    Returns:
        `logits_max_abs`: of the logits at the start; `loss_after_steps`: steps → of the loss of the next batch,
        without dropout; `loss_after_steps_relative`: the same over the mean of the losses; `same_batches`: whether
        all saw the same pixels and labels in these steps.
    """
    pairs = list(combinations(range(len(rows)), 2))
    losses = np.array([row["step_losses"] for row in rows.values()])
    steps = [k for k in AFTER if rows and k < losses.shape[1]]
    spread = {str(k): float(np.ptp(losses[:, k])) if pairs else None for k in steps}
    relative = {str(k): float(np.ptp(losses[:, k]) / losses[:, k].mean()) if pairs else None for k in steps}
    return {
        "logits_max_abs": max((float(np.abs(logits[a] - logits[b]).max()) for a, b in pairs), default=None),
        "loss_after_steps": spread,
        "loss_after_steps_relative": relative,
        "same_batches": len({row["batches"] for row in rows.values()}) == 1 if pairs else None,
    }
