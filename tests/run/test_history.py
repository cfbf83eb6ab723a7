"""The log: best epoch, patience, rates, and a CSV file that reads back the same."""

import csv

import pytest

from kcnn.run.history import COLUMNS, History


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
