"""One backend on trial, in a process of its own: `python -m kcnn.doctor.trial BACKEND FILE` trains ten steps."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.doctor.bfloat16 import speedup
from kcnn.errors import KcnnError
from kcnn.machine.backend import BACKENDS, INFERENCE, device_name, select

STEPS = 10


def try_backend(backend: str) -> dict[str, Any]:
    """Train LeNet-5 for ten steps on the bundled digits, or predict on a backend that does not train.

    Raises:
        KcnnError: the backend does not start, or the loss does not fall.
    """
    select(backend, allowed=INFERENCE)
    from kcnn.data.registry import load_dataset
    from kcnn.models.registry import build_model

    digits = load_dataset("digits")
    model = build_model("lenet5", digits.train.images.shape[1:], mean=digits.mean, std=digits.std)
    begun = time.perf_counter()
    if backend in BACKENDS:
        targets = np.eye(10, dtype=np.float32)[digits.train.labels]
        note = _train(model, digits.train.images[:64], targets[:64])
    else:
        logits = np.asarray(model.predict(digits.test.images[:64], verbose=0))
        note = f"predicted {len(logits)} images"
        if not np.isfinite(logits).all():
            raise KcnnError(f"{backend} gives logits that are not finite.")
    seconds = round(time.perf_counter() - begun, 2)
    row = {"version": _backend_version(backend), "device": device_name(), "seconds": seconds, "note": note}
    return {**row, "bfloat16": _bfloat16()} if backend == "torch" else row


def _bfloat16() -> float:
    from kcnn.machine.keras_internals import torch_device

    return round(speedup(torch_device()), 2)


def _train(model: Any, images: Any, targets: Any) -> str:
    import keras

    from kcnn.methods.optimizers import make_optimizer
    from kcnn.native.acceleration import accelerate

    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(make_optimizer("sgd", 0.02, momentum=0.9), loss)
    accelerate(model)
    losses = [float(model.train_on_batch(images, targets)) for _ in range(STEPS)]
    if not losses[-1] < losses[0]:
        raise KcnnError(f"The loss does not fall in {STEPS} steps: {losses[0]:.3f} to {losses[-1]:.3f}.")
    return f"{STEPS} steps, loss {losses[0]:.2f} → {losses[-1]:.2f}"


def _backend_version(backend: str) -> str:
    """The running package's own word, without the build: its distribution may be called tensorflow-cpu."""
    return str(getattr(sys.modules[backend], "__version__", "")).partition("-")[0]


if __name__ == "__main__":
    try:
        Path(sys.argv[2]).write_text(json.dumps(try_backend(sys.argv[1])))
    except KcnnError as error:
        sys.exit(f"Error: {error}")
