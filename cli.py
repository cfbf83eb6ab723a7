"""Run the command line from a checkout: `python cli.py train`."""

from kcnn.__main__ import main

main()
