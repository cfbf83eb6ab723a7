"""What importing brings along, and what the package offers by name."""

import subprocess
import sys
from importlib import import_module

import pytest

import kcnn

LISTING = "import sys; {code}; print(' '.join(sorted(m for m in sys.modules if '.' not in m)))"
HEAVY = {"keras", "torch", "torchvision", "sklearn", "matplotlib", "PIL"}


@pytest.mark.parametrize(
    ("code", "also_absent"),
    [
        ("import kcnn", {"numpy", "click"}),
        ("from kcnn.cli import main; main(['--help'], standalone_mode=False)", {"numpy"}),
        ("import kcnn.recipes.recipe, kcnn.run.directory, kcnn.run.history", set()),
    ],
)
def test_light_imports(code, also_absent):
    done = subprocess.run([sys.executable, "-c", LISTING.format(code=code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = set(done.stdout.splitlines()[-1].split())
    assert "kcnn" in found
    assert not (HEAVY | also_absent) & found


@pytest.mark.parametrize("name", kcnn.__all__)
def test_public_names(name):
    assert getattr(kcnn, name).__module__.startswith("kcnn")


@pytest.mark.parametrize("name", ["train", "accelerate"])
def test_a_function_is_not_hidden_by_its_module(name):
    """Importing `kcnn.train` makes Python set the module as an attribute of the package."""
    module = import_module(f"kcnn.{name}")
    assert getattr(kcnn, name) is getattr(module, name)
    assert callable(getattr(kcnn, name))


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'kcnn' has no attribute 'trian'"):
        kcnn.trian  # noqa: B018


def test_torch_is_the_backend_unless_the_environment_says_otherwise():
    code = "import kcnn, os; print(os.environ['KERAS_BACKEND'])"
    for given, expected in (({}, "torch"), ({"KERAS_BACKEND": "jax"}, "jax")):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PATH": "", **given})
        assert done.stdout.strip() == expected, done.stderr
