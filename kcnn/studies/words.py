"""The numbers of a report as people read them, and its tables as Markdown, CSV and JSON."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from kcnn.studies.paired import Paired
from kcnn.studies.study import REPORTED, SETTINGS
from kcnn.studies.table import Line, Report

NOTHING = "–"


def accuracy(line: Line | None) -> str:
    """`0.8123 ± 0.0010 (3)`: mean, sample standard deviation, seeds; and the epochs where they are not all."""
    if line is None or (mean := line.mean()) is None:
        return NOTHING
    spread = f" ± {line.std:.4f}" if line.std is not None else ""
    return f"{mean:.4f}{spread} ({len(line.outcomes)}){shorter(line)}"


def shorter(line: Line) -> str:
    """` at 5 of 50 epochs`, for a line with other epochs than the row has."""
    if line.scale == 1:
        return ""
    epochs = line.mean("epochs")
    if line.planned_epochs is None or epochs is None:  # a row of tests
        return f" at {line.scale:g} of the epochs"
    return f" at {epochs:g} of {line.planned_epochs} epochs"


def difference(line: Line | None) -> str:
    """Ours less the reported accuracy, with its sign."""
    return NOTHING if line is None or line.difference is None else f"{line.difference:+.4f}"


def reported(value: float | str | None) -> str:
    """An accuracy, or the report's words."""
    return NOTHING if value is None else f"{value:.4f}" if isinstance(value, float) else value


def paired(found: Paired | None) -> str:
    """`p = 0.003 against pure: 120 images better, 80 worse`."""
    if found is None:
        return NOTHING
    p = f"p = {found.p:.2g}" if found.p >= 1e-4 else "p < 0.0001"
    return f"{p} against {found.against}: {found.better} images better, {found.worse} worse"


def duration(seconds: float | None) -> str:
    """`3 h 20 min`, `4 min`, `12 s`."""
    if seconds is None:
        return NOTHING
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def number(value: float | None) -> str:
    """Four digits at most."""
    return NOTHING if value is None else f"{value:.4g}"


def headings(report: Report) -> dict[str, str]:
    """The kinds of settings that the table has a column for, and what it says above them."""
    return SETTINGS if report.two_columns else {REPORTED: "ours"}


def table(report: Report) -> tuple[list[str], list[list[str]]]:
    """The main table: its headings, and a line of cells for each row; without columns that would be empty."""
    titles = [word for title in headings(report).values() for word in (title, "difference")]
    cells = []
    for row in report.rows:
        lines = [report.shown(row, settings) for settings in headings(report)]
        numbers = [word for line in lines for word in (accuracy(line), difference(line))]
        cells.append([row.name, reported(row.reported), *numbers, row.source])
    silent = {
        "source": not any(row.source for row in report.rows),
        "reported": all(row.reported is None for row in report.rows),
        "difference": not any(isinstance(row.reported, float) for row in report.rows),
    }
    whole = ["row", "reported", *titles, "source"]
    kept = [index for index, title in enumerate(whole) if not silent.get(title)]
    return [whole[index] for index in kept], [[line[index] for index in kept] for line in cells]


def costs(report: Report) -> tuple[list[str], list[list[str]]]:
    """The table of what each line with results took, and its paired test."""
    cells = []
    for line in filter(lambda line: line.outcomes, report.lines):
        took = [number(line.mean("epochs")), duration(line.mean("seconds")), number(line.mean("pflop"))]
        kind = [SETTINGS[line.settings]] if report.two_columns else []
        cells.append([line.row.name, *kind, *took, number(line.mean("validation")), paired(line.paired)])
    kind = ["settings"] if report.two_columns else []
    return ["row", *kind, "epochs", "time", "PFLOP", "validation", "paired test"], cells


def to_markdown(report: Report) -> str:
    """Both tables, with what is to be said about them."""
    failures = [f"- {line.row.name}: {text}" for line in report.lines for text in line.failures]
    notes = [f"- {row.name}: {row.note}" for row in report.rows if row.note]
    parts = [f"# {_plain(report.title)}", _plain(report.about), _grid(*table(report)), _grid(*costs(report)), EXPLAINED]
    parts += ["\n".join(map(_plain, notes)), "\n".join(map(_plain, failures))]
    parts += ["\n".join(f"Made on: {_plain(machine)}." for machine in report.machines)]
    return "\n\n".join(part for part in parts if part) + "\n"


EXPLAINED = (
    "Accuracies are on the test images, at the epoch that was best on validation: mean ± sample standard deviation "
    "(number of seeds). Times and PFLOP are those of one training. The paired test is the exact sign test over the "
    "test images; it speaks of other images for these networks, and not of other seeds."
)


def records(report: Report) -> list[dict[str, Any]]:
    """A flat record for each line, for programs."""
    return [
        {
            "row": line.row.name,
            "settings": line.settings if report.two_columns else "",
            "reported": line.row.reported,
            "accuracy": line.mean(),
            "std": line.std,
            "n": len(line.outcomes),
            "difference": line.difference,
            "validation": line.mean("validation"),
            "against": line.paired.against if line.paired else None,
            "p": line.paired.p if line.paired else None,
            "better": line.paired.better if line.paired else None,
            "worse": line.paired.worse if line.paired else None,
            "epochs": line.mean("epochs"),
            "planned_epochs": line.planned_epochs,
            "epochs_scale": line.scale,
            "seconds": line.mean("seconds"),
            "pflop": line.mean("pflop"),
            "source": line.row.source,
            "note": line.row.note,
            "command": line.command,
            "failures": list(line.failures),
        }
        for line in report.lines
    ]


def to_csv(report: Report) -> str:
    """The records, failures joined in one cell."""
    rows = [{**record, "failures": " ".join(record["failures"])} for record in records(report)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_json(report: Report) -> dict[str, Any]:
    """Title, machines, and the records with the accuracy of each seed."""
    lines = [
        {**record, "accuracies": {str(outcome.seed): outcome.accuracy for outcome in line.outcomes}}
        for record, line in zip(records(report), report.lines, strict=True)
    ]
    return {"title": report.title, "about": report.about, "machines": report.machines, "rows": lines}


def _grid(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *cells]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return _plain(" ".join(text.split())).replace("|", "\\|")


def _plain(text: str) -> str:
    """Markdown shows HTML as such: what a user named is text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
