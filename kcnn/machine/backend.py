"""The one place that chooses Keras' backend, device and precision, before keras is imported."""

import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
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
GREETING = re.compile(rb"[IW]\d{4} |WARNING: All log messages before absl|To enable the following instructions")


def set_default() -> None:
    """Make torch the backend where the environment names none; ~/.keras/keras.json is overruled on purpose."""
    if not os.environ.get("KERAS_BACKEND"):
        os.environ.update({"KERAS_BACKEND": "torch", OURS: "1"})
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets at every start


def named_by_environment() -> str:
    """The backend that the user's KERAS_BACKEND names; "" if they left it to kcnn."""
    return "" if OURS in os.environ else os.environ.get("KERAS_BACKEND", "")


def select(
    backend: str = "", device: str = "auto", precision: str = "float32", allowed: Sequence[str] = BACKENDS
) -> None:
    """Set backend, device and precision for this process, and import keras, whose `keras.json` is overruled.

    A second call can change the precision, of models that are built afterwards; backend and device are fixed once
    keras is imported. On tensorflow Triton is kept out of the process, since importing it after TensorFlow aborts
    Python: two copies of LLVM. Who needs both imports Triton first.

    Args:
        backend: one of `allowed`; "" keeps `KERAS_BACKEND`.
        device: "auto" (the one in use, else an accelerator where there is one), "cpu", "cuda" or "cuda:1".
        precision: a Keras dtype policy, one of `PRECISIONS`.
        allowed: `BACKENDS`, or `INFERENCE` for a job that does not train.

    Raises:
        UsageError: an unknown name, another one in KERAS_BACKEND, or keras already runs on another backend or device.
        KcnnError: the backend is not installed or does not work, or there is no such device.
    """
    check_device(device)
    if precision not in PRECISIONS:
        raise UsageError(unknown("precision", precision, PRECISIONS))
    backend = _chosen(backend, allowed)
    os.environ.update({"KERAS_BACKEND": backend, OURS: "1"})
    if backend == "tensorflow":
        sys.modules.setdefault("triton", None)  # type: ignore[arg-type]  # torchvision would import it
    package = _load(backend, PACKAGES[backend])
    if device != "auto":
        _select_device(backend, package, device)
    if backend == "openvino":
        # Its default is bfloat16 where the processor has it, and 1 image in 400 then changes its class.
        package.compile_model = partial(package.compile_model, config={"INFERENCE_PRECISION_HINT": "f32"})
    keras = load_keras()
    _forget_configuration(keras)
    keras.config.set_dtype_policy(precision)


def _chosen(backend: str, allowed: Sequence[str]) -> str:
    """The backend of this process, or a UsageError if it cannot be that one."""
    named = named_by_environment()
    if (chosen := backend or os.environ["KERAS_BACKEND"]) not in allowed:
        raise UsageError(unknown("backend", chosen, allowed))
    if backend and named and backend != named:
        raise UsageError(
            f"KERAS_BACKEND is {named!r}, but the backend asked for is {backend!r}: unset the one or change the other."
        )
    if "keras" in sys.modules and (running := sys.modules["keras"].backend.backend()) != chosen:
        raise UsageError(
            f"keras already runs on another backend in this process, {running}: set KERAS_BACKEND={chosen} before "
            f"keras is imported, or start a new process."
        )
    return chosen


def load_keras() -> Any:
    """Keras. If this is what imports it, its defaults hold, whatever the user's `keras.json` says.

    Raises:
        KcnnError: it does not start; naming `keras.json` where that is why.
    """
    if "keras" in sys.modules:
        return sys.modules["keras"]
    try:
        keras = _load(os.environ["KERAS_BACKEND"], "keras")
    except KcnnError as error:
        cause = error.__cause__ or error
        raise (_unfit_configuration(cause) or error) from cause
    _forget_configuration(keras)
    return keras


def _forget_configuration(keras: Any) -> None:
    """What kcnn relies on: Keras' own defaults."""
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)


def _unfit_configuration(error: BaseException) -> KcnnError | None:
    """The error for a `keras.json` that Keras does not take, if it was reading that file."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") == "keras.src.backend.config":
            path = frame.f_globals.get("_config_path", "keras.json")
            return KcnnError(f"Keras cannot use its settings in {path} ({_reason(error)}): mend or delete that file.")
    return None


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
        with _without_greeting() if package == "tensorflow" else nullcontext():
            return import_module(package)
    except Exception as error:  # a damaged or unfitting package raises anything, from OSError to AttributeError
        raise KcnnError(
            f"The backend {backend!r} is installed but does not start ({_reason(error)}). "
            f"Run: pip install --force-reinstall {_requirement(backend)}"
        ) from error


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


@contextmanager
def _without_greeting() -> Iterator[None]:
    """Drop what TensorFlow's C++ logs on stderr before anything can be set; the rest comes out at the end."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as heard:
        os.dup2(heard.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            heard.seek(0)
            for line in heard:
                if not GREETING.match(line):
                    os.write(2, line)


def _select_device(backend: str, package: Any, device: str) -> None:
    """Tell the backend's own `package` where to compute, before keras is imported."""
    kind, _, index = device.partition(":")
    number = int(index or 0)
    if kind == "cuda" and number >= _cuda_devices(backend, package):
        raise KcnnError(f"{backend} finds no CUDA device for device={device!r} on this machine. Use --device cpu.")
    if "keras" in sys.modules:
        wanted = f"cuda:{number}" if kind == "cuda" else kind
        if (running := _running_device(backend, package)) != wanted:
            raise UsageError(
                f"keras already computes on {running} in this process, so device={device!r} comes too late: select it "
                f"before keras is imported, or start a new process."
            )
    elif backend == "torch":
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


def _running_device(backend: str, package: Any) -> str:
    """Where keras computes already: "cpu", "cuda:1", …"""
    if backend == "torch":
        from kcnn.machine.keras_internals import torch_device

        kind, _, index = torch_device().partition(":")
        return f"cuda:{index or 0}" if kind == "cuda" else kind
    if backend == "jax":
        device = package.config.jax_default_device or package.devices()[0]
        return "cpu" if device.platform == "cpu" else f"cuda:{device.id}"
    cards = package.config.get_visible_devices("GPU") if backend == "tensorflow" else []
    return f"cuda:{cards[0].name.rpartition(':')[2]}" if cards else "cpu"


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
