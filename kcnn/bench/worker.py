"""The child process of `kcnn.bench.rounds`: one engine that runs as many steps as each line of stdin says."""

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

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
    run = {"kcnn": _keras, "keras": _keras, "pytorch": _pytorch}[settings["engine"]](settings)
    _forget_peak()  # that of drawing the weights; they themselves still count
    for line in sys.stdin:
        steps = int(line)
        print(json.dumps(_answer(run, steps, settings)), file=answers, flush=True)


def _answer(run: Run, steps: int, settings: dict[str, Any]) -> dict[str, Any]:
    if steps < 0:
        return {"device": settings["device"], "precision": settings["precision"], "peak_memory_mb": _peak_memory()}
    if steps == 0:
        run(5)
    begun = time.perf_counter()
    run(steps or 3)
    return {"seconds": (time.perf_counter() - begun) / (1 if steps else 3)}


def data(settings: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, height, width, channels) and labels int64 (n,), the same in every engine."""
    count = BATCHES * settings["batch_size"]
    rng = np.random.default_rng(0)
    shape = SHAPES[MODELS[settings["model"]].dataset]
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8), rng.integers(0, CLASSES, count)


def _keras(settings: dict[str, Any]) -> Run:
    """A kcnn model in Keras' own fit and predict, accelerated if the engine is kcnn."""
    from kcnn.machine import backend

    backend.select("torch", settings["device"], settings["precision"])
    import keras

    from kcnn.data.batches import Direct, TrainingBatches
    from kcnn.data.dataset import Split
    from kcnn.models.registry import build_model
    from kcnn.native.acceleration import accelerate
    from kcnn.training.callbacks.rules import StopWhenNotFinite

    _measure_memory_from_here()
    images, labels = data(settings)
    model = build_model(settings["model"], images.shape[1:], CLASSES)
    if settings["mode"] == "train":
        model.compile(
            keras.optimizers.SGD(RATE, momentum=MOMENTUM),
            keras.losses.CategoricalCrossentropy(from_logits=True),
            metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        )
    if settings["engine"] == "kcnn" and not accelerate(model):
        raise SystemExit("kcnn.accelerate does not take the model")
    batch_size = settings["batch_size"]
    if settings["mode"] == "predict":
        return lambda steps: _predict(model, images, batch_size, steps)
    batches: Any = TrainingBatches(Split(images, labels), CLASSES, batch_size, epochs=10**6)
    callbacks: list[Any] = []
    if settings["engine"] == "kcnn":  # as `kcnn train` does it
        batches, callbacks = Direct(batches), [StopWhenNotFinite()]
    return lambda steps: model.fit(batches, steps_per_epoch=steps, shuffle=False, callbacks=callbacks, verbose=0)


def _predict(model: Any, images: np.ndarray, batch_size: int, steps: int) -> None:
    for done in range(0, steps, BATCHES):
        model.predict(images[: (steps - done) * batch_size], batch_size, verbose=0)


def _pytorch(settings: dict[str, Any]) -> Run:
    from kcnn.bench.handwritten import predictor, trainer

    _measure_memory_from_here()
    make = trainer if settings["mode"] == "train" else predictor
    return make(settings, *data(settings))


_before = 0


def _measure_memory_from_here() -> None:
    """Leave out what the imports took."""
    global _before
    with contextlib.suppress(OSError, KeyError):
        _before = _status("VmRSS")


def _forget_peak() -> None:
    """Linux lets a process do that for itself."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(key: str) -> int:
    """A line of Linux' /proc/self/status, in KB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0])


def _peak_memory() -> int:
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 2**20)
    try:
        return round((_status("VmHWM") - _before) / 2**10)
    except (OSError, KeyError):
        unit = 1 if sys.platform == "darwin" else 2**10
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
