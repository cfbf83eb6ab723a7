"""Progress: a bar with the time left on a terminal, one plain line an epoch elsewhere."""

import io
import re
from unittest.mock import patch

import pytest
from rich.console import Console

from kcnn.run.history import History
from kcnn.training.callbacks.progress import ShowProgress

ROW = {"epoch": 1, "loss": 0.51234, "accuracy": 0.8, "learning_rate": 0.05, "images_per_second": 1234.5, "seconds": 1.0}


def show(terminal, rows=()):
    """What one epoch of four steps prints."""
    history = History(list(rows))
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with patch("kcnn.training.callbacks.progress.Console", return_value=console):
        callback = ShowProgress(history, 3)
    callback.set_params({"steps": 4})
    callback.on_train_begin()
    callback.on_epoch_begin(history.epochs)
    for step in range(4):
        callback.on_train_batch_begin(step)
        callback.bar.refresh()
    history.rows.append({**ROW, "epoch": history.epochs + 1})
    callback.on_epoch_end(history.epochs - 1)
    callback.on_train_end()
    return console.file.getvalue()


def test_one_plain_line_an_epoch():
    assert show(False) == "epoch 1/3  loss 0.5123  accuracy 0.8000  lr 0.05  1,234 images/s\n"


@pytest.mark.parametrize(("rows", "epoch", "percent"), [((), 1, (0, 33)), ((ROW, ROW), 3, (67, 100))])
def test_a_bar_on_a_terminal(rows, epoch, percent):
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", show(True, rows))
    assert f"epoch {epoch}/3 " in text
    shown = [int(value) for value in re.findall(r"(\d+)%", text)]
    assert (shown[0], shown[-1]) == percent
    assert re.search(r"left (-|\d+):", text)


def test_the_lines_with_validation():
    row = {**ROW, "val_loss": 0.25, "val_accuracy": 0.9}
    history = History([row])
    callback = ShowProgress(history, 10)
    callback.console = Console(file=io.StringIO(), width=20)
    callback.on_epoch_end(0)
    line = callback.console.file.getvalue()
    assert line.startswith("epoch  1/10  loss")
    assert "val_loss 0.2500  val_accuracy 0.9000" in line
    assert line.count("\n") == 1
