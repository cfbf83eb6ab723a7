"""`kcnn schedule`."""

from pathlib import Path
from typing import Any

import click

from kcnn.cli.options import as_json, parse_settings, picture_file, print_json, print_table, say

STEPS = 100  # points drawn in an epoch
MOST_ROWS = 24


@click.command("schedule")
@click.argument("recipe", metavar="RECIPE")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a key of the recipe; repeatable.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Default RECIPE-schedule.png.")
@as_json
def command(recipe: str, settings: tuple[str, ...], output: Path | None, as_json: bool) -> None:
    """Draw the learning rate of RECIPE before anything is trained, and its batch size where that changes.

    RECIPE is a shipped recipe, a .toml file or a run directory.
    """
    from kcnn import plots
    from kcnn.recipes.files import find_recipe
    from kcnn.recipes.stages import planned_rates

    folder = Path(recipe).is_dir()
    plan = find_recipe(str(Path(recipe) / "recipe.toml") if folder else recipe)[1].replace(**parse_settings(settings))
    name = Path(recipe).resolve().name.removesuffix(".toml")
    path = picture_file(output, Path(f"{name}-schedule.png"))
    points = planned_rates(plan, STEPS)
    plots.schedule(points, f"{name}: {plan.schedule}, {plan.epochs} epochs", path)
    print_json(_epochs(points)) if as_json else _print(_epochs(points))
    if plan.schedule == "plateau":
        say("plateau lowers the rate when the validation loss stands still; what is drawn is the rate until then")
    say(f"drawn to {path}")


def _epochs(points: list[tuple[float, float, int]]) -> list[dict[str, Any]]:
    """A row an epoch: the rate of its first and of its last step, to 6 digits."""
    rows = zip(points[::STEPS], points[STEPS - 1 :: STEPS], strict=True)
    return [
        {
            "epoch": index,
            "batch_size": first[2],
            "first_rate": float(f"{first[1]:.6g}"),
            "last_rate": float(f"{last[1]:.6g}"),
        }
        for index, (first, last) in enumerate(rows, start=1)
    ]


def _print(rows: list[dict[str, Any]]) -> None:
    """Every epoch of a short run, about `MOST_ROWS` of a long one, the last among them."""
    step = -(-len(rows) // MOST_ROWS)
    shown = [row for row in rows if (row["epoch"] - 1) % step == 0 or row["epoch"] == len(rows)]
    body = [(row["epoch"], row["batch_size"], f"{row['first_rate']:.4g}", f"{row['last_rate']:.4g}") for row in shown]
    print_table(body, ("epoch", "batch size", "first rate", "last rate"), right=(0, 1, 2, 3))
