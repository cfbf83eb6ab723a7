"""`kcnn evaluate`."""

from pathlib import Path
from typing import Any

import click

from kcnn.cli.options import (
    as_json,
    backend,
    data_dir,
    device,
    new_file,
    parse_augment,
    print_json,
    print_table,
    tta,
    write_csv,
)
from kcnn.errors import shown


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--split", default="test", metavar="test|validation", show_default=True, help="The images to score on.")
@click.option("--top", default=0, type=click.IntRange(min=0), metavar="K", help="Add the accuracy among the K best.")
@click.option("--csv", "table", type=click.Path(path_type=Path), metavar="FILE", help="Write scores by class there.")
@click.option("--predictions", type=click.Path(path_type=Path), metavar="FILE", help="Keep all probabilities there.")
@click.option("--augment", metavar="LIST", help="Augment each image once before it is scored, such as crop,flip.")
@tta
@data_dir
@backend
@device
@as_json
def command(
    run: Path,
    split: str,
    top: int,
    table: Path | None,
    predictions: Path | None,
    augment: str | None,
    tta: tuple[str, ...],
    data_dir: str,
    backend: str,
    device: str,
    as_json: bool,
) -> None:
    """Score the best model of RUN on its test images, or on those that it kept for validation."""
    _check(run, split, table, predictions)
    moves = _moves(augment)
    from kcnn.machine.backend import INFERENCE, select

    select(backend, device, allowed=INFERENCE)
    from kcnn.results.scores import evaluate_run

    report = evaluate_run(run, data_dir, split, top, tta, moves, predictions)
    if table is not None:
        write_csv(table, report["per_class"])
    print_json(report) if as_json else _print(report, split)


def _moves(augment: str | None) -> dict[str, float]:
    """The augmentations of the test images, by name."""
    from kcnn.data.augment.operations import check_magnitudes

    return check_magnitudes(parse_augment(augment)) if augment else {}


def _check(run: Path, split: str, *files: Path | None) -> None:
    """What is wrong with the arguments is told before keras is imported."""
    from kcnn.errors import UsageError, unknown
    from kcnn.results.scores import SPLITS
    from kcnn.run.directory import RunDir

    if split not in SPLITS:
        raise UsageError(unknown("split", split, SPLITS))
    for file in filter(None, files):
        new_file(file)
    RunDir.open(run).checkpoint()


def _print(report: dict[str, Any], split: str) -> None:
    score, confusion = report[split], report["confusion"]
    rows = [
        (shown(row["class"]), f"{row['precision']:.3f}", f"{row['recall']:.3f}", f"{row['f1']:.3f}", row["images"])
        for row in report["per_class"]
    ]
    print_table(rows, ("class", "precision", "recall", "F1", "images"), right=(1, 2, 3, 4))
    if len(confusion) <= 20:
        names = [shown(row["class"], 10) for row in report["per_class"]]
        click.echo("\nconfusion matrix: rows true, columns predicted")
        body = [(name, *counts) for name, counts in zip(names, confusion, strict=True)]
        print_table(body, ("", *names), right=tuple(range(1, len(names) + 1)))
    words = {"ece": "calibration error", **{key: f"top-{key[3:]}" for key in score if key.startswith("top")}}
    low, high = score["interval"]
    numbers = {key: f"{value:.4f}" for key, value in score.items() if key != "interval"}
    numbers["accuracy"] += f" (95 % interval {low:.4f} to {high:.4f})"
    scores = "  ".join(f"{words.get(key, key)} {value}" for key, value in numbers.items())
    click.echo(f"\n{split}: {scores}")
