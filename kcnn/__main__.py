"""`kcnn`, and `python -m kcnn`."""

from kcnn.machine.stopping import listen


def main() -> None:
    """Run the command line; signals are heard before the rest of it is read."""
    listen()
    from kcnn.cli import main as command

    command(prog_name="kcnn")


if __name__ == "__main__":
    main()
