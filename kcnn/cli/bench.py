"""`kcnn bench`."""

from typing import Any

import click

from kcnn.cli.options import as_json, device, print_json, print_table, say
from kcnn.errors import UsageError


@click.command("bench")
@click.option("--model", default="resnet18", metavar="NAME", show_default=True, help="See `kcnn models`.")
@click.option("--batch-size", default=128, type=click.IntRange(min=1), show_default=True, help="Images in a step.")
@click.option("--mode", default="train", metavar="NAME", show_default=True, help="train or predict.")
@click.option("--engines", default="kcnn,pytorch,keras", metavar="LIST", show_default=True, help="What to measure.")
@click.option("--precision", default="", metavar="NAME", help="Default mixed_bfloat16 on CUDA, float32 elsewhere.")
@click.option("--rounds", default=5, type=click.IntRange(min=1), metavar="N", show_default=True, help="Turns.")
@click.option("--seconds", default=2.0, metavar="X", show_default=True, help="Of each engine in each round, about.")
@device
@as_json
def command(model: str, mode: str, engines: str, precision: str, as_json: bool, **options: Any) -> None:
    """Measure kcnn against a hand-written PyTorch loop and stock Keras.

    The same model, batches and optimizer in each; one process each, in turns, so that a machine that is busy with
    something else slows all of them.
    """
    from kcnn.bench.rounds import MODES, measure, parse_engines
    from kcnn.errors import unknown
    from kcnn.machine.backend import PRECISIONS
    from kcnn.models.registry import MODELS

    for kind, name, allowed in (("model", model, MODELS), ("mode", mode, MODES), ("precision", precision, PRECISIONS)):
        if name not in allowed and name:
            raise UsageError(unknown(kind, name, allowed))
    report = measure(model, mode=mode, engines=parse_engines(engines), precision=precision, say=say, **options)
    print_json(report) if as_json else _print(report)


def _print(report: dict[str, Any]) -> None:
    print_table(
        [
            (
                name,
                *(f"{row['images_per_second'][key]:,.0f}" for key in ("median", "min", "max")),
                row["peak_memory_mb"],
            )
            for name, row in report["engines"].items()
        ],
        ("engine", "images/s", "min", "max", "peak memory, MB"),
        right=(1, 2, 3, 4),
    )
    for other in ("pytorch", "keras"):
        if report[f"ratio_to_{other}"]:
            click.echo(f"kcnn is {report[f'ratio_to_{other}']:.2f} times as fast as {other}.")
