"""Python processes with a Keras backend of their own: a process can import keras only once, with one backend."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from kcnn.machine.backend import OURS
from kcnn.machine.stopping import ending


def run_module(
    module: str, arguments: list[str], backend: str, relay: Callable[[str], None] | None = None, threads: int = 0
) -> str:
    """Run `python -m module arguments…` of this interpreter on `backend` and wait for it.

    Args:
        relay: is given each line of the child's stderr at once.
        threads: how many the child may compute with; 0: as many as it likes.

    Returns:
        "" if it ended well, else the reason in one line: the last that it said.
    """
    command = [sys.executable, "-m", module, *arguments]
    lines = [""]
    child = subprocess.Popen(
        command,
        env=environment(backend) | ({"OMP_NUM_THREADS": str(threads)} if threads else {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    with child, ending(child.terminate):
        for line in child.stderr or ():
            lines += [line.strip()] if line.strip() else []
            if relay:
                relay(line.rstrip())
        child.wait()
    return "" if child.returncode == 0 else _reason(child.returncode, lines[-1])


def environment(backend: str) -> dict[str, str]:
    """This process's environment with `backend` chosen, and this very kcnn first to be found.

    A folder called jax where the user stands is not to be imported: `kcnn compare` itself writes such folders.
    """
    here = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "KERAS_BACKEND": backend, OURS: "1", "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def processors() -> int:
    """How many threads this process may compute with: OMP_NUM_THREADS, or the processors that it may use."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    if named.isdigit() and int(named):
        return int(named)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _reason(code: int, last_line: str) -> str:
    if code < 0:
        hint = ": usually too little memory" if -code == signal.SIGKILL else ""
        return f"The process was ended by {signal.Signals(-code).name}{hint}."
    return last_line.removeprefix("Error: ") or f"The process ended with exit code {code}."
