"""The result of a finished run."""

import json
import math
from typing import Any

from kcnn.errors import KcnnError, command
from kcnn.run.directory import RunDir

# What readers of a result rely on: key → the type of its value.
KEYS: dict[str, Any] = {
    "test": dict,
    "best_epoch": int,
    "epochs": int,
    "seconds": (int, float),
    "images_per_second": (int, float),
    "parameters": int,
    "device": str,
}


def read_result(run: RunDir, epochs: int) -> dict[str, Any]:
    """What is in `result.json`, if it is about so many epochs; empty for a run that is not finished, or went on since.

    Raises:
        KcnnError: the file is damaged.
    """
    if not run.result.exists():
        return {}
    try:
        result = json.loads(run.result.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(run, f"is not JSON ({error})") from error
    wrong = [key for key, kind in KEYS.items() if not _is(kind, _entry(result, key))]
    if wrong or not _is_score(result["test"]):
        raise _damaged(run, f"has no proper {wrong[0] if wrong else 'test accuracy'}")
    return result if result["epochs"] == epochs else {}


def _entry(table: Any, key: str) -> Any:
    return table.get(key) if isinstance(table, dict) else None


def _is(kind: Any, value: Any) -> bool:
    """Whether the value is of this type, and if it is a number, a finite one."""
    return isinstance(value, kind) and not (isinstance(value, float) and not math.isfinite(value))


def _is_score(test: dict[str, Any]) -> bool:
    interval = test.get("interval", [0.0, 1.0])  # a run of an older kcnn has none
    numbers = [test.get("accuracy"), *(interval if isinstance(interval, list) else ())]
    return len(numbers) == 3 and all(_is(float, number) for number in numbers)


def _damaged(run: RunDir, reason: str) -> KcnnError:
    return KcnnError(f"{run.result} {reason}. This writes it anew: {command('train', '--resume', run.path)}")
