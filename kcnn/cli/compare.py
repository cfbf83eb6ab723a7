"""`kcnn compare`."""

from pathlib import Path
from typing import Any

import click

from kcnn.cli.options import as_json, picture_file, print_json, print_table, say
from kcnn.cli.plan import plan_recipe, recipe_options
from kcnn.errors import KcnnError, UsageError

EPOCHS = 3  # a comparison of backends asks for speed and agreement, not for the last tenth of a per cent


@click.command("compare")
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN RUN...]")
@click.option("--backends", metavar="LIST", help="Train on each of these, such as torch,jax,tensorflow.")
@recipe_options
@click.option("-o", "output", type=click.Path(path_type=Path), help="Picture of the runs, or folder of the backends.")
@as_json
def command(runs: tuple[Path, ...], backends: str | None, output: Path | None, as_json: bool, **options: Any) -> None:
    """Compare Keras backends on one training, or finished runs.

    With --backends: the same weights, batches and augmentation on each backend, one process each, and a table and a
    picture of speed, memory, losses and agreement; the other options make the recipe, as in `kcnn train`
    (default 3 epochs). With RUN RUN...: the settings that differ, the scores, and all curves in one picture.
    """
    _check(runs, backends, options)
    report = _compare_runs(runs, output) if backends is None else _compare_backends(backends, output, options)
    if as_json:
        print_json(report)
    elif backends is None:
        _print_runs(report)
    else:
        _print_backends(report)
    if backends and all("error" in row for row in report["backends"].values()):
        raise KcnnError("No backend could train.")


def _check(runs: tuple[Path, ...], backends: str | None, options: dict[str, Any]) -> None:
    given = any(value not in (None, "", ()) for value in options.values())
    if backends is None and len(runs) < 2:
        raise UsageError("Name at least two runs, or the backends to train on: --backends torch,jax,tensorflow.")
    if runs and (given or backends is not None):
        raise UsageError("Runs are compared as they are: leave out --backends and the options of a training.")
    if options["backend"]:
        raise UsageError("A comparison takes --backends, a list; leave out --backend.")


def _compare_runs(runs: tuple[Path, ...], output: Path | None) -> dict[str, Any]:
    from kcnn.compare.runs import compare_runs

    picture = picture_file(output, Path("compare.png"))
    report = compare_runs(runs, picture)
    say(f"curves: {picture}")
    return report


def _compare_backends(backends: str, output: Path | None, options: dict[str, Any]) -> dict[str, Any]:
    from kcnn.compare.backends import compare_backends, parse_backends
    from kcnn.machine.files import new_folder

    names = parse_backends(backends)
    found, plan = plan_recipe(**{**options, "epochs": options["epochs"] or EPOCHS, "backend": names[0]})
    try:
        folder = new_folder(output, f"compare-{plan.model}-{plan.dataset}", "compare.toml", plan.to_toml())
    except FileExistsError as error:
        raise UsageError(f"{error.filename} already exists and is not empty: name another folder with -o.") from error
    say(
        f"{plan.model} on {plan.dataset}, {plan.epochs} epochs on each of {', '.join(names)}, recipe {found} → {folder}"
    )
    report = compare_backends(plan, names, folder, say)
    say(f"picture: {folder / 'compare.png'}")
    return report


def _print_runs(report: dict[str, Any]) -> None:
    runs, settings = report["runs"], report["settings"]
    columns = ("test accuracy", "validation", "best epoch", "epochs", "seconds", "images/s", "parameters", "device")
    rows = [(name, *map(_cell, row.values())) for name, row in runs.items()]
    print_table(rows, ("run", *columns), right=tuple(range(1, 8)))
    click.echo("\nsettings that differ" if settings else "\nThe settings are the same.")
    if settings:
        print_table([(key, *(_cell(row[name]) for name in runs)) for key, row in settings.items()], ("", *runs))


def _print_backends(report: dict[str, Any]) -> None:
    columns = ("backend", "images/s", "first step, s", "peak memory, MB", "test accuracy", "training loss by epoch")
    rows: list[tuple[Any, ...]] = []
    for name, row in report["backends"].items():
        if "error" in row:
            rows.append((name, "-", "-", "-", "-", row["error"]))
        else:
            losses = " ".join(f"{loss:.4f}" for loss in row["losses"])
            cells = (f"{row['images_per_second']:,.0f}", f"{row['compile_seconds']:.2f}", f"{row['peak_memory_mb']:,}")
            rows.append((name, *cells, f"{row['test_accuracy']:.4f}", losses))
    print_table(rows, columns, right=(1, 2, 3, 4))
    _print_agreement(report["agreement"])


def _print_agreement(agreement: dict[str, Any]) -> None:
    if agreement["logits_max_abs"] is None:
        return
    same = "the same" if agreement["same_batches"] else "NOT the same"
    click.echo(f"\nbatches {same}; logits at the start differ by at most {agreement['logits_max_abs']:.1e}")
    parts = [f"{steps}: {value:.1e}" for steps, value in agreement["loss_after_steps_relative"].items()]
    click.echo(f"relative difference of the loss after k steps of plain SGD, without dropout: {', '.join(parts)}")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4f}" if 0 < value < 1 else f"{value:,g}"
    return "-" if value is None else f"{value:,}" if type(value) is int else str(value)
