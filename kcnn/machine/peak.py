"""How much memory this process takes, in bytes: of the graphics card that it computes on, or of the main memory."""

import contextlib
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")  # Linux' own figures: `ru_maxrss` of a child begins at what its parent had


def peak_memory(before: int = 0) -> int:
    """The most so far: of the graphics card where there is one, else of this process with its libraries and data.

    Args:
        before: bytes of the main memory that do not count.
    """
    keras = sys.modules.get("keras")
    measures = {"torch": _torch_peak, "jax": _jax_peak, "tensorflow": _tensorflow_peak}
    measure = measures.get(keras.backend.backend() if keras else "torch", lambda: 0)
    return measure() or _peak_resident() - before


def resident() -> int:
    """What the process holds of the main memory now; 0 where the system does not tell."""
    return _status("VmRSS") or 0


def forget_peak() -> None:
    """Let the peak of the main memory begin anew from what is held now; Linux lets a process do that for itself."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _torch_peak() -> int:
    import torch

    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else 0


def _jax_peak() -> int:
    import jax

    return int((jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0))


def _tensorflow_peak() -> int:
    import tensorflow as tf

    cards = tf.config.get_visible_devices("GPU")
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"]) if cards else 0


def _peak_resident() -> int:
    if found := _status("VmHWM"):
        return found
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status(key: str) -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return int(lines[key].split()[0]) * 1024
    except (OSError, KeyError):
        return None
