"""A wrong option is told with the right one, for every command."""

import click
import pytest

from helpers import one_line_error
from kcnn.cli import main
from kcnn.cli.hints import near_options


@pytest.mark.parametrize(
    ("command", "wrong", "right"),
    [
        ("train", "--lr", ["--learning-rate"]),
        ("train", "--learning_rate", ["--learning-rate"]),
        ("train", "--learningrate", ["--learning-rate"]),
        ("train", "--bs", ["--batch-size"]),
        ("train", "--batch", ["--batch-size"]),
        ("train", "--optimiser", ["--optimizer"]),
        ("train", "--epoch", ["--epochs"]),
        ("train", "--val", ["--validation"]),
        ("train", "--gpu", ["--device"]),
        ("train", "--output", ["--run"]),
        ("train", "--wd", ["--set weight_decay=VALUE"]),
        ("train", "--label-smoothing", ["--set label_smoothing=VALUE"]),
        ("train", "--warmup", ["--set warmup_epochs=VALUE"]),
        ("train", "--frobnicate", []),
        ("lr-find", "--lr", ["--learning-rate"]),
        ("compare", "--backnds", ["--backends"]),
        ("export", "--out", ["--output"]),
        ("export", "--fmt", ["--format"]),
        ("evaluate", "--cvs", ["--csv"]),
        ("predict", "--datadir", ["--data-dir"]),
    ],
)
def test_the_options_that_are_near(command, wrong, right):
    found = near_options(wrong, main.commands[command])
    assert found[: len(right)] == right if right else found == []


def test_the_error_names_them(cli):
    one_line_error(cli("train", "--lr", "3"), 2, "No such option --lr. Did you mean --learning-rate?")
    one_line_error(cli("train", "--frobnicate"), 2, "No such option --frobnicate. See --help.")


def leaves(group):
    """(words, command) of every command below a group."""
    for name, command in group.commands.items():
        below = leaves(command) if isinstance(command, click.Group) else [((), command)]
        yield from (((name, *words), leaf) for words, leaf in below)


def first_option(command):
    return next((name for parameter in command.params for name in parameter.opts if name[:2] == "--"), None)


@pytest.mark.parametrize(("words", "option"), [(words, first_option(command)) for words, command in leaves(main)])
def test_every_command_has_its_hints(cli, words, option):
    if option is None:
        pytest.skip("takes no options")
    one_line_error(cli(*words, f"{option}x"), 2, f"Did you mean {option}")
