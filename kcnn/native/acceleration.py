"""Native torch execution of an ordinary functional Keras model: `kcnn.accelerate(model)`.

```python
import keras, kcnn

model = keras.Sequential([
    keras.Input((32, 32, 3)),
    keras.layers.Conv2D(32, 3, activation="relu"),
    keras.layers.MaxPooling2D(),
    keras.layers.Flatten(),
    keras.layers.Dense(10),
])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"])
kcnn.accelerate(model)          # the only new line; again after every compile()
model.fit(images, labels, epochs=5)
model.save("model.keras")       # an ordinary Keras file
```

The model stays what it was: its variables own the weights, and `save`, `get_weights`, `set_weights`, callbacks and
schedules work as ever. What changes is how a step runs: the graph of layers becomes a flat list of torch calls on
channels-last tensors, without copies between layers, and the optimizer updates all weights in a few fused calls.
"""

import contextlib
import logging
from typing import Any

log = logging.getLogger("kcnn")


def accelerate(model: Any) -> bool:
    """Let `fit`, `evaluate` and `predict` of a Keras model run natively on torch; the mathematics stays the same.

    Call it after `compile` (which undoes it), or, for a model that is only to predict, after loading. A layer that
    is not known here leaves the model on Keras' own path, and a line in the log (logger "kcnn") names it. On jax and
    tensorflow, which compile by themselves, nothing happens.

    Args:
        model: a functional or sequential model of the ordinary layers of image classifiers; see
            `kcnn.native.layers.LAYERS`. Layers and operations of Keras without variables always work.

    Returns:
        Whether the model now runs natively.
    """
    import keras

    if keras.backend.backend() != "torch":
        return False
    from kcnn.native.graph import Unsupported

    try:
        _install(model)
    except Unsupported as reason:
        log.info("%s runs on Keras' own path: no native form of %s.", model.name, reason)
        return False
    return True


def _install(model: Any) -> None:
    from kcnn.machine.keras_internals import torch_trainer
    from kcnn.native.graph import Unsupported
    from kcnn.native.steps import Steps

    for method in ("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics"):
        if getattr(type(model), method) is not getattr(torch_trainer(), method):
            raise Unsupported(f"{type(model).__name__}'s own {method}")
    steps = Steps(model)
    _keep_freed_memory()
    model.predict_function = steps.predict
    if model.compiled:
        model.test_function = steps.test
        if model.trainable_variables:
            model.train_function = steps.train


def _keep_freed_memory() -> None:
    """Ask glibc not to return memory to the system: every step takes the same again, and fresh pages cost time."""
    import ctypes
    import sys

    trim_threshold, most_mmaps = -1, -4  # of malloc.h
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            libc.malloc_trim(0)  # but not what building the model left
            libc.mallopt(trim_threshold, -1)  # never
            libc.mallopt(most_mmaps, 0)  # each tensor of 32 MiB or more would be its own mapping, new in every step
