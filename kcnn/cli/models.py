"""`kcnn models`."""

import math
from typing import Any

import click

from kcnn.cli.options import as_json, print_json, print_table


@click.command("models")
@click.argument("name", required=False)
@as_json
def command(name: str | None, as_json: bool) -> None:
    """List the architectures, or print the layer table of one."""
    from kcnn.models.registry import MODELS, check_options

    if name is not None:
        check_options(name, {})
    facts = [_facts(key) for key in ([name] if name else MODELS)]
    if as_json:
        print_json([row for row, _ in facts])
    elif name:
        _print_layers(*facts[0])
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


def _print_layers(facts: dict[str, Any], model: Any) -> None:
    """The layer table of one model."""
    from kcnn.models.flops import layer_flops

    rows = [
        (
            layer.name,
            type(layer).__name__,
            "×".join(str(size) for size in layer.output.shape[1:]),
            f"{layer.count_params():,}",
            f"{layer_flops(layer) / 1e6:,.2f}",
        )
        for layer in model.layers
    ]
    print_table(rows, ("layer", "kind", "output", "parameters", "MFLOPs"), right=(2, 3, 4))
    click.echo(
        f"\n{facts['parameters']:,} parameters, {facts['trainable_parameters']:,} trainable; "
        f"{facts['flops'] / 1e6:,.1f} MFLOPs an image"
    )


def _facts(name: str) -> tuple[dict[str, Any], Any]:
    """The row of a model, and the model itself, on its home data set's images."""
    from kcnn.machine.backend import INFERENCE, select

    select(allowed=INFERENCE)
    import keras

    from kcnn.models.flops import model_flops
    from kcnn.models.registry import MODELS, build_model

    shape = (28, 28, 1) if MODELS[name].dataset == "mnist" else (32, 32, 3)
    # Torch's "meta" device gives shapes without memory: the whole list takes seconds.
    with keras.device("meta" if keras.backend.backend() == "torch" else "cpu"):
        model = build_model(name, shape)
    row = {
        "name": name,
        "parameters": model.count_params(),
        "trainable_parameters": sum(math.prod(variable.shape) for variable in model.trainable_variables),
        "flops": model_flops(model),
        "input_shape": list(shape),
        "dataset": MODELS[name].dataset,
    }
    return row, model
