"""Run the command line from a checkout: `python cli.py train`."""

from kcnn.cli import main

main(prog_name="kcnn")
