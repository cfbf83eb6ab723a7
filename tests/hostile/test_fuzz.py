"""Files damaged at random end in one sentence or are read: no traceback, no hang, no gigabyte, and nothing is run.

A failure names its seed: `damage(random.Random("KIND SEED"), content)` makes the same file again.
"""

import os
import random
import resource
import signal
import sys
import tempfile
import warnings

import pytest
from kinds import KINDS

from kcnn.errors import KcnnError

SECONDS, GROWTH = 10, 2**30
ACTS = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "socket.getaddrinfo")
QUICK, LONG = 200, 2_000

_watch = {"allowed": None, "seen": []}


def _listen(event, arguments):
    """What Python is asked to do while a file is read: programs, connections, and files written elsewhere."""
    if _watch["allowed"] is None:
        return
    if event in ACTS:
        _watch["seen"].append(f"{event} {arguments}")
    elif event == "open" and isinstance(arguments[0], (str, os.PathLike)):
        path, mode, flags = arguments
        writes = any(letter in (mode or "") for letter in "wax+") or flags & (os.O_WRONLY | os.O_RDWR)
        if writes and not os.path.abspath(path).startswith(_watch["allowed"]):
            _watch["seen"].append(f"writes {path}")


sys.addaudithook(_listen)


class Hang(BaseException):
    """The time is over; no `except Exception` may swallow it."""


def _too_long(*_):
    raise Hang


def read(kind, path):
    """What went wrong when the commands read a damaged file; "" if nothing did."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _watch.update(allowed=(str(path.parents[2]), tempfile.gettempdir()), seen=[])
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            KINDS[kind][2](path)
    except KcnnError as error:
        if len(str(error).splitlines()) != 1:
            return f"more than one line: {error!r}"
    except Hang:
        return f"takes more than {SECONDS} s"
    except Exception as error:
        return f"traceback: {error!r:.200}"
    finally:
        signal.alarm(0)
        _watch["allowed"] = None
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return f"took {grown / 2**30:.1f} GiB" if grown > GROWTH else "; ".join(_watch["seen"])


def fuzz(kind, folder, seeds):
    """Damage a file of this kind once for each seed; what went wrong."""
    make, damage, _ = KINDS[kind]
    path = make(folder)
    content = path.read_bytes()
    assert not (wrong := read(kind, path)), wrong
    kept = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    failures = []
    for seed in seeds:
        for file, whole in kept.items():
            file.write_bytes(whole)
        path.write_bytes(damage(random.Random(f"{kind} {seed}"), content))
        if wrong := read(kind, path):
            failures.append(f"seed {seed}: {wrong}")
    return failures


@pytest.fixture
def deep(tmp_path):
    """A folder with two above it that are the test's own, for files that climb out."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    return tmp_path / "a" / "b"


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused_in_one_sentence(kind, deep):
    assert fuzz(kind, deep, range(-(-QUICK // len(KINDS)))) == []
    assert not list(deep.parent.glob("evil*"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_files_are_read_or_refused_in_one_sentence(kind, deep):
    assert fuzz(kind, deep, range(10_000, 10_000 + -(-LONG // len(KINDS)))) == []
