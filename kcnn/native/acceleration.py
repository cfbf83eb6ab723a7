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
from functools import cache
from typing import Any

log = logging.getLogger("kcnn")


def accelerate(model: Any, tune_process: bool = True) -> bool:
    """Let `fit`, `evaluate` and `predict` of a Keras model run natively on torch; the mathematics stays the same.

    Call it after `compile` (which undoes it), or, for a model that is only to predict, after loading. A model with a
    part that has no native form stays on Keras' own path, and a line in the log (logger "kcnn") names it; so does one
    whose native step fails, from that batch on. On jax and tensorflow, which compile by themselves, nothing happens.

    Args:
        model: a functional or sequential model of the ordinary layers of image classifiers; see
            `kcnn.native.layers.LAYERS`. Layers and operations of Keras without variables always work.
        tune_process: also set what holds for the whole process, once. On the CPU under Linux: glibc keeps freed memory
            instead of returning it (`mallopt`, which makes the process larger), after returning what is free now. On
            CUDA: cuDNN measures its algorithms (`torch.backends.cudnn.benchmark`).

    Returns:
        Whether the model now runs natively.

    Raises:
        TypeError: this is no Keras model.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise TypeError(f"kcnn.accelerate takes a Keras model. Received: {model!r} of type {type(model).__name__}.")
    if keras.backend.backend() != "torch":
        return False
    from kcnn.machine.keras_internals import torch_device
    from kcnn.native.fallback import Functions
    from kcnn.native.graph import reason
    from kcnn.native.steps import Steps

    try:
        Functions(Steps(model)).install()
    except Exception as error:  # the layers of other people raise anything; what cannot be lowered runs as ever
        log.info("%s runs on Keras' own path: no native form of %s.", model.name, reason(error))
        return False
    if tune_process:
        _tune(torch_device().partition(":")[0])
    return True


@cache
def _tune(device: str) -> None:
    if device == "cuda":
        import torch

        torch.backends.cudnn.benchmark = True
    elif device == "cpu":
        _keep_freed_memory()


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
