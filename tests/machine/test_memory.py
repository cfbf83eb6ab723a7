"""How much memory is free, on a machine and in a container, and what is refused."""

import pytest

from kcnn.errors import KcnnError
from kcnn.machine import memory


def container(folder, limit, used, cached):
    folder.mkdir()
    (folder / "max").write_text(limit)
    (folder / "now").write_text(used)
    (folder / "memory.stat").write_text(f"anon 5\nactive_file 7\ninactive_file {cached}\n")
    return str(folder), "max", "now"


def test_a_container_has_less_than_its_machine(tmp_path, monkeypatch):
    roomy, tight = container(tmp_path / "a", "9000\n", "8000\n", 500), container(tmp_path / "b", "max\n", "1\n", 0)
    monkeypatch.setattr(memory, "CONTAINERS", (roomy, tight, (str(tmp_path / "none"), "max", "now")))
    assert memory.free_memory() == 9000 - 8000 + 500 + 7


def test_a_machine_that_does_not_tell_has_some(monkeypatch):
    monkeypatch.setattr(memory, "CONTAINERS", ())
    monkeypatch.setattr(memory, "Path", lambda place: memory_file_that_is_not_there())
    assert memory.free_memory() > 2**28
    monkeypatch.delattr("os.sysconf")
    assert memory.free_memory() == memory.UNKNOWN


def memory_file_that_is_not_there():
    raise FileNotFoundError


def test_more_than_half_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 8 * 10**9)
    memory.check_room("a.npz", 4 * 10**9)
    with pytest.raises(KcnnError, match=r"a\.npz is refused: it unpacks to 4\.1 GB, and 4\.0 GB, half of the free mem"):
        memory.check_room("a.npz", 41 * 10**8)


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (3_200_000_000, "3.2 GB"), (5 * 10**14, "500 TB")],
)
def test_bytes_in_words(count, words):
    assert memory.size(count) == words
