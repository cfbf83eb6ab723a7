"""`kcnn lr-find`."""

from pathlib import Path
from typing import Any

import click

from kcnn.cli.options import as_json, picture_file, print_json, say
from kcnn.cli.plan import plan_recipe, recipe_options
from kcnn.errors import UsageError


@click.command("lr-find")
@recipe_options
@click.option("--low", default=1e-5, metavar="X", show_default=True, help="The first learning rate.")
@click.option("--high", default=10.0, metavar="X", show_default=True, help="The last, if the loss does not break out.")
@click.option("--steps", default=200, type=click.IntRange(min=10), metavar="N", show_default=True, help="Batches.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Default lr-MODEL-DATASET.png.")
@as_json
def command(low: float, high: float, steps: int, output: Path | None, as_json: bool, **options: Any) -> None:
    """Find a learning rate: train a few batches while it rises, and draw the loss.

    It takes the options of `kcnn train`; the weights are thrown away.
    """
    from kcnn.recipes.recipe import FIELDS

    most = FIELDS["learning_rate"].metadata["range"][1]
    if not 0 < low < high <= most:
        raise UsageError(f"--low and --high must be rising from above 0 to {most:g}; received {low:g} and {high:g}.")
    name, plan = plan_recipe(**options)
    path = picture_file(output, Path(f"lr-{plan.model}-{plan.dataset}.png"))
    say(f"{plan.model} on {plan.dataset}, recipe {name}: up to {steps} steps from {low:g} to {high:g}")
    from kcnn import plots
    from kcnn.machine import backend

    backend.select(plan.backend, plan.device, plan.precision)
    from kcnn.training.lr_find import range_test

    test = range_test(plan, low, high, steps)
    found = {"suggestion": test.suggestion, "steepest": test.steepest, "minimum": test.minimum}
    plots.range_test(test.rates, test.losses, test.smoothed, found, path)
    print_json({**found, "steps": len(test.rates)}) if as_json else _print(found, path)


def _print(found: dict[str, float], path: Path) -> None:
    peak = found["minimum"]
    click.echo(f"learning rate {found['suggestion']:.2g}")
    say(f"the loss is lowest at {peak:.2g} and falls fastest at {found['steepest']:.2g}")
    say(f"A constant rate: a tenth of the lowest point's. The peak of one_cycle or after a warm-up: up to {peak:.2g}.")
    say(f"drawn to {path}")
