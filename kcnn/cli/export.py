"""`kcnn export`."""

from pathlib import Path

import click

from kcnn.cli.options import backend, say
from kcnn.cli.source import check_source, open_source, source_options

FORMATS_HELP = "keras, onnx, torch, torchvision, openvino or tensorflow."


@click.command("export")
@click.argument("run", default="")
@source_options
@backend
@click.option("--format", "kind", default="keras", metavar="WORD", help=FORMATS_HELP, show_default=True)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The file to write.")
def command(
    run: str, model: str, pretrained: str, settings: tuple[str, ...], backend: str, kind: str, output: Path
) -> None:
    """Write the best model of RUN in a form that takes raw uint8 images, and check it against the model.

    RUN is a run directory or a .keras file; `--model vgg16 --pretrained` converts torchvision's weights instead.
    A model in half precision is written in float32, in format keras as it is.
    Format torchvision is a state dict for torchvision's own network; images come normalised to it.
    """
    from kcnn.export.formats import check_target, export_model
    from kcnn.machine.backend import INFERENCE, select

    check_target(kind, output)
    source = check_source(run, model, pretrained, settings)
    select(backend, allowed=INFERENCE)
    network, class_names, preparation = open_source(run, model, pretrained, source)
    difference = export_model(network, class_names, kind, output, preparation.kept)
    click.echo(str(output))
    say(f"opened again and compared: largest difference from the model's logits in float32 {difference:.1e} (relative)")
    if kind == "torchvision":
        from kcnn.models.registry import normalization

        mean, std = ([round(value, 4) for value in numbers] for numbers in normalization(network))
        say(f"its images: scaled to 0…1, then mean {mean}, std {std}")
