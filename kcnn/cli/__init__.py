"""The command line: one file a command. Nothing here imports keras or torch before a command runs."""

import errno
import os
import signal
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
    report,
    schedule,
    study,
    train,
)
from kcnn.cli.hints import did_you_mean
from kcnn.errors import KcnnError, printable
from kcnn.machine import stopping
from kcnn.machine.terminal import never_fail


class OneLineErrors(click.Group):
    """Ends a command that fails for a reason that the user can mend with one line instead of a traceback."""

    def main(self, args: Any = None, *rest: Any, **options: Any) -> Any:
        if args is None:  # called by a shell, and not by a program that has signals of its own
            stopping.listen()
        return super().main(args, *rest, **options)

    def invoke(self, ctx: click.Context) -> Any:
        never_fail(sys.stdout, sys.stderr)
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # at the interpreter's end it would be too late to tell what went wrong
            return result
        except click.NoSuchOption as error:
            raise did_you_mean(error) from error
        except BrokenPipeError:
            return _reader_left()
        except KeyboardInterrupt as error:
            code, message = 130, stopping.farewell(sentences=getattr(error, "__notes__", []))
        except KcnnError as error:
            code, message = error.exit_code, f"Error: {error}"
        except OSError as error:
            code, message = 1, f"Error: {_file_error(error)}"
        except NotImplementedError as error:  # what Keras' smaller backends raise for a layer or job that they lack
            reason = (str(error).strip().splitlines() or ["a part of this model"])[0].rstrip(".")
            backend = os.environ["KERAS_BACKEND"]
            code, message = 1, f"Error: The backend {backend} lacks what this needs ({reason}). Try another."
        click.echo(printable(message), err=True)
        ctx.exit(code)


def _reader_left() -> None:
    """Whoever read stdout has seen enough, as in `kcnn models | head -1`: end as programs do, without a word."""
    stopping.leave(128 + signal.SIGPIPE)


def _file_error(error: OSError) -> str:
    advice = {
        **{errno.EACCES: "Choose a place where you may write.", errno.ENOSPC: "Free some space, then run again."},
        **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "Move it away, or choose another place."),
    }
    name = f"{error.filename}: " if error.filename else ""
    return f"{name}{error.strerror or error}. {advice.get(error.errno or 0, 'Check that the file can be read.')}"


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(kcnn.__version__, prog_name="kcnn")
def main() -> None:
    """Train, compare and export convolutional image classifiers on Keras 3.

    Start with `kcnn train`: LeNet-5 on handwritten digits, in under a minute.
    """


COMMANDS = (
    *(train, evaluate, predict, export, compare, study, report),
    *(models, datasets, data, recipes, plot, schedule, lr_find, bench, doctor),
)
for module in COMMANDS:
    main.add_command(module.command)
