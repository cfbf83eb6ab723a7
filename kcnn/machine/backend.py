"""The one place that chooses Keras' backend, device and precision, before keras is imported."""

import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from kcnn.errors import KcnnError, UsageError, unknown

BACKENDS = ("torch", "jax", "tensorflow")  # they train
INFERENCE = (*BACKENDS, "openvino", "numpy")  # they evaluate and predict
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16", "bfloat16")

# Backend → the package that computes. Keras' NumPy backend borrows its convolutions from JAX.
PACKAGES = {**{name: name for name in INFERENCE}, "numpy": "jax"}
OURS = "KCNN_SET_KERAS_BACKEND"  # tells child processes that KERAS_BACKEND is kcnn's choice, not the user's


def set_default() -> None:
    """Make torch the backend where the environment names none; ~/.keras/keras.json is overruled on purpose."""
    if not os.environ.get("KERAS_BACKEND"):
        os.environ.update({"KERAS_BACKEND": "torch", OURS: "1"})
    # Where TensorFlow is installed Keras imports it on any backend, and it greets at every start.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def named_by_environment() -> str:
    """The backend that the user's KERAS_BACKEND names; "" if they left it to kcnn."""
    return "" if OURS in os.environ else os.environ.get("KERAS_BACKEND", "")


def select(
    backend: str = "", device: str = "auto", precision: str = "float32", allowed: Sequence[str] = BACKENDS
) -> None:
    """Set backend, device and precision for this process, then import keras.

    Args:
        backend: one of `allowed`; "" keeps `KERAS_BACKEND`.
        device: "auto" (an accelerator where there is one), "cpu", "cuda" or "cuda:1".
        precision: a Keras dtype policy, one of `PRECISIONS`.
        allowed: `BACKENDS`, or `INFERENCE` for a job that does not train.

    Raises:
        UsageError: an unknown name, another one in KERAS_BACKEND, or keras is already imported with another backend.
        KcnnError: the backend is not installed or does not work, or there is no such device.
    """
    check_device(device)
    named = named_by_environment()
    if (backend or os.environ["KERAS_BACKEND"]) not in allowed:
        raise UsageError(unknown("backend", backend or os.environ["KERAS_BACKEND"], allowed))
    if backend and named and backend != named:
        raise UsageError(
            f"KERAS_BACKEND is {named!r}, but the backend asked for is {backend!r}: unset the one or change the other."
        )
    backend = backend or os.environ["KERAS_BACKEND"]
    if "keras" in sys.modules and sys.modules["keras"].backend.backend() != backend:
        raise UsageError(f"keras already runs on another backend in this process; set KERAS_BACKEND={backend} first.")
    os.environ.update({"KERAS_BACKEND": backend, OURS: "1"})
    if backend == "tensorflow":
        # torchvision, which reads some data sets, imports Triton if it can; its LLVM and TensorFlow's abort together.
        sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
    package = _load(backend, PACKAGES[backend])
    _select_device(backend, package, device)
    if backend == "openvino":
        # Its default is bfloat16 where the processor has it, and 1 image in 400 then changes its class.
        package.compile_model = partial(package.compile_model, config={"INFERENCE_PRECISION_HINT": "f32"})
    _load(backend, "keras").config.set_dtype_policy(precision)


def check_device(device: str) -> str:
    """The device, if it is one of those that `select` takes; they need not be there.

    Raises:
        UsageError: it is not.
    """
    kind, colon, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (colon and (kind != "cuda" or not index.isdigit())):
        raise UsageError(f"unknown device {device!r}. Allowed: auto, cpu, cuda, cuda:N.")
    return device


def installed(backend: str) -> bool:
    """Whether the packages of a backend are there; they may be broken."""
    return find_spec(PACKAGES[backend]) is not None


def not_installed(backend: str) -> str:
    """The sentence for a backend that is absent."""
    return f"The backend {backend!r} is not installed. Run: pip install {_requirement(backend)}"


def _requirement(backend: str) -> str:
    """What pip installs for a backend: torch is a dependency of kcnn, the others are extras."""
    return "torch torchvision" if backend == "torch" else f"'kcnn[{PACKAGES[backend]}]'"


def _load(backend: str, package: str) -> Any:
    if not installed(backend):
        raise KcnnError(not_installed(backend))
    try:
        return import_module(package)
    except Exception as error:  # a damaged or unfitting package raises anything, from OSError to AttributeError
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise KcnnError(
            f"The backend {backend!r} is installed but does not start ({reason[:160]}). "
            f"Run: pip install --force-reinstall {_requirement(backend)}"
        ) from error


def _select_device(backend: str, package: Any, device: str) -> None:
    """Tell the backend's own `package` where to compute."""
    if device == "auto":
        return
    kind, _, index = device.partition(":")
    number = int(index or 0)
    if kind == "cuda" and number >= _cuda_devices(backend, package):
        raise KcnnError(f"{backend} finds no CUDA device for device={device!r} on this machine. Use --device cpu.")
    if backend == "torch":
        os.environ["KERAS_TORCH_DEVICE"] = device
    elif backend == "jax" and kind == "cpu":
        package.config.update("jax_platforms", "cpu")
    elif backend == "jax":
        package.config.update("jax_default_device", package.devices("cuda")[number])
    elif backend == "tensorflow":
        cards = package.config.list_physical_devices("GPU")
        package.config.set_visible_devices([] if kind == "cpu" else cards[number], "GPU")


def _cuda_devices(backend: str, package: Any) -> int:
    """How many graphics cards the backend can use."""
    if backend == "torch":
        return int(package.cuda.device_count())
    if backend == "tensorflow":
        return len(package.config.list_physical_devices("GPU"))
    try:
        return len(package.devices("cuda")) if backend == "jax" else 0
    except RuntimeError:
        return 0


def device_name() -> str:
    """What the selected backend computes on, in words: "cpu" or the name of the graphics card."""
    import keras

    return {"torch": _torch_device, "jax": _jax_device, "tensorflow": _tensorflow_device}.get(
        keras.backend.backend(), lambda: "cpu"
    )()


def _torch_device() -> str:
    import torch

    from kcnn.machine.keras_internals import torch_device

    device = torch_device()
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def _jax_device() -> str:
    import jax

    config: Any = jax.config
    return str((config.jax_default_device or jax.devices()[0]).device_kind)


def _tensorflow_device() -> str:
    import tensorflow as tf

    cards = tf.config.get_visible_devices("GPU")
    return str(tf.config.experimental.get_device_details(cards[0])["device_name"]) if cards else "cpu"
