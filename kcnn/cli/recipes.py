"""`kcnn recipes`."""

import click

from kcnn.cli.options import print_table


@click.command("recipes")
@click.argument("name", required=False)
@click.option("--keys", is_flag=True, help="List every key of a recipe with its default.")
def command(name: str | None, keys: bool) -> None:
    """List the shipped recipes, or print one."""
    from kcnn.errors import UsageError, unknown
    from kcnn.recipes.files import shipped_recipes
    from kcnn.recipes.recipe import Recipe

    shipped = shipped_recipes()
    if keys:
        click.echo(Recipe().to_toml(), nl=False)
    elif name is None:
        rows = [(key, path.read_text().splitlines()[0].lstrip("# ")) for key, path in shipped.items()]
        print_table(rows, ("recipe", "claim"))
    elif name in shipped:
        click.echo(shipped[name].read_text(), nl=False)
    else:
        raise UsageError(unknown("recipe", name, shipped))
