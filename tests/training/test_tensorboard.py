"""TensorBoard's event files read back, and the graphics card's columns in the log."""

import numpy as np
import pytest

from helpers import one_line_error
from kcnn.errors import KcnnError
from kcnn.machine import gpu
from kcnn.run.directory import RunDir
from kcnn.run.history import History
from kcnn.training.callbacks import tensorboard


def row(epoch, **more):
    values = {"loss": 1 / epoch, "accuracy": 0.5, "val_loss": 2 / epoch, "val_accuracy": 0.4, "learning_rate": 0.1}
    return {"epoch": epoch, **values, "images_per_second": 100.0, "seconds": 1.0, **more}


def write_epochs(run, history, epochs):
    callback = tensorboard.TensorBoard(run, history)
    callback.on_train_begin()
    for epoch in epochs:
        history.rows.append(row(epoch))
        callback.on_epoch_end(epoch - 1)
    callback.on_train_end()


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_scalars_of_every_epoch(tmp_path):
    write_epochs(RunDir(tmp_path), History(), [1, 2, 3])
    found = events(tmp_path)
    assert [(event.step, event.value) for event in found.Scalars("loss/validation")] == [
        (1, 2.0),
        (2, 1.0),
        (3, pytest.approx(2 / 3)),
    ]
    assert {"loss/training", "accuracy/training", "accuracy/validation", "learning_rate"} <= set(
        found.Tags()["scalars"]
    )
    assert "gpu/memory_gib" not in found.Tags()["scalars"]


def test_a_resumed_run_goes_on_in_the_same_curve(tmp_path):
    history = History()
    write_epochs(RunDir(tmp_path), history, [1, 2])
    history.rows.pop()  # killed after the event, before the checkpoint: epoch 2 is trained again
    write_epochs(RunDir(tmp_path), history, [2, 3])
    assert [event.step for event in events(tmp_path).Scalars("accuracy/training")] == [1, 2, 3]


def test_the_picture_is_that_of_the_file(tmp_path):
    import io

    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "confusion.png")
    tensorboard.add_picture(RunDir(tmp_path), "confusion matrix", tmp_path / "confusion.png", 4)
    (event,) = events(tmp_path).Images("confusion matrix")
    assert event.step == 4
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(event.encoded_image_string))), pixels)


def test_without_the_package_nothing_is_trained(monkeypatch, tmp_path, cli):
    real = tensorboard.importlib.util.find_spec
    monkeypatch.setattr(tensorboard.importlib.util, "find_spec", lambda n: None if n == "tensorboard" else real(n))
    with pytest.raises(KcnnError, match=r"kcnn\[tensorboard\]"):
        tensorboard.check_installed()
    result = cli("train", "--epochs", 1, "--tensorboard", "--run", tmp_path / "run")
    one_line_error(result, 1, "pip install")


def test_no_columns_without_a_graphics_card():
    assert gpu.usage() == {}
    assert "gpu" not in History([row(1)]).to_csv()


def test_columns_of_a_graphics_card(monkeypatch):
    import torch
    from keras.src.backend.torch import core

    monkeypatch.setattr(core, "get_device", lambda: "cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**29)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 87)
    assert gpu.usage() == {"gpu_memory": 1.5, "gpu_utilization": 87.0}

    def missing(device):
        raise ModuleNotFoundError("nvidia-ml-py")

    monkeypatch.setattr(torch.cuda, "utilization", missing)
    assert gpu.usage() == {"gpu_memory": 1.5}
    history = History([row(1), row(2, gpu_memory=1.5)])
    assert History.from_csv(history.to_csv()).rows == history.rows
