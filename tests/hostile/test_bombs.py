"""Small files that claim gigabytes are refused before anything is unpacked; honest files never are."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import mutations
import numpy as np
import pytest
import torch
from kinds import KINDS

from helpers import random_images, refused
from kcnn.machine import memory
from kcnn.models.registry import build_model
from kcnn.results.prediction import read_array
from kcnn.run.checkpoint import load_model, save_model
from kcnn.starts.pretrained import read_state_dict

MOST = 2**21  # bytes of the largest of the files
REASONS = {
    **dict.fromkeys(("weights", "optimizer", "pth"), "unpacks from"),
    **dict.fromkeys(("info", "configuration"), "33.6 MB is the limit"),
    **dict.fromkeys(("layer", "wide layer"), "of weights, but it holds"),
    "resizing": "half of the free memory",
    "sparse weights": "claim to be 3.0 GB",
    **dict.fromkeys(("npy", "npz", "npz of numbers"), "without running code"),
    **dict.fromkeys(("repeated number", "images"), "repeats a few numbers to 960 MB"),
    **dict.fromkeys(("safetensors", "idx"), "damaged"),
}


def test_claims_of_gigabytes_in_a_process_that_has_one(tmp_path):
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), *sys.path]
    done = subprocess.run(
        [sys.executable, str(here / "bombs.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "KERAS_BACKEND": "torch"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said.pop("grown") < 2**28
    assert said.keys() == REASONS.keys()
    for name, (size, words) in said.items():
        assert size < MOST, name
        assert words.startswith("KcnnError: "), (name, words)
        assert len(words.splitlines()) == 1
        assert REASONS[name] in words, (name, words)


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 10 * 2**20)


@pytest.mark.usefixtures("little_memory")
def test_what_needs_more_than_half_of_the_free_memory_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "blank.npz", np.zeros((6000, 32, 32, 1), np.uint8))
    assert (tmp_path / "blank.npz").stat().st_size < 10_000
    refused(lambda: read_array(tmp_path / "blank.npz"), "blank.npz", "6.1 MB", "5.2 MB, half of the free memory")
    torch.save({"a": torch.zeros(1_600_000)}, tmp_path / "w.pth")
    torch.save({"a": torch.zeros(1_600_000)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for name in ("w.pth", "old.pth"):
        refused(lambda name=name: read_state_dict(tmp_path / name), name, "6.4 MB", "half of the free memory")
    save_model(build_model("alexnet", (32, 32, 3), 10), tmp_path / "big.keras", {})
    refused(lambda: load_model(tmp_path / "big.keras"), "big.keras", "half of the free memory")


@pytest.mark.usefixtures("little_memory")
def test_a_plain_array_needs_no_memory(tmp_path):
    """It is read from the disk as it is needed."""
    images = random_images(900, 100, 100, 1)
    np.save(tmp_path / "a.npy", images)
    np.testing.assert_array_equal(read_array(tmp_path / "a.npy"), images)


def test_blank_images_are_honest(tmp_path):
    """A thousand times as large as their archive."""
    blank = np.zeros((80_000, 32, 32, 1), np.uint8)
    np.savez_compressed(tmp_path / "blank.npz", blank)
    assert blank.nbytes > 900 * (tmp_path / "blank.npz").stat().st_size
    assert read_array(tmp_path / "blank.npz").shape == blank.shape


def test_models_that_were_packed_again_are_honest(tmp_path):
    """Even with weights that are all zero, up to what harms nobody."""
    model = build_model("alexnet", (32, 32, 3), 10)
    for variable in model.weights:
        variable.assign(np.zeros(variable.shape))
    save_model(model, tmp_path / "zero.keras", {})
    members = mutations.unzip((tmp_path / "zero.keras").read_bytes())
    packed = tmp_path / "packed.keras"
    packed.write_bytes(mutations.rezip(members, zipfile.ZIP_DEFLATED))
    assert (tmp_path / "zero.keras").stat().st_size > 50 * packed.stat().st_size
    assert load_model(packed)[0].count_params() == model.count_params()


def test_views_and_tied_tensors_are_honest(tmp_path):
    table = torch.arange(12.0).reshape(3, 4)
    torch.save({"a": table, "b": table, "c": table.t(), "d": table[:1].expand(3, 4)}, tmp_path / "w.pth")
    found = read_state_dict(tmp_path / "w.pth")
    for key, expected in (("a", table), ("b", table), ("c", table.t()), ("d", table[:1].expand(3, 4))):
        np.testing.assert_array_equal(found[key], expected.numpy())


def test_every_kind_of_file_is_read_whole(tmp_path):
    """The fuzzer's own files, and a slow test for the largest network."""
    for kind, (make, _, read) in KINDS.items():
        folder = tmp_path / kind
        folder.mkdir()
        read(make(folder))


@pytest.mark.slow
def test_the_largest_network_is_honest(tmp_path):
    """VGG-19: 550 MB."""
    model = build_model("vgg19", (224, 224, 3), 1000)
    save_model(model, tmp_path / "vgg19.keras", {"class_names": [str(index) for index in range(1000)]})
    again, _ = load_model(tmp_path / "vgg19.keras")
    np.testing.assert_array_equal(again.get_weights()[-2], model.get_weights()[-2])
