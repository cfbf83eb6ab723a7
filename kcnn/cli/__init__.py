"""The command line: one file a command. Nothing here imports keras or torch before a command runs."""

import os
import sys
from typing import Any

import click

import kcnn
from kcnn.cli import (
    bench,
    compare,
    data,
    datasets,
    doctor,
    evaluate,
    export,
    lr_find,
    models,
    plot,
    predict,
    recipes,
    schedule,
    train,
)
from kcnn.errors import KcnnError


class OneLineErrors(click.Group):
    """Ends a command that fails for a reason that the user can mend with one line instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KcnnError as error:
            code, message = error.exit_code, str(error)
        except OSError as error:
            code, message = 1, _file_error(error)
        except NotImplementedError as error:  # what Keras' smaller backends raise for a layer or job that they lack
            reason = (str(error).strip().splitlines() or ["a part of this model"])[0].rstrip(".")
            code, message = (
                1,
                f"The backend {os.environ['KERAS_BACKEND']} lacks what this needs ({reason}). Try another.",
            )
        click.echo(f"Error: {message}", err=True)
        ctx.exit(code)


def _file_error(error: OSError) -> str:
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()
        return ""
    advice = {13: "Choose a place where you may write.", 28: "Free some space, then run again."}
    name = f"{error.filename}: " if error.filename else ""
    return f"{name}{error.strerror or error}. {advice.get(error.errno or 0, 'Check that the file can be read.')}"


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(kcnn.__version__, prog_name="kcnn")
def main() -> None:
    """Train, compare and export convolutional image classifiers on Keras 3.

    Start with `kcnn train`: LeNet-5 on handwritten digits, in under a minute.
    """


COMMANDS = (
    *(train, evaluate, predict, export, compare),
    *(models, datasets, data, recipes, plot, schedule, lr_find, bench, doctor),
)
for module in COMMANDS:
    main.add_command(module.command)
