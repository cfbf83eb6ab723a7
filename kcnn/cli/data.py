"""`kcnn data`."""

from pathlib import Path
from typing import Any

import click

from kcnn.cli.options import data_dir, new_file, parse_augment, say

COLUMNS = 10  # images in a row of the picture


@click.command("data")
@click.argument("dataset")
@data_dir
@click.option("--augment", metavar="LIST", help="Such as crop,flip=0.3; default every one, each on its own.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Default DATASET.png.")
@click.option("--image-size", default=0, metavar="N", help="Pixels a side, for pictures of no fixed size.")
@click.option("--seed", default=0, metavar="N", help="Of the images and of what is drawn for them.", show_default=True)
def command(dataset: str, data_dir: str, augment: str | None, output: Path | None, image_size: int, seed: int) -> None:
    """Draw training images of DATASET, one of `kcnn datasets` or a folder, before and after augmentation.

    A row for each augmentation, and one for all of them together, in the order of the list.
    """
    from kcnn.data.registry import named_dataset
    from kcnn.plots.figure import check_format

    dataset, data_dir = named_dataset(dataset, data_dir)
    names = {} if augment is None else parse_augment(augment)
    plan = _recipe({"dataset": dataset, "augment": names, "image_size": image_size, "seed": seed, "data_dir": data_dir})
    output = output or Path(f"{dataset}.png")
    new_file(output)
    check_format(output)
    rows = _draw(plan, augment is None, output)
    click.echo(str(output))
    say(f"{COLUMNS} training images of {dataset}: {', '.join(rows)}")


def _recipe(values: dict[str, Any]) -> Any:
    from kcnn.recipes.recipe import Recipe

    return Recipe.of(values)


def _draw(plan: Any, every: bool, output: Path) -> list[str]:
    """Draw the picture; the names of its rows."""
    from kcnn.machine.backend import select

    select()
    from kcnn.data.augment.operations import check_data
    from kcnn.data.preview import fitting, some_images, treatments
    from kcnn.data.registry import load_dataset
    from kcnn.plots.image_table import rows
    from kcnn.plots.text import drawable

    dataset = load_dataset(plan.dataset, plan.data_dir, plan.image_size)
    shown = some_images(dataset, COLUMNS, plan.seed)
    names = fitting(dataset, len(shown)) if every else plan.augment
    check_data(names, shown.images.shape[1:], len(dataset.class_names), len(shown))
    table = treatments(shown.images, names, not every, plan.seed)
    class_names = drawable(dataset.class_names)
    titles = [class_names[label] for label in shown.labels]
    rows(table, titles, f"{plan.dataset}, training images, seed {plan.seed}", output)
    return [name for name, _ in table]
