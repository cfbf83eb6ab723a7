"""`kcnn datasets`."""

import click

from kcnn.cli.options import as_json, data_dir, print_json, print_table


@click.command("datasets")
@data_dir
@as_json
def command(data_dir: str, as_json: bool) -> None:
    """List the data sets and which of them are on this machine."""
    from kcnn.data.download import data_directory
    from kcnn.data.registry import DATASETS, missing_files

    rows = [
        {"name": name, "present": not missing_files(name, data_dir), "description": source.description}
        for name, source in DATASETS.items()
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        [(row["name"], "yes" if row["present"] else "no", row["description"]) for row in rows],
        ("data set", "here", "what it is"),
    )
    click.echo(f"\nlooked in {data_directory(data_dir)}; missing sets are fetched there when they are first used")
