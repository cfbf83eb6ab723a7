"""`kcnn plot`."""

from pathlib import Path

import click

from kcnn.cli.options import backend, data_dir, device, picture_file, say
from kcnn.errors import KcnnError, UsageError, listed

HELP = "curves, confusion, mistakes, classes, reliability, filters, features, gradcam; several with commas, or all."


@click.command("plot")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--kind", "kinds", default="curves", metavar="KINDS", help=HELP, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE|DIR", help="A new file, or a folder.")
@click.option("--image", type=click.Path(path_type=Path), metavar="PICTURE", help="For features and gradcam.")
@click.option("--class", "class_name", default="", metavar="NAME", help="For gradcam; default the predicted class.")
@click.option("--split", default="test", metavar="test|validation", show_default=True, help="The images to predict.")
@data_dir
@backend
@device
def command(
    runs: tuple[Path, ...],
    kinds: str,
    output: Path | None,
    image: Path | None,
    class_name: str,
    split: str,
    data_dir: str,
    backend: str,
    device: str,
) -> None:
    """Draw pictures of one run or several.

    The curves of several runs share one picture. A picture goes to RUN/KIND.png, where kcnn draws its own pictures
    anew but never writes over another file, or to -o: a new .png, .svg or .pdf, or a folder.
    """
    from kcnn.results.subject import Subject
    from kcnn.run.directory import RunDir

    opened = [RunDir.open(path) for path in runs]
    chosen = _chosen(kinds)
    places = _places(opened, chosen, output)
    if chosen != ["curves"]:
        from kcnn.machine.backend import select

        select(backend, device)
    subjects = [Subject(run, split, data_dir, image, class_name) for run in opened]
    for kind, paths in places.items():
        _draw(kind, subjects, paths, skip="all" in kinds)


def _chosen(kinds: str) -> list[str]:
    from kcnn.results.subject import KINDS

    names = listed("kind", kinds, [*KINDS, "all"])
    return list(KINDS) if "all" in names else names


def _places(runs: list, kinds: list[str], output: Path | None) -> dict[str, list[Path]]:
    """Kind → where its pictures go: one for each run, but one in all for the curves of several runs.

    Raises:
        UsageError: a file that is not kcnn's to write over, or one name for several pictures.
    """
    folder = output is not None and (output.is_dir() or not output.suffix)
    places = {}
    for kind in kinds:
        together = kind == "curves" and len(runs) > 1
        homes = [Path()] if together else [run.path for run in runs]
        places[kind] = [(output if folder and output else home) / f"{kind}.png" for home in homes]
    paths = [path for row in places.values() for path in row]
    if len(set(paths)) < len(paths) or (len(paths) > 1 and output and not folder):
        raise UsageError(f"{output} is one name for {len(paths)} pictures: leave out -o, or draw one at a time.")
    return {kind: [picture_file(None if folder else output, path) for path in row] for kind, row in places.items()}


def _draw(kind: str, subjects: list, paths: list[Path], skip: bool) -> None:
    """Draw a kind for all runs; with `skip` a run that does not have what it takes is told, not an error."""
    from kcnn.results.subject import KINDS, overlay

    if len(paths) < len(subjects):
        overlay([subject.run for subject in subjects], paths[0])
        click.echo(paths[0])
        return
    for subject, path in zip(subjects, paths, strict=True):
        try:
            KINDS[kind](subject, path)
            click.echo(path)
        except UsageError:
            raise
        except KcnnError as error:
            if not skip:
                raise
            say(f"no {kind}: {error}")
