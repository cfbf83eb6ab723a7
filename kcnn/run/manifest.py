"""The manifest of a run: what a reader needs to repeat it."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kcnn.machine.packages import installed_version

PACKAGES = ("kcnn", "keras", "torch", "torchvision", "jax", "tensorflow", "numpy")


def make_manifest(seed: int, device: str) -> Mapping[str, Any]:
    """What a reader needs to repeat the run: versions, commit, seed, device, command and time."""
    return {
        "command": shlex.join(["kcnn", *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "device": device,
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: found for name in PACKAGES if (found := installed_version(name))},
        "git": _git_commit(),
    }


def _git_commit() -> str | None:
    """The commit of the user's own project, if the command runs inside one."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
