"""What is tidied up when a command ends early, and what its user is told."""

import signal

import pytest

from kcnn.machine import stopping
from kcnn.machine.files import atomic, claimed, scratch
from kcnn.machine.stopping import ending, farewell


class Left(BaseException):
    """In place of the process's end."""


@pytest.fixture
def stopped(monkeypatch, capfd):
    """Hears signals as `kcnn` does; call it for the exit code and what is on stderr."""
    codes = []

    def leave(code):
        codes.append(code)
        raise Left

    monkeypatch.setattr(stopping, "leave", leave)
    before = {number: signal.getsignal(number) for number in stopping.WORDS}
    yield lambda: (codes, capfd.readouterr().err)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "Interrupted."),
        (signal.SIGTERM, 143, "Terminated."),
        (signal.SIGHUP, 129, "Hung up."),
    ],
)
def test_a_signal_ends_everything_that_is_open(tmp_path, stopped, number, code, word):
    def work():
        with (
            ending(lambda: "The outer one is kept."),
            ending(lambda: None),
            claimed(tmp_path / "new.csv"),
            atomic(tmp_path / "a.txt") as temporary,
            scratch() as folder,
        ):
            temporary.write_text("half")
            try:
                signal.raise_signal(number)
            except Left:
                assert not folder.exists()  # nothing is left to the blocks' own ends
                assert list(tmp_path.iterdir()) == []
                raise

    stopping.listen()
    with pytest.raises(Left):
        work()
    assert stopped() == ([code], f"{word} The outer one is kept.\n")


def test_an_ending_that_fails_does_not_keep_the_others_from_theirs(stopped):
    done, errors = [], [OSError("once")]

    def fail():
        if errors:
            raise errors.pop()

    def work():
        with ending(lambda: done.append(1)), ending(fail):
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                assert done == [1]

    stopping.listen()
    with pytest.raises(Left):
        work()
    assert stopped()[0] == [143]


def test_what_the_caller_lets_it_ignore_stays_ignored(stopped):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    stopping.listen()
    signal.raise_signal(signal.SIGHUP)
    assert stopped() == ([], "")


def test_endings_come_in_order_and_once():
    done = []
    with ending(lambda: done.append("outer")), ending(lambda: done.append("inner")):
        done.append("block")
    assert done == ["block", "inner", "outer"]
    with pytest.raises(ValueError, match="x"), ending(lambda: done.append("failed")):
        raise ValueError("x")
    assert done[3:] == ["failed"]
    assert not stopping._endings


def test_pythons_own_interruption_carries_the_sentences():
    with pytest.raises(KeyboardInterrupt) as caught, ending(lambda: "a."), ending(lambda: None), ending(lambda: "b."):
        raise KeyboardInterrupt
    assert farewell(sentences=caught.value.__notes__) == "Interrupted. b. a."
