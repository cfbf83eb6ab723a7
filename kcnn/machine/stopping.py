"""How a command ends before its time: what is tidied up, and the one line that a signal leaves.

A signal ends the process where it meets it. Raising an exception there instead, as Python does for Ctrl-C, goes wrong
while modules are imported and wherever a library catches everything: the signal is lost, or a traceback is shown.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

WORDS = {signal.SIGINT: "Interrupted.", signal.SIGTERM: "Terminated.", signal.SIGHUP: "Hung up."}

_endings: list[Callable[[], str | None]] = []


@contextmanager
def ending(action: Callable[[], str | None]) -> Iterator[None]:
    """Do `action` when the block ends, also where a signal ends the whole process in it.

    What it returns is a sentence for the user whose command is interrupted.
    """
    _endings.append(action)
    try:
        yield
    finally:
        reason = sys.exception()
        try:
            sentence = action()
        finally:
            _endings.remove(action)
        if sentence and isinstance(reason, KeyboardInterrupt):  # Python's own, in a program that does not `listen`
            reason.add_note(sentence)


def farewell(number: int = signal.SIGINT, sentences: list[str | None] | None = None) -> str:
    """The line about an interrupted command."""
    return " ".join([WORDS[signal.Signals(number)], *filter(None, sentences or [])])


def listen() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP end this process with 128 + their number and a line on stderr.

    Those that it was started to ignore, as by `nohup`, stay ignored.
    """
    _open_standard_streams()
    for number in WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def leave(code: int) -> None:
    """End the process at once: Python's own way out would wait for threads that still have work."""
    os._exit(code)


def _stop(number: int, frame: Any) -> None:
    for each in WORDS:
        signal.signal(each, signal.SIG_IGN)
    sentences: list[str | None] = []
    for action in reversed(_endings.copy()):
        with suppress(Exception):
            sentences.append(action())
    with suppress(OSError):  # the terminal may be gone; sys.stderr may be in the middle of a line
        clear = "\x1b[?25h\n" if os.isatty(2) else ""  # a progress bar hides the cursor
        os.write(2, f"{clear}{farewell(number, sentences)}\n".encode(errors="backslashreplace"))
    leave(128 + number)


def _open_standard_streams() -> None:
    """Give a closed stdout or stderr the null device: the next file that is opened would get its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 – for as long as the process lives
