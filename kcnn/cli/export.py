"""`kcnn export`."""

from pathlib import Path

import click

from kcnn.cli.options import say


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "kind", default="keras", metavar="keras|onnx", help="What to write.", show_default=True)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The file to write.")
def export(run: Path, kind: str, output: Path) -> None:
    """Write the best model of RUN to one file that takes raw uint8 images, and check it against the model."""
    from kcnn.errors import UsageError, unknown
    from kcnn.export import FORMATS, export
    from kcnn.predict import open_model

    if kind not in FORMATS:
        raise UsageError(unknown("format", kind, FORMATS))
    model, class_names = open_model(run)
    difference = export(model, class_names, kind, output)
    click.echo(str(output))
    say(f"{output.stat().st_size:,} bytes; largest difference from the model's logits {difference:.1e} (relative)")
