"""`python -m kcnn`."""

from kcnn.cli import main

if __name__ == "__main__":
    main(prog_name="kcnn")
