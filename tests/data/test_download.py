"""Data sets fetched from a server on this machine."""

import re
import tarfile
import threading
from http.server import HTTPServer, SimpleHTTPRequestHandler

import pytest

from helpers import cifar_arrays, equal_mnist, equal_splits, load_fails, md5, write_cifar_pickles, write_trusted_mnist
from kcnn.data.registry import load_dataset, missing_files


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """A folder with packed files whose md5 sums torchvision accepts, and the arrays in them."""
    return tmp_path, write_trusted_mnist(tmp_path, monkeypatch)


@pytest.fixture
def server(tmp_path_factory):
    """An HTTP server on this machine: (its address, its folder)."""
    folder = tmp_path_factory.mktemp("server")

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, directory=str(folder), **options)

        def log_message(self, *arguments):
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", folder
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_mnist_is_fetched_with_a_progress_bar(small_mnist, server, tmp_path, monkeypatch, capfd):
    from torchvision import datasets

    source, arrays = small_mnist
    address, folder = server
    (source / "MNIST/raw").rename(folder / "files")
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{address}/files/"])
    target = tmp_path / "new"
    assert len(missing_files("mnist", str(target))) == 4
    equal_mnist(load_dataset("mnist", str(target)), arrays)
    assert missing_files("mnist", str(target)) == []
    assert re.search(r"100(\.0)?%", capfd.readouterr().err)


def test_cifar_is_fetched_with_a_progress_bar(server, tmp_path, monkeypatch, capfd):
    from torchvision import datasets

    address, folder = server
    parts = cifar_arrays("cifar100")
    root = write_cifar_pickles(tmp_path / "source", "cifar100", parts, monkeypatch)
    with tarfile.open(folder / "cifar.tar.gz", "w:gz") as archive:
        archive.add(root, root.name)
    monkeypatch.setattr(datasets.CIFAR100, "url", f"{address}/cifar.tar.gz")
    monkeypatch.setattr(datasets.CIFAR100, "tgz_md5", md5((folder / "cifar.tar.gz").read_bytes()))
    data = load_dataset("cifar100", str(tmp_path / "new"))
    equal_splits(data.test, parts[1][0], parts[1][2])
    assert re.search(r"100(\.0)?%", capfd.readouterr().err)


def test_a_download_that_does_not_match_its_md5_is_refused(server, tmp_path, monkeypatch):
    from torchvision import datasets

    address, folder = server
    (folder / "cifar.tar.gz").write_bytes(b"something else")
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{address}/cifar.tar.gz")
    load_fails("cifar10", tmp_path, "cifar-10-python.tar.gz", "corrupted", tmp_path)
