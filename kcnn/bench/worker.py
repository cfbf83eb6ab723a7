"""The child process of `kcnn.bench.rounds`: one engine that runs as many steps as each line of stdin says."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from kcnn.machine.peak import forget_peak, peak_memory, resident
from kcnn.machine.randomness import generator
from kcnn.models.registry import MODELS

Run = Callable[[int], None]  # a number of steps; it returns when they are done, on the device too

SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
CLASSES = 10
BATCHES = 64  # batches in memory; longer rounds go through them again
RATE, MOMENTUM = 0.01, 0.9


def main() -> None:
    """Answer each number of steps with a line of JSON, see `kcnn.bench.rounds`."""
    answers, sys.stdout = sys.stdout, sys.stderr
    settings = json.loads(sys.argv[1])
    import torch

    if settings["device"] == "auto":
        settings["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    settings["precision"] = settings["precision"] or ("mixed_bfloat16" if "cuda" in settings["device"] else "float32")
    make = {"kcnn": _keras, "keras": _keras, "pytorch": _pytorch}[settings["engine"]](settings)
    imported = resident()  # what the libraries took does not count
    run = make()
    forget_peak()  # that of drawing the weights; they themselves still count
    for line in sys.stdin:
        print(json.dumps(_answer(run, int(line), settings, imported)), file=answers, flush=True)


def _answer(run: Run, steps: int, settings: dict[str, Any], imported: int) -> dict[str, Any]:
    if steps < 0:
        peak = round(peak_memory(imported) / 2**20)
        return {"device": settings["device"], "precision": settings["precision"], "peak_memory_mb": peak}
    if steps == 0:
        run(5)
    begun = time.perf_counter()
    run(steps or 3)
    return {"seconds": (time.perf_counter() - begun) / (1 if steps else 3)}


def data(settings: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, height, width, channels) and labels int64 (n,), the same in every engine."""
    count = BATCHES * settings["batch_size"]
    rng = generator(0, "bench")
    shape = SHAPES[MODELS[settings["model"]].dataset]
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8), rng.integers(0, CLASSES, count)


def _keras(settings: dict[str, Any]) -> Callable[[], Run]:
    """A kcnn model in Keras' own fit and predict; the engine kcnn runs what `kcnn train` and `kcnn predict` do."""
    from kcnn.machine import backend

    backend.select("torch", settings["device"], settings["precision"])
    import kcnn.training.construct  # noqa: F401  with all that it imports

    return lambda: (_keras_trainer if settings["mode"] == "train" else _keras_predictor)(settings)


def _keras_trainer(settings: dict[str, Any]) -> Run:
    from kcnn.data.batches import Direct
    from kcnn.recipes.parts import Parts
    from kcnn.recipes.recipe import Recipe
    from kcnn.recipes.stages import plan_stages
    from kcnn.training.construct import compile_model, new_model, prepare, step_callbacks, training_batches

    dataset = _dataset(settings)
    keys = {"learning_rate": RATE, "momentum": MOMENTUM, "epochs": 10**6}
    recipe = Recipe.of({"model": settings["model"], "batch_size": settings["batch_size"], **keys})
    model = new_model(recipe, dataset)
    (stage,) = plan_stages(recipe)
    batches: Any = training_batches(recipe, stage, Parts(dataset, dataset.train, dataset.test), 0)
    callbacks: list[Any] = []
    if settings["engine"] == "keras":
        compile_model(model, recipe)
    elif prepare(model, recipe, stage.frozen):
        callbacks, batches = step_callbacks(recipe, stage, batches), Direct(batches)
    else:
        raise SystemExit("kcnn.accelerate does not take the model")
    return lambda steps: model.fit(batches, steps_per_epoch=steps, shuffle=False, callbacks=callbacks, verbose=0)


def _dataset(settings: dict[str, Any]) -> Any:
    from kcnn.data.dataset import Dataset, Split

    split = Split(*data(settings))
    channels = split.images.shape[-1]
    return Dataset(split, split, [str(label) for label in range(CLASSES)], [0.5] * channels, [0.25] * channels)


def _keras_predictor(settings: dict[str, Any]) -> Run:
    from kcnn.models.registry import build_model
    from kcnn.native.acceleration import accelerate

    images, _ = data(settings)
    model = build_model(settings["model"], images.shape[1:], CLASSES)
    if settings["engine"] == "kcnn" and not accelerate(model):
        raise SystemExit("kcnn.accelerate does not take the model")

    def run(steps: int) -> None:
        for done in range(0, steps, BATCHES):
            model.predict(images[: (steps - done) * settings["batch_size"]], settings["batch_size"], verbose=0)

    return run


def _pytorch(settings: dict[str, Any]) -> Callable[[], Run]:
    from kcnn.bench.handwritten import predictor, trainer

    make = trainer if settings["mode"] == "train" else predictor
    return lambda: make(settings, *data(settings))


if __name__ == "__main__":
    main()
