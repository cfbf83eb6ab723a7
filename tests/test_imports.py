"""What importing brings along, and what the package offers by name."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kcnn

PACKAGE = Path(kcnn.__file__).parent

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


# From the ground up: a room imports those of the floors before its own, and errors.
FLOORS = (
    ("machine", "methods"),
    ("models", "data", "native"),
    ("recipes", "run"),
    ("doctor", "starts", "plots"),
    ("results", "export"),
    ("training",),
    ("bench", "compare"),
    ("studies",),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if len(path.relative_to(PACKAGE).parts) > 1)


def test_every_room_has_a_floor():
    assert {file.parts[0] for file in FILES} == set(FLOOR)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_go_down_only(file):
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    rooms = {module.split(".")[1] for module in modules if module.startswith("kcnn.")} - {"errors", file.parts[0]}
    assert [room for room in rooms if FLOOR[room] >= FLOOR[file.parts[0]]] == []


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_function_is_called_like_its_module(file):
    """`from room import name` must not depend on which of the two was imported first."""
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    assert file.stem not in {getattr(node, "name", "") for node in tree.body}


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'kcnn' has no attribute 'trian'"):
        kcnn.trian  # noqa: B018


def test_torch_is_the_backend_unless_the_environment_says_otherwise():
    code = "import kcnn, os; print(os.environ['KERAS_BACKEND'])"
    for given, expected in (({}, "torch"), ({"KERAS_BACKEND": "jax"}, "jax")):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PATH": "", **given})
        assert done.stdout.strip() == expected, done.stderr
