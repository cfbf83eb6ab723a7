"""`kcnn study`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from kcnn.cli.options import as_json, data_dir, print_json, print_table, say
from kcnn.errors import KcnnError, UsageError
from kcnn.errors import command as to_type

KEPT = "What is finished is kept; the same command goes on with the rest."
LONG = 600  # seconds; a study that takes longer is begun after a question only, where somebody can answer


@click.group("study")
def command() -> None:
    """Run published tables: each row trained by name, kcnn's number beside the reported one.

    A study is one TOML file; those of the five reports come with kcnn, and your own are written the same way.
    """


@command.command("list")
@as_json
def list_studies(as_json: bool) -> None:
    """List the shipped studies."""
    from kcnn.studies.study import read_study, shipped_studies

    studies = [read_study(path) for path in shipped_studies().values()]
    if as_json:
        print_json([{"name": study.name, "title": study.title, "rows": list(study.rows)} for study in studies])
    else:
        print_table([(study.name, len(study.rows), study.title) for study in studies], ("study", "rows", "title"), (1,))


@command.command("show")
@click.argument("name", metavar="NAME|FILE")
def show(name: str) -> None:
    """Show a study: its rows, what was reported, and the settings of each."""
    from kcnn.studies.command import train_command
    from kcnn.studies.study import SETTINGS, find_study
    from kcnn.studies.words import reported

    study = find_study(name)
    click.echo(f"{study.title}\n\n{click.wrap_text(study.about, 100, preserve_paragraphs=True)}\n")
    for row in study.rows.values():
        source = f" ({row.source})" if row.source else ""
        click.echo(f"{row.name}: reported {reported(row.reported)}{source}")
        if row.note:
            click.echo(f"  {row.note}")
        if row.test_of:
            augment = ",".join(f"{key}={value:g}" for key, value in (row.augment or {}).items())
            click.echo(f"  tests {row.test_of} with {' and '.join(filter(None, (augment, row.tta)))}")
        if row.weights_of:
            click.echo(f"  starts from the weights of {row.weights_of}")
        for settings, recipe in row.recipes.items():
            shown = train_command(replace(recipe, weights="") if row.weights_of else recipe)
            click.echo(f"  {SETTINGS[settings] if study.has_own else 'settings'}: {shown}")


@command.command("run")
@click.argument("name", metavar="NAME|FILE")
@click.option("--rows", default="", metavar="LIST", help="Only these, with commas; patterns such as 'grid*' too.")
@click.option("--settings", default="", metavar="reported|own", help="Only these settings; default all that a row has.")
@click.option("--seeds", type=click.IntRange(1, 1000), metavar="N", help="How many, instead of the study's own.")
@click.option(
    "--epochs-scale", default=1.0, metavar="X", help="A factor on all epochs, such as 0.1, said in the report."
)
@click.option(
    "--jobs", default=1, type=click.IntRange(1, 1000), metavar="N", help="Processes at a time.", show_default=True
)
@click.option("--cluster", metavar="NAME", help="Run as jobs of a cluster through submitit: slurm.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="Default studies/NAME.")
@data_dir
@click.option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", metavar="NAME", help="float32 or mixed_bfloat16, for all rows.")
@click.option("--dry-run", is_flag=True, help="Only say what there is to do and how long it would take.")
@click.option("--yes", is_flag=True, help="Begin without a question, however long it takes.")
def run(
    name: str, output: Path | None, cluster: str | None, jobs: int, dry_run: bool, yes: bool, **options: Any
) -> None:
    """Train the rows of a study, each row and seed in a process and run directory of its own.

    What is finished is skipped, what is unfinished is resumed, and a row that fails does not stop the others.
    """
    from kcnn.machine.processes import processors
    from kcnn.machine.stopping import ending
    from kcnn.studies import runner
    from kcnn.studies.board import Board
    from kcnn.studies.folder import begin
    from kcnn.studies.study import find_study
    from kcnn.studies.tasks import FINISHED, state_of

    study = find_study(name)
    folder = output or Path("studies") / study.name
    tasks = _plan(study, folder, options)
    if not dry_run or folder.exists():
        begin(study, folder)
    todo = [task for task in tasks if state_of(task).kind != FINISHED]
    say(f"{study.title}: {len(tasks)} runs, {len(tasks) - len(todo)} of them finished already → {folder}")
    threads = max(1, processors() // jobs) if jobs > 1 or cluster else 0
    expected = _forecast(todo, threads, jobs)
    if todo and not dry_run and _agreed(expected, jobs, yes):
        pool = runner.cluster(cluster, folder / ".submitit", threads) if cluster else runner.processes(jobs)
        with ending(lambda: KEPT), Board(todo, expected, jobs) as board:
            runner.run_tasks(todo, pool, jobs, threads, board.watch)
    if not dry_run:
        _finish(study, folder, tasks)


@command.command("status")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def status(folder: Path) -> None:
    """Show how far each run of a study is."""
    from kcnn.studies.folder import open_folder
    from kcnn.studies.tasks import FINISHED, found_tasks, plan_tasks, state_of

    study = open_folder(folder)
    tasks = {task.path: task for task in (*plan_tasks(study, folder), *found_tasks(study, folder))}
    order = list(study.rows)
    rows = []
    for task in sorted(
        tasks.values(), key=lambda task: (order.index(task.row.name), task.settings != "reported", task.seed)
    ):
        state = state_of(task)
        epochs = f"{state.epochs}/{task.recipe.epochs}" if not task.row.test_of else ""
        rows.append(
            (task.row.name, task.settings if study.has_own else "", task.seed, state.kind, epochs, state.reason)
        )
    print_table(rows, ("row", "settings", "seed", "state", "epochs", "last failure"), right=(2, 4))
    click.echo(f"\n{sum(row[3] == FINISHED for row in rows)} of {len(rows)} runs are finished.")


@command.command("report")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@as_json
def report(folder: Path, as_json: bool) -> None:
    """Write the tables of a study's directory as Markdown, CSV, JSON and one HTML page, and print them."""
    from kcnn.studies.files import write_report
    from kcnn.studies.folder import open_folder
    from kcnn.studies.table import study_report
    from kcnn.studies.words import to_json

    found = study_report(open_folder(folder), folder)
    paths = write_report(found, folder)
    print_json(to_json(found)) if as_json else _print(found)
    say("\n" + "\n".join(str(path) for path in paths))


