"""Shared by all tests: a clean environment and one small trained run; see `helpers` for the rest."""

import os
import socket
import tempfile
from importlib import import_module

import pytest
from click.testing import CliRunner

os.environ["KERAS_HOME"] = tempfile.mkdtemp(prefix="keras-home-")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the same numbers on every machine
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the networks of these tests are too small to share
FULL_DATA = os.environ.pop("KCNN_DATA_DIR", "")
import_module("kcnn")  # names torch as the backend before a test imports keras


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Connections that leave this machine fail at once, as on a machine without a network."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(101, "Network is unreachable")
        return connect(self, address)

    def resolve(host, *args, **kwargs):
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise socket.gaierror(-2, "Name or service not known")
        return resolver(host, *args, **kwargs)

    resolver = socket.getaddrinfo
    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.fixture(autouse=True)
def empty_home(monkeypatch, tmp_path_factory):
    """No data sets of the user's own in sight."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp() / "home"))


@pytest.fixture
def full_data():
    """The folder of the full data sets, for tests marked `realdata`."""
    if not FULL_DATA:
        pytest.skip("KCNN_DATA_DIR names no folder with the full data sets")
    return FULL_DATA


@pytest.fixture
def cli():
    """Runs the command line in this process: `cli("train", "--epochs", "1")` → click's result."""
    from kcnn.cli import main

    def run(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def no_pictures(monkeypatch):
    """Drawing them takes longer than the trainings of most tests."""
    for name in ("curves", "confusion"):
        monkeypatch.setattr(f"kcnn.plots.{name}", lambda *arguments: None)


# ---- one small trained run -------------------------------------------------------------------------------------------

SMALL = ("train", "--epochs", "2", "--limit-train", "300", "--batch-size", "32", "--augment", "shift=1")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """(run directory, click's result) of LeNet-5 on 300 digits, 2 epochs; not to be changed by a test."""
    from kcnn.cli import main

    run = tmp_path_factory.mktemp("runs") / "small"
    result = CliRunner().invoke(main, [*SMALL, "--run", str(run)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return run, result


# ---- one tiny run in each precision ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def trained_in(tmp_path_factory):
    """`trained_in("lenet5", "bfloat16")` → (recipe, run directory); trained when it is first asked for."""
    from kcnn.machine import backend
    from kcnn.run.directory import RunDir
    from precision import SIZES, recipe_of, write_data
    from runs import train

    known = {}

    def get(model, precision):
        if (model, precision) not in known:
            folder = tmp_path_factory.mktemp(f"{model}-{precision}")
            recipe = recipe_of(model, precision, write_data(folder / "data", SIZES[model]))
            run = RunDir.create(folder / "run", "x")
            backend.select("torch", precision=precision)
            train(recipe, run)
            backend.select("torch")
            known[model, precision] = recipe, run
        return known[model, precision]

    return get


@pytest.fixture
def any_precision():
    """For tests that choose one: it is float32 again afterwards."""
    from kcnn.machine import backend

    yield
    backend.select("torch")
