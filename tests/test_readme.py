"""The README's commands exist, with these options, and its table of files is the run directory's."""

import re
import shlex
from pathlib import Path

import click
import pytest

from kcnn.cli import main
from kcnn.recipes.files import find_recipe

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def shell_commands():
    """Every `kcnn …` of the shell blocks, as a list of words; comments and the output of commands are left out."""
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", README, re.M | re.S)
    text = "\n".join(blocks).replace("\\\n", " ")
    parts = [part for line in text.splitlines() for part in re.split(r"&&|\|", line)]
    words = [shlex.split(part, comments=True) for part in parts]
    return [entry[entry.index("kcnn") + 1 :] for entry in words if "kcnn" in entry[:3]]


def test_the_readme_shows_the_main_commands():
    assert {"train", "evaluate", "predict", "export"} <= {words[0] for words in shell_commands()}


@pytest.mark.parametrize("words", shell_commands(), ids=" ".join)
def test_commands_parse(words):
    name, *arguments = words
    command = main.commands[name]
    root = click.Context(main, **main.context_settings)  # click keeps the help option that it first meets
    context = command.make_context(name, list(arguments), parent=root)
    if isinstance(command, click.Group):
        name, *arguments = arguments
        context = command.commands[name].make_context(name, arguments, parent=root)
    if name == "train" and not context.params["resume"]:
        recipe = context.params["recipe"]
        if not recipe.endswith(".toml"):
            find_recipe(recipe, context.params["model"], context.params["dataset"])


def test_commands_in_running_text_exist():
    inline = re.findall(r"`kcnn ([a-z-]+)[^`]*`", README)
    assert inline
    assert set(inline) <= set(main.commands)


def test_the_set_up_is_two_commands():
    assert "pip install -e . && kcnn train" in README
    assert 'pip install -e ".[test]" && pytest' in README


def test_every_file_of_a_run_is_explained(trained):
    for file in trained[0].iterdir():
        assert f"`{file.name}`" in README, file.name
