"""`kcnn predict`."""

from pathlib import Path
from typing import Any

import click

from kcnn.cli.options import as_json, backend, device, print_json, print_table, tta


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("pictures", nargs=-1, required=True, metavar="PATH...")
@click.option("--top", default=3, type=click.IntRange(min=1), help="Classes to show a picture.", show_default=True)
@tta
@backend
@device
@as_json
def predict(
    run: Path,
    pictures: tuple[str, ...],
    top: int,
    tta: tuple[str, ...],
    backend: str,
    device: str,
    as_json: bool,
) -> None:
    """Classify pictures with RUN, a run directory or a .keras file.

    PATHs are files, folders or patterns such as 'photos/*.jpg'. Pictures of any size are cut and resized to the
    model's input.
    """
    from kcnn.backend import INFERENCE, select
    from kcnn.predict import find_images, open_model, predict

    paths = find_images(pictures)
    select(backend, device, allowed=INFERENCE)
    from kcnn.accelerate import accelerate

    model, class_names = open_model(run)
    accelerate(model)
    rows = predict(model, class_names, paths, top, tta)
    if as_json:
        print_json(list(rows))
    else:
        print_table([(row["path"], _ranking(row["top"])) for row in rows], ("picture", "classes"))


def _ranking(top: list[dict[str, Any]]) -> str:
    return ", ".join(f"{best['class']} {best['probability']:.1%}" for best in top)
