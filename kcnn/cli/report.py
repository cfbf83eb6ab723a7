"""`kcnn report`."""

from pathlib import Path

import click

from kcnn.cli.options import new_file, say
from kcnn.errors import UsageError


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="A new .html file.")
def command(runs: tuple[Path, ...], output: Path | None) -> None:
    """Write one HTML page about finished runs: scores, curves, confusions, mistakes and commands.

    The page fetches nothing and can be sent as it is. It goes to RUN/report.html, to report.html where the user stands
    for several runs, or to -o.
    """
    from kcnn.machine.files import write_text
    from kcnn.studies.page.build import to_html
    from kcnn.studies.table import runs_report

    path = output or (runs[0] / "report.html" if len(runs) == 1 else Path("report.html"))
    report = runs_report(runs)
    if output is not None or not _may_rewrite(path):
        _check(path)
    text = to_html(report)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    click.echo(path)
    say("Open it in a browser; it needs no network.")


def _may_rewrite(path: Path) -> bool:
    """Whether the file is a page of kcnn's own."""
    mark = b'<meta name="generator" content="kcnn">'
    return path.is_file() and mark in path.read_bytes()[:2000]


def _check(path: Path) -> None:
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{path}: a page's name ends in .html.")
    new_file(path)
