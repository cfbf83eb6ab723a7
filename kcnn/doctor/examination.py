"""What works on this machine: packages, backends (each trains ten steps in its own process), data and folders."""

import json
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kcnn.data.download import data_directory
from kcnn.data.registry import DATASETS, missing_files
from kcnn.machine.backend import INFERENCE, installed, named_by_environment, not_installed
from kcnn.machine.files import scratch
from kcnn.machine.packages import installed_version
from kcnn.machine.processes import run_module

PACKAGES = ("kcnn", "keras", "torch", "torchvision", "numpy", "scikit-learn", "onnxruntime")
OWN = ("tensors", "folder")  # the user's own data: there is no one place to look for them


def examine(data_dir: str = "") -> dict[str, Any]:
    """Everything that `kcnn doctor` tells; `ok` is false when something that is installed does not work.

    "bfloat16" is how many times as fast as float32 it is on torch's device, None where torch does not work.
    """
    with ThreadPoolExecutor(2) as pool:  # a second process fills the time in which the first one reads its libraries
        torchvision = pool.submit(_torchvision)
        backends = dict(zip(INFERENCE, pool.map(check_backend, INFERENCE), strict=True))
    sets = [name for name, source in DATASETS.items() if source.module not in OWN]
    report: dict[str, Any] = {
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": f"{platform.platform()}, {os.cpu_count()} processors",
        "packages": {name: installed_version(name) for name in PACKAGES},
        "KERAS_BACKEND": named_by_environment() or None,
        "bfloat16": backends["torch"].pop("bfloat16", None),
        "backends": backends,
        "torchvision": torchvision.result(),
        "data": {name: not missing_files(name, data_dir) for name in sets},
        "folders": _folders(data_dir),
    }
    wrong = [row for row in backends.values() if row["installed"] and not row["works"]]
    return {"ok": not wrong and report["torchvision"] == "ok", **report}


def check_backend(backend: str) -> dict[str, Any]:
    """`{"installed", "works", "version", "device", "seconds", "note"}` of a backend, tried in a process of its own."""
    row = {"installed": installed(backend), "works": False, "version": None, "device": None, "seconds": None}
    if not row["installed"]:
        return {**row, "note": not_installed(backend)}
    with scratch() as folder:
        answer = folder / "answer.json"
        failure = run_module("kcnn.doctor.trial", [backend, str(answer)], backend)
        return {**row, "note": failure} if failure else {**row, "works": True, **json.loads(answer.read_text())}


def _torchvision() -> str:
    """ "ok", or one sentence: torchvision is compiled against one torch."""
    failure = _import_failure("torchvision")
    if "torchvision::nms" in failure or "undefined symbol" in failure:
        torchvision, torch = (installed_version(name) for name in ("torchvision", "torch"))
        return (
            f"torchvision {torchvision} was built for another torch than {torch}: install both "
            f"from the same place, with pip install --force-reinstall torch torchvision"
        )
    return failure or "ok"


def _import_failure(package: str) -> str:
    """The last line of what Python says when it imports the package in a new process; "" if it can."""
    command = [sys.executable, "-c", f"import {package}"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    return (done.stderr.strip().splitlines() or ["It does not import."])[-1] if done.returncode else ""


def _folders(data_dir: str) -> dict[str, str]:
    """Where kcnn and what it uses keep files, with the space left there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folders = {
        "data": data_directory(data_dir),
        "keras": Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras"),
        "pretrained weights": Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints",
    }
    return {name: f"{path} ({_space(path)})" for name, path in folders.items()}


def _space(path: Path) -> str:
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    state = "" if path.exists() else "not made yet, "
    locked = "" if os.access(there, os.W_OK) else "NOT writable, "
    return f"{state}{locked}{shutil.disk_usage(there).free / 2**30:.0f} GB free"