def _plan(study: Any, folder: Path, options: dict[str, Any]) -> list[Any]:
    """The tasks that the options name."""
    from kcnn.machine.backend import named_by_environment
    from kcnn.studies.study import SETTINGS
    from kcnn.studies.tasks import plan_tasks

    scale, settings = options["epochs_scale"], options["settings"]
    if not 0 < scale <= 100:
        raise UsageError(f"--epochs-scale must be above 0 and at most 100; received {scale:g}.")
    if settings not in ("", *SETTINGS):
        raise UsageError(f"--settings is reported or own; received {settings!r}.")
    rows = [name.strip() for name in options["rows"].split(",") if name.strip()]
    changes = {key: options[key] for key in ("data_dir", "device", "precision") if options[key]}
    changes |= {"backend": backend} if (backend := named_by_environment()) else {}
    return plan_tasks(study, folder, rows, settings, range(options["seeds"] or 0), scale, changes)


def _forecast(tasks: list[Any], threads: int, jobs: int) -> dict[Path, float | None]:
    """Path → expected seconds of each task, told row by row."""
    from kcnn.studies.timing import expected_seconds, measure
    from kcnn.studies.words import duration

    measured = measure(tasks, threads, say) if tasks else {}
    expected = {task.path: expected_seconds(task, measured) for task in tasks}
    for reason in dict.fromkeys(reason for reason in measured.values() if isinstance(reason, str)):
        say(f"no forecast: {reason}")
    for title in dict.fromkeys(task.title.rpartition(",")[0] for task in tasks):
        mine = [expected[task.path] for task in tasks if task.title.rpartition(",")[0] == title]
        whole = None if None in mine else sum(filter(None, mine))
        say(f"  {title}: {len(mine)} {'run' if len(mine) == 1 else 'runs'}, {duration(whole)}")
    known = sum(filter(None, expected.values()))
    if tasks:
        say(f"expected on this machine: about {duration(known / jobs)}")
    return expected


def _agreed(expected: dict[Path, float | None], jobs: int, yes: bool) -> bool:
    """Whether to begin: somebody who sits at a terminal is asked before a long study."""
    import sys

    known = sum(filter(None, expected.values())) / jobs
    if yes or known < LONG or not sys.stdin.isatty():
        return True
    return click.confirm("Begin?", err=True)


def _finish(study: Any, folder: Path, tasks: list[Any]) -> None:
    """The table, and an error that counts what failed."""
    from kcnn.studies.table import study_report
    from kcnn.studies.tasks import FINISHED, state_of

    _print(study_report(study, folder))
    say(f"\nNext: {to_type('study', 'report', folder)}")
    left = [task for task in tasks if state_of(task).kind != FINISHED]
    if left:
        raise KcnnError(
            f"{len(left)} of {len(tasks)} runs are not finished: see above, or {to_type('study', 'status', folder)}"
        )


def _print(found: Any) -> None:
    from kcnn.studies.words import table

    titles, cells = table(found)
    print_table([tuple(line) for line in cells], tuple(titles))
    for line in found.lines:
        for failure in line.failures:
            click.echo(f"{line.row.name}, {failure}")
