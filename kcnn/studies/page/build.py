"""From a report to the page."""

from importlib import resources
from typing import Any

from kcnn.errors import KcnnError, command
from kcnn.run.history import History, read_history
from kcnn.studies import words
from kcnn.studies.page.drawing import bars, charts, curve_name
from kcnn.studies.page.pictures import Gallery, class_names, confusion, mistakes
from kcnn.studies.study import SETTINGS
from kcnn.studies.table import Line, Report

FILES = ("style.css", "script.js")


def to_html(report: Report) -> str:
    """The page, a whole HTML document; everything that a user named is escaped by the template."""
    import jinja2

    folder = resources.files("kcnn") / "studies" / "page"
    parts = {name.replace(".", "_"): (folder / name).read_text(encoding="utf-8") for name in FILES}
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    gallery = Gallery()
    histories, shown = _histories(report), bars(report)
    return template.render(
        report=report,
        **parts,
        paragraphs=[text for text in report.about.split("\n\n") if text.strip()],
        explained=words.EXPLAINED,
        table=words.table(report),
        costs=words.costs(report),
        bars=shown,
        legend={bar.kind: bar.title for row in shown.values() for bar in row},
        charts=charts(histories) if histories else [],
        sections=[_section(line, report, gallery) for line in report.lines],
    )


def _histories(report: Report) -> dict[str, History]:
    """The log of the first seed of each line that was trained."""
    found = {}
    for line in report.lines:
        if line.outcomes and not line.row.test_of:
            try:
                name = curve_name(line.row.name, line.settings, report.two_columns) + words.shorter(line)
                found[name] = read_history(line.outcomes[0].run)
            except KcnnError:
                continue
    return found


def _section(line: Line, report: Report, gallery: Gallery) -> dict[str, Any]:
    """What the page says of one line, from its first seed."""
    section: dict[str, Any] = {
        "line": line,
        "settings": SETTINGS[line.settings] if report.two_columns else "",
        "accuracy": words.accuracy(line),
        "confusion": None,
        "mistakes": [],
        "missing": "",
    }
    if not line.outcomes:
        return section
    outcome = line.outcomes[0]
    if outcome.kept is None:
        run = outcome.run
        keep = command("evaluate", run.path, "--predictions", run.predictions)
        section["missing"] = f"Its predictions were not kept. To keep them: {keep}"
        return section
    names = class_names(outcome.run, outcome.kept.probabilities.shape[1])
    section["confusion"] = confusion(outcome.kept, names)
    try:
        section["mistakes"] = mistakes(outcome.kept, names, gallery.images(outcome.run))
    except KcnnError as error:
        section["missing"] = str(error)
    return section
