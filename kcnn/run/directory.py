"""The run directory: the names of its files, and writing them so that nothing is lost or half written."""

from pathlib import Path

from kcnn.errors import KcnnError, UsageError


class RunDir:
    """`runs/<name>/`: what one training run leaves behind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.toml"
        self.manifest = path / "manifest.json"
        self.log = path / "log.csv"
        self.best = path / "best.keras"
        self.last = path / "last.keras"
        self.result = path / "result.json"
        self.curves = path / "curves.png"
        self.confusion = path / "confusion.png"

    @classmethod
    def create(cls, path: Path | None, name: str) -> "RunDir":
        """A new directory: `path`, or the first free of runs/NAME, runs/NAME-2, …

        Raises:
            UsageError: `path` already holds something.
        """
        if path is None:
            path, number = Path("runs") / name, 1
            while path.exists():
                number += 1
                path = Path("runs") / f"{name}-{number}"
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(
                f"{path} already exists and is not empty. Continue it with: kcnn train --resume {path}, "
                f"or name another directory with --run."
            )
        path.mkdir(parents=True, exist_ok=True)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunDir":
        """The directory of an earlier run.

        Raises:
            KcnnError: there is none, or it has no recipe.
        """
        if not path.is_dir():
            raise KcnnError(f"There is no run directory {path}. `kcnn train` makes one; they lie in runs/.")
        run = cls(path)
        if not run.recipe.exists():
            raise KcnnError(f"{path} is not a run directory: it has no recipe.toml.")
        return run

    def checkpoint(self) -> Path:
        """The best model, or the last one of a run that has not finished an epoch with validation.

        Raises:
            KcnnError: neither is there.
        """
        for path in (self.best, self.last):
            if path.exists():
                return path
        raise KcnnError(f"{self.path} has no checkpoint (best.keras or last.keras): train it first.")
