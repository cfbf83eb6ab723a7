"""Zip archives that anyone may have made: refused before they fill the memory, and checked to be whole."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

from kcnn.errors import KcnnError
from kcnn.machine.memory import check_room, size

# Weights hardly shrink, and Keras and torch store them as they are: what swells so far is a bomb.
MOST_SWELLING = 100
HARMLESS = 2**26  # bytes to which anything may swell
CHUNK = 2**20


def check_weights_archive(path: Path) -> None:
    """Refuse an archive of weights that would fill the memory, or whose checksums are wrong.

    Raises:
        KcnnError: it unpacks to too much.
        zipfile.BadZipFile, OSError, …: it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        check_members(path, archive.infolist())
        for member in archive.infolist():
            if member.CRC:  # torch can be told to write none
                read_through(archive, member)


def check_members(path: Path, members: Iterable[zipfile.ZipInfo]) -> None:
    """Compare what the members of an archive of weights claim to unpack to with what they take, and with the memory.

    Raises:
        KcnnError: they are too large.
    """
    members = list(members)
    check_room(path, sum(member.file_size for member in members))
    for member in members:
        if member.file_size > max(HARMLESS, MOST_SWELLING * member.compress_size):
            raise KcnnError(
                f"{path} is refused: {member.filename!r} in it unpacks from {size(member.compress_size)} to "
                f"{size(member.file_size)}, as no weights do. Check where the file comes from."
            )


def read_through(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Unpack a member to nowhere: its checksum is compared at the end."""
    with archive.open(member) as file:
        while file.read(CHUNK):
            pass
