"""A report's files."""

from pathlib import Path

from kcnn.machine.files import write_json, write_text
from kcnn.studies.page.build import to_html
from kcnn.studies.table import Report
from kcnn.studies.words import to_csv, to_json, to_markdown


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write report.md, .csv, .json and .html into a study's directory, over earlier ones; their paths."""
    paths = [folder / f"report.{ending}" for ending in ("md", "csv", "json", "html")]
    write_text(paths[0], to_markdown(report))
    write_text(paths[1], to_csv(report))
    write_json(paths[2], to_json(report))
    write_text(paths[3], to_html(report))
    return paths
