"""The run directory: the names of its files, and writing them so that nothing is lost or half written."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kcnn.errors import KcnnError, UsageError

PACKAGES = ("kcnn", "keras", "torch", "torchvision", "jax", "tensorflow", "numpy")


class RunDir:
    """`runs/<name>/`: what one training run leaves behind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.toml"
        self.manifest = path / "manifest.json"
        self.log = path / "log.csv"
        self.best = path / "best.keras"
        self.last = path / "last.keras"
        self.result = path / "result.json"
        self.curves = path / "curves.png"
        self.confusion = path / "confusion.png"

    @classmethod
    def create(cls, path: Path | None, name: str) -> "RunDir":
        """A new directory: `path`, or the first free of runs/NAME, runs/NAME-2, …

        Raises:
            UsageError: `path` already holds something.
        """
        if path is None:
            path, number = Path("runs") / name, 1
            while path.exists():
                number += 1
                path = Path("runs") / f"{name}-{number}"
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(
                f"{path} already exists and is not empty. Continue it with: kcnn train --resume {path}, "
                f"or name another directory with --run."
            )
        path.mkdir(parents=True, exist_ok=True)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunDir":
        """The directory of an earlier run.

        Raises:
            KcnnError: there is none, or it has no recipe.
        """
        if not path.is_dir():
            raise KcnnError(f"There is no run directory {path}. `kcnn train` makes one; they lie in runs/.")
        run = cls(path)
        if not run.recipe.exists():
            raise KcnnError(f"{path} is not a run directory: it has no recipe.toml.")
        return run

    def checkpoint(self) -> Path:
        """The best model, or the last one of a run that has not finished an epoch with validation.

        Raises:
            KcnnError: neither is there.
        """
        for path in (self.best, self.last):
            if path.exists():
                return path
        raise KcnnError(f"{self.path} has no checkpoint (best.keras or last.keras): train it first.")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to, flushed and renamed at the end, or removed if that fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def manifest(seed: int, device: str) -> Mapping[str, Any]:
    """What a reader needs to repeat the run: versions, commit, seed, device, command and time."""
    return {
        "command": " ".join(["kcnn", *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "device": device,
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "git": _git_commit(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the user's own project, if the command runs inside one."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
