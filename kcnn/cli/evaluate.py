"""`kcnn evaluate`."""

from pathlib import Path
from typing import Any

import click

from kcnn.cli.options import as_json, backend, data_dir, device, print_json, print_table


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@data_dir
@backend
@device
@as_json
def evaluate(run: Path, data_dir: str, backend: str, device: str, as_json: bool) -> None:
    """Score the best model of RUN on its test images."""
    from kcnn.backend import select
    from kcnn.rundir import RunDir

    RunDir.open(run).checkpoint()  # a wrong path is told before keras is imported
    select(backend, device)
    from kcnn.evaluate import evaluate_run

    report = evaluate_run(run, data_dir)
    print_json(report) if as_json else _print(report)


def _print(report: dict[str, Any]) -> None:
    test, confusion = report["test"], report["confusion"]
    rows = [
        (row["class"], f"{row['precision']:.3f}", f"{row['recall']:.3f}", f"{row['f1']:.3f}", row["images"])
        for row in report["per_class"]
    ]
    print_table(rows, ("class", "precision", "recall", "F1", "images"), right=(1, 2, 3, 4))
    if len(confusion) <= 20:
        names = [row["class"][:10] for row in report["per_class"]]
        click.echo("\nconfusion matrix: rows true, columns predicted")
        body = [(name, *counts) for name, counts in zip(names, confusion, strict=True)]
        print_table(body, ("", *names), right=tuple(range(1, len(names) + 1)))
    click.echo(f"\naccuracy {test['accuracy']:.4f}  top-5 {test['top5']:.4f}  loss {test['loss']:.4f}")
