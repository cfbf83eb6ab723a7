"""Options that several commands share, and the parsing of their values."""

import json
from pathlib import Path
from typing import Any

import click

from kcnn.errors import UsageError, printable

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout, for programs.")
data_dir = click.option(
    "--data-dir", default="", metavar="DIR", help="Folder of the data sets; default KCNN_DATA_DIR or ~/.cache/kcnn."
)
backend = click.option(
    "--backend", default="", metavar="NAME", help="Keras backend: torch, jax, tensorflow; openvino, numpy."
)
tta = click.option(
    "--tta",
    default="",
    metavar="LIST",
    callback=lambda context, parameter, text: _views(text),
    help="Average over views of each image: flip, shift or flip,shift; six; six-quarter, of the least certain.",
)
device = click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:N.")


def _views(text: str) -> tuple[str, ...]:
    from kcnn.results.views import parse_views

    return parse_views(text)


def print_json(value: Any) -> None:
    """JSON on stdout."""
    click.echo(json.dumps(value, indent=2))


def say(text: str) -> None:
    """Prose for people goes to stderr."""
    click.echo(text, err=True)


def print_table(rows: list[tuple[Any, ...]], headings: tuple[str, ...], right: tuple[int, ...] = ()) -> None:
    """A plain table on stdout; the columns with the indices `right` are set flush right."""
    text = [tuple(printable(cell) for cell in row) for row in (headings, *rows)]
    widths = [max(len(row[column]) for row in text) for column in range(len(headings))]
    for row in text:
        cells = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def new_file(path: Path) -> None:
    """Keep the name of a file for this command: a file that the user names is never written over.

    Raises:
        UsageError: it is already there.
    """
    from kcnn.machine.files import claimed

    try:
        click.get_current_context().with_resource(claimed(path))
    except FileExistsError as error:
        raise UsageError(f"{path} already exists: delete it, or name another file.") from error


def picture_file(output: Path | None, default: Path) -> Path:
    """Where a picture goes: the new file `output`, or `default`, which may be drawn again if kcnn drew it.

    Raises:
        UsageError: a file would be lost, or the name does not end as a picture's.
    """
    from kcnn.plots.figure import check_format, may_redraw

    if output is not None:
        check_format(output)
        new_file(output)
    elif not may_redraw(default):
        raise UsageError(f"{default} is there and was not drawn by kcnn: move it, or name another file with -o.")
    return output or default


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows with the same keys → a CSV file with a line of headings, written whole or not at all.

    File names that are no UTF-8 are written as the bytes that they are.
    """
    import csv
    from types import SimpleNamespace

    from kcnn.machine.files import write_text

    lines: list[str] = []
    # Told that lines end in \r\n, csv quotes a lone \r too, which before Python 3.13 it else forgets.
    writer = csv.DictWriter(SimpleNamespace(write=lines.append), list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(line.removesuffix("\r\n") + "\n" for line in lines))


def parse_augment(text: str) -> dict[str, Any]:
    """`crop,flip=0.3` → `{"crop": default, "flip": 0.3}`; `none` → `{}`."""
    from kcnn.data.augment.operations import AUGMENTATIONS

    chosen: dict[str, Any] = {}
    for item in [] if text == "none" else text.split(","):
        name, equals, magnitude = item.strip().partition("=")
        # An unknown name is left to the recipe's own check, which tells all errors at once.
        default = AUGMENTATIONS[name][0] if name in AUGMENTATIONS else 1.0
        chosen[name] = parse_value(magnitude) if equals else default
    return chosen


def parse_value(text: str) -> Any:
    """A TOML value; a bare word is a string."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # no TOML, too long a number, or too deep
        return text


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """`--set key=value` pairs → a dictionary."""
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(f"--set takes key=value; received {setting!r}.")
        values[key.strip()] = parse_value(value.strip())
    return values
