"""The log: best epoch, patience, rates, and a CSV file that reads back the same."""

import csv

import pytest

from kcnn.errors import KcnnError
from kcnn.run.directory import RunDir
from kcnn.run.history import COLUMNS, History, read_history


def history(*validation, loss=1.0):
    """Rows with these validation accuracies; an entry (accuracy, loss) sets both."""
    rows = []
    for epoch, entry in enumerate(validation, start=1):
        accuracy, val_loss = entry if isinstance(entry, tuple) else (entry, loss)
        row = {"epoch": epoch, "loss": 0.5, "accuracy": 0.5, "val_loss": val_loss, "val_accuracy": accuracy}
        rows.append({**row, "learning_rate": 1e-5, "images_per_second": 100.0 * epoch, "seconds": 1.5})
    return History(rows)


@pytest.mark.parametrize(
    ("entries", "best"),
    [
        ([], 0),
        ([0.5], 1),
        ([0.5, 0.7, 0.6], 2),
        ([0.7, 0.7, 0.7], 1),  # the earliest of equals
        ([(0.7, 0.9), (0.7, 0.8), (0.7, 0.8)], 2),  # the lower loss decides
    ],
)
def test_best_epoch(entries, best):
    assert history(*entries).best_epoch == best


def test_without_validation_the_last_epoch_is_the_best():
    rows = [{"epoch": epoch, "loss": 0.5, "accuracy": 0.5} for epoch in (1, 2, 3)]
    assert History(rows).best_epoch == 3
    assert not History(rows).exhausted(1)


def test_patience():
    late = history(0.5, 0.7, 0.6, 0.6)
    assert late.exhausted(2)
    assert not late.exhausted(3)
    assert not late.exhausted(0)
    assert not history(0.5, 0.6, 0.7).exhausted(1)
    assert not History().exhausted(1)


def test_rate_is_the_median_without_the_first_epoch():
    assert history(*[0.5] * 4).images_per_second == 300
    assert history(0.5).images_per_second == 100
    assert History().images_per_second == 0
    assert history(*[0.5] * 4).seconds == 6


def test_csv_round_trip():
    for log in (history(0.5, 0.123456), History([{"epoch": 1, "loss": 0.25, "seconds": 2.0}]), History()):
        assert History.from_csv(log.to_csv()) == log


def test_csv_is_plain():
    rows = list(csv.reader(history(0.5, 0.7).to_csv().splitlines()))
    assert rows[0] == list(COLUMNS)
    assert [row[0] for row in rows[1:]] == ["1", "2"]


GOOD = history(0.5, 0.7).to_csv()
HEAD = GOOD.splitlines()[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("\n2,", "\n2,9,"), "row 2 has another number of values"),
        (GOOD.replace("\n2,0.5,", "\n2,"), "row 2 has another number of values"),
        (GOOD.replace("\n2,", "\n3,"), "row 2 is not that of epoch 2"),
        (GOOD.replace("\n2,", "\n1,"), "row 2 is not that of epoch 2"),
        (GOOD.replace("\n2,", "\n2.5,"), "row 2 is not that of epoch 2"),
        (GOOD.replace("\n2,", "\ninf,"), "row 2 is not that of epoch 2"),
        (GOOD.replace("\n2,0.5", "\n2,nan"), "row 2 has nan as its loss"),
        (GOOD.replace("\n2,0.5", "\n2,x"), "could not convert"),
        (GOOD.replace("0.7", ""), "not every epoch has val_accuracy"),
        (GOOD.replace("accuracy", "acuracy"), "it has no accuracy"),
        (GOOD.replace("val_loss", "loss_val"), "it has no val_loss"),
        (GOOD.replace(HEAD, ""), "is damaged"),
        ("\0\0", "is damaged"),
        ('"' + "x" * 200_000, "is damaged"),
        ("\n".join([HEAD]), "no finished epoch"),
        ("", "no finished epoch"),
    ],
)
def test_a_damaged_log_is_one_sentence(tmp_path, text, words):
    run = RunDir(tmp_path / "my run")
    run.path.mkdir()
    run.log.write_text(text)
    with pytest.raises(KcnnError, match=r"log\.csv") as caught:
        read_history(run)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    if "no finished" not in words:
        assert str(caught.value).endswith(f"kcnn train --resume '{run.path}'")


def test_a_log_that_is_no_text(tmp_path):
    run = RunDir(tmp_path)
    run.log.write_bytes(b"epoch,loss\n\xff,1\n")
    with pytest.raises(KcnnError, match=r"log.csv is damaged"):
        read_history(run)


def test_the_columns_of_a_graphics_card_may_begin_late():
    """As when a run goes on elsewhere."""
    log = history(0.5, 0.7)
    log.rows[1]["gpu_memory"] = 3.5
    assert History.from_csv(log.to_csv()) == log
