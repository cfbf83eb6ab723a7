"""Images that cannot be read: the others are classified and written, and every bad one is named."""

import csv
import json

import numpy as np
import pytest

from helpers import one_line_error, write_pictures


@pytest.fixture
def photos(tmp_path):
    return write_pictures(tmp_path / "photos", ("a",), 6, size=(28, 28)) / "a"


def test_the_others_are_written(trained, photos, cli, tmp_path):
    (photos / "1.png").write_bytes(b"")
    (photos / "3.png").write_bytes((photos / "3.png").read_bytes()[:300])
    table = tmp_path / "out.csv"
    outcome = cli("predict", trained[0], photos, "--csv", table)
    one_line_error(outcome, 1, "1.png is empty (0 bytes)", "3.png does not decode", "Classified without them: 4")
    with table.open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [str(photos / f"{n}.png") for n in (0, 2, 4, 5)]
    assert outcome.stdout == f"{table}\n"
    rows = json.loads(cli("predict", trained[0], photos, "--json").stdout)
    assert len(rows) == 4
    good = json.loads(cli("predict", trained[0], photos / "4.png", "--json").stdout)
    assert rows[2]["top"][0]["class"] == good[0]["top"][0]["class"]


def test_many_bad_ones_have_a_line_each(trained, photos, cli):
    for number in range(10, 35):
        (photos / f"{number}.png").write_bytes(b"x" * number)
    outcome = cli("predict", trained[0], photos)
    one_line_error(outcome, 1, "10.png does not decode", "and 15 more", "Classified without them: 6")
    lines = [line for line in outcome.stderr.splitlines() if not line.startswith("Error")]
    assert sum("does not decode" in line for line in lines) == 25


def test_only_bad_ones_write_nothing(trained, photos, cli, tmp_path):
    for path in photos.iterdir():
        path.write_bytes(b"")
    outcome = cli("predict", trained[0], photos, "--csv", tmp_path / "out.csv", "--json")
    one_line_error(outcome, 1, "0.png is empty", "Classified without them: 0")
    assert outcome.stdout == ""
    assert not (tmp_path / "out.csv").exists()


def test_what_is_no_picture_is_passed_over(trained, photos, cli):
    (photos / "Thumbs.db").write_bytes(b"x")
    for name in (photos, photos / "*"):
        outcome = cli("predict", trained[0], name, "--json")
        assert outcome.exit_code == 0, outcome.output
        assert len(json.loads(outcome.stdout)) == 6
        assert "passed over 1 file that is no picture (1 .db)" in outcome.stderr
    outcome = cli("predict", trained[0], *sorted(photos.iterdir()))  # as a shell would write the pattern out
    one_line_error(outcome, 1, "Thumbs.db is of no kind that kcnn reads", "Classified without it: 6")


@pytest.mark.parametrize("content", [b"", b"no array", np.zeros((2, 9, 9, 1), np.uint8)])
def test_bad_arrays_among_good_ones(trained, photos, cli, tmp_path, content):
    np.save(tmp_path / "good.npy", np.zeros((3, 28, 28, 1), np.uint8))
    bad = tmp_path / "bad.npy"
    bad.write_bytes(content) if isinstance(content, bytes) else np.save(bad, content)
    outcome = cli("predict", trained[0], bad, tmp_path / "good.npy", photos, "--json")
    one_line_error(outcome, 1, bad, "Classified without it: 9")
    assert len(json.loads(outcome.stdout)) == 9


def test_an_unreadable_picture(trained, photos, cli, monkeypatch):
    """As root reads everything, the refusal is made here."""
    from PIL import Image

    original = Image.open

    def refuse(path, *arguments, **options):
        if str(path).endswith("2.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *arguments, **options)

    monkeypatch.setattr(Image, "open", refuse)
    outcome = cli("predict", trained[0], photos)
    one_line_error(outcome, 1, "2.png cannot be read (Permission denied)", "Classified without it: 5")
