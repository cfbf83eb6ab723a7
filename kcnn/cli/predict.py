"""`kcnn predict`."""

from typing import Any

import click

from kcnn.cli.options import as_json, backend, device, print_json, print_table, tta
from kcnn.cli.source import check_source, is_weights_file, open_source, source_options
from kcnn.errors import UsageError


@click.command()
@click.argument("names", nargs=-1, metavar="[RUN] PATH...")
@source_options
@click.option("--top", default=3, type=click.IntRange(min=1), help="Classes to show a picture.", show_default=True)
@tta
@backend
@device
@as_json
def predict(
    names: tuple[str, ...],
    model: str,
    pretrained: str,
    settings: tuple[str, ...],
    top: int,
    tta: tuple[str, ...],
    backend: str,
    device: str,
    as_json: bool,
) -> None:
    """Classify pictures with RUN, a run directory or a .keras file, or with a network that knows ImageNet.

    `kcnn predict --model resnet18 --pretrained photo.jpg` needs no training.

    PATHs are files, folders or patterns such as 'photos/*.jpg'. Pictures of any size are cut and resized to the
    model's input.
    """
    from kcnn.backend import INFERENCE, select
    from kcnn.predict import find_images, predict

    if not is_weights_file(pretrained):  # `--pretrained photo.jpg`: the picture is not its value
        names, pretrained = (pretrained, *names), "imagenet"
    run, pictures = ("", names) if model or not names else (names[0], names[1:])
    source = check_source(run, model, pretrained, settings)
    if not pictures:
        raise UsageError("Name pictures, folders or patterns to classify.")
    paths = find_images(pictures)
    select(backend, device, allowed=INFERENCE)
    from kcnn.accelerate import accelerate

    network, class_names, resize = open_source(run, model, pretrained, source)
    accelerate(network)
    rows = predict(network, class_names, paths, top, tta, resize)
    if as_json:
        print_json(list(rows))
    else:
        print_table([(row["path"], _ranking(row["top"])) for row in rows], ("picture", "classes"))


def _ranking(top: list[dict[str, Any]]) -> str:
    return ", ".join(f"{best['class']} {best['probability']:.1%}" for best in top)
