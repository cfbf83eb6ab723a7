"""Speed of one training or prediction in kcnn, in hand-written PyTorch and in stock Keras, measured in turns."""

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from kcnn.errors import KcnnError, listed
from kcnn.machine.processes import environment

ENGINES = ("kcnn", "pytorch", "keras")
MODES = ("train", "predict")


def parse_engines(text: str) -> list[str]:
    """`kcnn,pytorch` → its names; see `kcnn.errors.listed`."""
    return listed("engine", text, ENGINES)


def measure(
    model: str,
    batch_size: int,
    device: str = "auto",
    precision: str = "",
    mode: str = "train",
    engines: Sequence[str] = ENGINES,
    rounds: int = 5,
    seconds: float = 2.0,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Measure the engines on the same model, batches and optimizer, one process each, round by round in turn.

    Args:
        model: a key of `kcnn.models.registry.MODELS`, with the images of the data set that it is made for.
        precision: a Keras dtype policy; "" means mixed_bfloat16 on CUDA and float32 elsewhere.
        mode: "train", or "predict".
        seconds: about how long an engine runs in a round.

    Returns:
        `{"model", "batch_size", "device", "precision", "mode", "engines": {name: {"images_per_second": {"median",
        "min", "max"}, "peak_memory_mb"}}, "ratio_to_pytorch", "ratio_to_keras"}`; a ratio is the median over the
        rounds of kcnn's speed over the other's in the same round, None where one of the two was not measured.
        `peak_memory_mb` is what the work takes beyond the imported libraries.

    Raises:
        KcnnError: an engine ended with an error.
    """
    settings = {"model": model, "batch_size": batch_size, "device": device, "precision": precision, "mode": mode}
    workers = {name: _Worker({**settings, "engine": name}) for name in engines}
    try:
        steps = {name: max(2, round(seconds / worker.ask(0)["seconds"])) for name, worker in workers.items()}
        speeds: dict[str, list[float]] = {name: [] for name in engines}
        for turn in range(rounds):
            for name, worker in workers.items():
                speeds[name].append(batch_size * steps[name] / worker.ask(steps[name])["seconds"])
            say(f"round {turn + 1}: " + ", ".join(f"{name} {speeds[name][-1]:,.0f}" for name in engines) + " images/s")
        facts = {name: worker.ask(-1) for name, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.stop()
    first = next(iter(facts.values()))
    return {
        **settings,
        "device": first["device"],
        "precision": first["precision"],
        "engines": {
            name: {"images_per_second": _spread(speeds[name]), "peak_memory_mb": facts[name]["peak_memory_mb"]}
            for name in engines
        },
        "ratio_to_pytorch": _ratio(speeds, "pytorch"),
        "ratio_to_keras": _ratio(speeds, "keras"),
    }


def _spread(speeds: Sequence[float]) -> dict[str, float]:
    found = {"median": statistics.median(speeds), "min": min(speeds), "max": max(speeds)}
    return {key: round(value, 1) for key, value in found.items()}


def _ratio(speeds: dict[str, list[float]], other: str) -> float | None:
    if not speeds.get("kcnn") or not speeds.get(other):
        return None
    return round(statistics.median(a / b for a, b in zip(speeds["kcnn"], speeds[other], strict=True)), 3)


class _Worker:
    """A child process with one engine; it takes numbers of steps and answers in JSON, a line each."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.name = settings["engine"]
        command = [sys.executable, "-m", "kcnn.bench.worker", json.dumps(settings)]
        self.errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 – a pipe nobody reads would fill up
        self.process = subprocess.Popen(
            command,
            env=environment("torch"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def ask(self, steps: int) -> dict[str, Any]:
        """Run so many steps; 0: warm up, and tell the seconds of one step; -1: the facts at the end."""
        try:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdin.write(f"{steps}\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            self.process.wait()
            self.errors.seek(0)
            lines = self.errors.read().strip().splitlines()
            raise KcnnError(f"The engine {self.name} failed: {lines[-1] if lines else 'no reason given'}") from None

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()
        self.errors.close()
