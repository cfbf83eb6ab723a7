"""Files of torchvision's weights: their names, reading them, refusing what could run code, fetching them."""

import functools
import hashlib
import http.server
import os
import pickle
import sys
import threading

import numpy as np
import pytest
import torch
import torchvision

from kcnn.errors import KcnnError, UsageError
from kcnn.starts import pretrained


@pytest.mark.parametrize(
    ("model", "options", "name"),
    [
        ("resnet50", {}, "resnet50"),
        ("vgg16", {}, "vgg16_bn"),
        ("vgg11", {"batch_norm": False}, "vgg11"),
        ("resnet20", {}, None),
        ("lenet5", {}, None),
    ],
)
def test_torchvisions_names(model, options, name):
    if name:
        assert pretrained.torchvision_name(model, options) == name
    else:
        with pytest.raises(UsageError, match=f"torchvision has no {model}"):
            pretrained.torchvision_name(model, options)


# ---- files -----------------------------------------------------------------------------------------------------------


class Evil:
    """Unpickling it would make the file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_plain_state_dicts_of_every_form_are_read(tmp_path):
    state = {"fc.weight": torch.arange(6.0).reshape(2, 3), "bn1.num_batches_tracked": torch.tensor(7)}
    torch.save(state, tmp_path / "new.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"model": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, tmp_path / "wrapped.pth")
    for file in tmp_path.iterdir():
        found = pretrained.read_state_dict(file)
        assert found.keys() == state.keys()
        np.testing.assert_array_equal(found["fc.weight"], state["fc.weight"].numpy())
    torch.save({"a": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "half.pth")
    assert pretrained.read_state_dict(tmp_path / "half.pth")["a"].dtype == np.float32


def test_safetensors_are_read_and_damaged_ones_named(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    file = tmp_path / "w.safetensors"
    safetensors.save_file({"a": torch.ones(3, dtype=torch.bfloat16)}, file)
    np.testing.assert_array_equal(pretrained.read_state_dict(file)["a"], np.ones(3, np.float32))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(KcnnError, match=r"w\.safetensors is damaged"):
        pretrained.read_state_dict(file)


def test_without_the_package_safetensors_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "w.safetensors").touch()
    with pytest.raises(KcnnError, match=r"pip install 'kcnn\[safetensors\]'"):
        pretrained.read_state_dict(tmp_path / "w.safetensors")


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files_are_named(tmp_path, zipped):
    file = tmp_path / "w.pth"
    torch.save({"a": torch.ones(1000)}, file, _use_new_zipfile_serialization=zipped)
    content = file.read_bytes()
    for length in (0, 10, 80, len(content) // 2, len(content) - 5):
        file.write_bytes(content[:length])
        with pytest.raises(KcnnError, match=r"w\.pth is damaged"):
            pretrained.read_state_dict(file)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_file_that_would_run_code_is_refused_and_nothing_runs(tmp_path):
    trap = tmp_path / "trap"
    torch.save({"a": Evil(trap)}, tmp_path / "new.pth")
    torch.save({"a": Evil(trap)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil(trap)))
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4
    for file in files:
        with pytest.raises(KcnnError, match=rf"{file.name} is refused: it holds more than tensors"):
            pretrained.read_state_dict(file)
    assert not trap.exists()


@pytest.mark.parametrize("content", [{}, torch.ones(2), [torch.ones(2)], {"a": 3}])
def test_a_file_without_a_state_dict_is_named(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(KcnnError, match=r"w\.pth holds no state dict"):
        pretrained.read_state_dict(tmp_path / "w.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(KcnnError, match=r"There is no weights file .*none\.pth"):
        pretrained.read_state_dict(tmp_path / "none.pth")


# ---- fetching --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torch's cache folder, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def served(tmp_path, monkeypatch, resnet18):
    """resnet18's weights, random ones, on a server on this machine; torchvision's table points there."""
    content = resnet18[0].read_bytes()
    file = tmp_path / f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    file.write_bytes(content)
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        entry = torchvision.models.ResNet18_Weights.DEFAULT
        monkeypatch.setattr(entry.value, "url", f"http://127.0.0.1:{server.server_port}/{file.name}")
        yield file
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_weights_are_fetched_once_and_come_with_their_preprocessing(served, cache, resnet18):
    found = pretrained.load_pretrained("imagenet", "resnet18", {})
    assert [file.name for file in cache.iterdir()] == [served.name]
    served.unlink()
    again = pretrained.load_pretrained("imagenet", "resnet18", {})
    for key, array in resnet18[1].items():
        np.testing.assert_array_equal(found.state[key], array)
        np.testing.assert_array_equal(again.state[key], array)
    assert (found.mean, found.std) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert (found.image_size, found.resize) == (224, 256)
    assert len(found.class_names) == 1000
    assert found.class_names[:2] == ["tench", "goldfish"]
    assert found.title == "ResNet18_Weights.IMAGENET1K_V1"


def test_a_wrong_hash_is_told_and_nothing_stays(served, cache):
    served.write_bytes(served.read_bytes()[:-1] + b"x")
    with pytest.raises(KcnnError, match=r"could not be downloaded \(wrong hash\)"):
        pretrained.load_pretrained("imagenet", "resnet18", {})
    assert list(cache.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_named(served, cache):
    cache.mkdir(parents=True)
    (cache / served.name).write_bytes(served.read_bytes()[:-1])
    with pytest.raises(KcnnError, match=rf"{served.name} is damaged: .* Delete it, then run again"):
        pretrained.load_pretrained("imagenet", "resnet18", {})


def test_offline_one_line_says_where_to_put_the_file(cache):
    with pytest.raises(KcnnError) as caught:
        pretrained.load_pretrained("imagenet", "vgg16", {})
    message = str(caught.value)
    for word in (
        "vgg16_bn-6c64b313.pth",
        "528 MB",
        str(cache),
        "--pretrained FILE",
        "--weights RUN",
        "download.pytorch",
    ):
        assert word in message
    assert len(message.splitlines()) == 1


def test_a_file_missing_on_the_server_is_told(served, cache):
    served.unlink()
    with pytest.raises(KcnnError, match=r"could not be downloaded \(.*ot found"):
        pretrained.load_pretrained("imagenet", "resnet18", {})
