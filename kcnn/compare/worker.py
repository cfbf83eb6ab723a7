"""One backend's part of a comparison, in its own process: `python -m kcnn.compare.worker FOLDER BACKEND`.

The first steps are taken twice. Once one by one, to see whether the backends compute the same: plain SGD at a low
rate, without dropout, whose draws are each backend's own. At the rate of a recipe a training is chaotic: rounding
decides on which side of zero an activation falls, or which pixel of a pool is the largest, and with it a piece of the
gradient; in AlexNet a change of the last bit of the weights moves the loss by 1 % within 20 steps, on one and the same
backend. Then the training proper runs as `kcnn train` would run it.
"""

import shutil
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.errors import KcnnError
from kcnn.machine.files import write_json
from kcnn.machine.peak import peak_memory
from kcnn.recipes.files import read_recipe
from kcnn.recipes.recipe import Recipe
from kcnn.run.directory import RunDir
from kcnn.run.manifest import make_manifest

START, REPORT, LOGITS = "start.keras", "compare.json", "logits.npy"
STEPS, RATE = 20, 1e-4  # of the step-by-step part
IMAGES = 256  # test images whose logits are compared


def work(recipe: Recipe, run: RunDir, start: Path) -> dict[str, Any]:
    """Train in `run` from the weights of `start`, which is made if it is not there; the numbers of this backend."""
    from kcnn.machine.backend import device_name
    from kcnn.training.trainer import train

    if not start.exists():
        _write_start(recipe, start)
    first = _first_steps(recipe, run, start)
    write_json(run.manifest, make_manifest(recipe.seed, device_name()))
    shutil.copy(start, run.last)
    result = train(recipe, run, resume=True)
    return {
        "images_per_second": result["images_per_second"],
        "compile_seconds": first["seconds"][0],
        "peak_memory_mb": round(peak_memory() / 2**20),
        "test_accuracy": result["test"]["accuracy"],
        "losses": _epoch_losses(run),
        "step_losses": first["losses"],
        "batches": first["batches"],
    }


def _write_start(recipe: Recipe, path: Path) -> None:
    """A run before its first step, in the form of `last.keras`: every backend resumes from this file."""
    from kcnn.recipes.origin import make_origin
    from kcnn.recipes.parts import load_parts
    from kcnn.recipes.stages import plan_stages
    from kcnn.run.checkpoint import save_model
    from kcnn.training.construct import new_model, prepare

    parts = load_parts(recipe)
    model = new_model(recipe, parts.dataset)
    prepare(model, recipe, plan_stages(recipe)[0].frozen)
    info = {"class_names": parts.class_names, "epoch": 0, "history": [], "origin": make_origin(recipe, parts)}
    save_model(model, path, info, model.optimizer)


def _first_steps(recipe: Recipe, run: RunDir, start: Path) -> dict[str, Any]:
    """Write the logits of the start; the losses and seconds of the first steps, and a checksum of their batches."""
    import keras

    from kcnn.native.acceleration import accelerate
    from kcnn.recipes.parts import load_parts
    from kcnn.recipes.stages import plan_stages
    from kcnn.results.logits import predict_logits
    from kcnn.run.checkpoint import load_model
    from kcnn.training.construct import training_batches

    parts = load_parts(recipe)
    model, _ = load_model(start)
    np.save(run.path / LOGITS, predict_logits(model, parts.dataset.test.images[:IMAGES]))
    without_dropout(model)
    model.compile(keras.optimizers.SGD(RATE), keras.losses.CategoricalCrossentropy(from_logits=True))
    accelerate(model)
    batches = training_batches(recipe, plan_stages(recipe)[0], parts, 0)
    losses, seconds, checksum = [], [], 0
    for index in range(min(STEPS + 1, batches.num_batches)):
        batch = batches[index]
        checksum = _checksum(batch, checksum)
        begun = time.perf_counter()
        losses.append(step(model, *batch))
        seconds.append(round(time.perf_counter() - begun, 4))
    return {"losses": losses, "seconds": seconds, "batches": checksum}


def step(model: Any, images: Any, targets: Any) -> float:
    """One training step of a compiled model; the loss of this batch alone, before the weights change."""
    model.reset_metrics()
    return float(model.train_on_batch(images, targets, return_dict=True)["loss"])


def without_dropout(model: Any) -> None:
    """Set every dropout rate to 0."""
    import keras

    from kcnn.machine.keras_internals import all_layers

    for layer in all_layers(model):
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0


def _checksum(batch: Any, checksum: int) -> int:
    from keras import ops

    for part in batch:
        checksum = zlib.crc32(np.ascontiguousarray(ops.convert_to_numpy(part)).tobytes(), checksum)
    return checksum


def _epoch_losses(run: RunDir) -> list[float]:
    from kcnn.run.history import History

    return [row["loss"] for row in History.from_csv(run.log.read_text()).rows]


def main(folder: str, backend: str) -> None:
    """Read FOLDER/BACKEND/recipe.toml, do the work, and leave the numbers in FOLDER/BACKEND/compare.json."""
    from kcnn.machine.backend import select

    run = RunDir(Path(folder) / backend)
    recipe = read_recipe(run.recipe)
    select(recipe.backend, recipe.device, recipe.precision)
    write_json(run.path / REPORT, work(recipe, run, Path(folder) / START))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KcnnError as error:
        sys.exit(f"Error: {error}")
