"""`kcnn models`."""

import math
from typing import Any

import click

from kcnn.cli.options import as_json, print_json, print_table


@click.command()
@click.argument("name", required=False)
@as_json
def models(name: str | None, as_json: bool) -> None:
    """List the architectures, or print the layer table of one."""
    from kcnn.models import MODELS, check_options

    if name is not None:
        check_options(name, {})
    facts = [_facts(key) for key in ([name] if name else MODELS)]
    if as_json:
        print_json([row for row, _ in facts])
    elif name:
        facts[0][1].summary(line_length=90, print_fn=click.echo)
    else:
        columns = ("model", "parameters", "trainable", "MFLOPs/image", "input", "home data set")
        rows = [
            (
                row["name"],
                f"{row['parameters']:,}",
                f"{row['trainable_parameters']:,}",
                f"{row['flops'] / 1e6:,.1f}",
                "×".join(map(str, row["input_shape"])),
                row["dataset"],
            )
            for row, _ in facts
        ]
        print_table(rows, columns, right=(1, 2, 3))


def _facts(name: str) -> tuple[dict[str, Any], Any]:
    """The row of a model, and the model itself, on its home data set's images."""
    import keras

    from kcnn.models import MODELS, build_model
    from kcnn.models.flops import flops

    shape = (28, 28, 1) if MODELS[name].dataset == "mnist" else (32, 32, 3)
    # Torch's "meta" device gives shapes without memory: the whole list takes seconds.
    with keras.device("meta" if keras.backend.backend() == "torch" else "cpu"):
        model = build_model(name, shape)
    row = {
        "name": name,
        "parameters": model.count_params(),
        "trainable_parameters": sum(math.prod(variable.shape) for variable in model.trainable_variables),
        "flops": flops(model),
        "input_shape": list(shape),
        "dataset": MODELS[name].dataset,
    }
    return row, model
