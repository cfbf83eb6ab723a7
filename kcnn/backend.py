"""The one place that chooses Keras' backend, device and precision, before keras is imported."""

import importlib.util
import os
import sys

from kcnn.errors import KcnnError, UsageError, unknown

BACKENDS = ("torch", "jax", "tensorflow")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16", "bfloat16")


def set_default() -> None:
    """Make torch the backend where the environment names none; ~/.keras/keras.json is overruled on purpose."""
    os.environ.setdefault("KERAS_BACKEND", "torch")


def select(backend: str = "", device: str = "auto", precision: str = "float32") -> None:
    """Set backend, device and precision for this process, then import keras.

    Args:
        backend: one of `BACKENDS`; "" keeps `KERAS_BACKEND`.
        device: "auto" (an accelerator where there is one), "cpu", "cuda" or "cuda:1".
        precision: a Keras dtype policy, one of `PRECISIONS`.

    Raises:
        UsageError: an unknown name, or keras is already imported with another backend.
        KcnnError: the backend is not installed, or there is no such device.
    """
    backend = backend or os.environ["KERAS_BACKEND"]
    if backend not in BACKENDS:
        raise UsageError(unknown("backend", backend, BACKENDS))
    if importlib.util.find_spec(backend) is None:
        raise KcnnError(f"The backend {backend!r} is not installed. Run: pip install 'kcnn[{backend}]'")
    if "keras" in sys.modules and sys.modules["keras"].backend.backend() != backend:
        raise UsageError(f"keras already runs on another backend in this process; set KERAS_BACKEND={backend} first.")
    os.environ["KERAS_BACKEND"] = backend
    _select_device(backend, device)
    import keras

    keras.config.set_dtype_policy(precision)


def _select_device(backend: str, device: str) -> None:
    if device == "auto":
        return
    if backend == "torch":
        import torch

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise KcnnError(f"torch finds no CUDA device on this machine, but device={device!r}. Use --device cpu.")
        os.environ["KERAS_TORCH_DEVICE"] = device
    elif backend == "jax":
        os.environ["JAX_PLATFORMS"] = device.partition(":")[0]
    elif device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def device_name() -> str:
    """What the selected backend computes on, in words: "cpu" or the name of the graphics card."""
    import keras

    if keras.backend.backend() == "torch":
        import torch
        from keras.src.backend.torch.core import get_device

        device = str(get_device())
        return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    if keras.backend.backend() == "jax":
        import jax

        return str(jax.devices()[0].device_kind)
    return str(keras.distribution.list_devices()[0])
