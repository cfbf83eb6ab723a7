"""`kcnn doctor`."""

from typing import Any

import click

from kcnn.cli.options import as_json, data_dir, print_json, print_table
from kcnn.errors import KcnnError


@click.command("doctor")
@data_dir
@as_json
def command(data_dir: str, as_json: bool) -> None:
    """Check this machine: packages, backends (ten training steps on each), bfloat16, data sets, folders.

    Ends with exit code 1 when something that is installed does not work.
    """
    from kcnn.doctor.examination import examine

    report = examine(data_dir)
    print_json(report) if as_json else _print(report)
    if not report["ok"]:
        raise KcnnError("something that is installed does not work: see above.")


def _print(report: dict[str, Any]) -> None:
    from kcnn.doctor.bfloat16 import verdict

    packages = ", ".join(f"{name} {found}" for name, found in report["packages"].items() if found)
    here = [name for name, present in report["data"].items() if present]
    absent = [name for name, present in report["data"].items() if not present]
    facts = [
        ("python", report["python"]),
        ("platform", report["platform"]),
        ("packages", packages),
        ("torchvision", "fits torch" if report["torchvision"] == "ok" else report["torchvision"]),
        ("bfloat16", verdict(report["bfloat16"]) if report["bfloat16"] else "not measured: torch does not work"),
        ("KERAS_BACKEND", report["KERAS_BACKEND"] or "not set; kcnn takes torch"),
        ("data sets here", ", ".join(here)),
        ("to be fetched", ", ".join(absent) or "none"),
        *((f"folder: {name}", place) for name, place in report["folders"].items()),
    ]
    print_table(facts, ("", "this machine"))
    click.echo()
    rows = [(name, _state(row), *(row[key] or "-" for key in COLUMNS)) for name, row in report["backends"].items()]
    print_table(rows, ("backend", "works", "version", "device", "seconds", ""), right=(4,))


COLUMNS = ("version", "device", "seconds", "note")


def _state(row: dict[str, Any]) -> str:
    return "yes" if row["works"] else "NO" if row["installed"] else "-"
