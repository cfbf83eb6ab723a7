"""The run directory: the names of its files, what state it is in, and whose it is."""

from collections.abc import Sequence
from pathlib import Path

from kcnn.errors import KcnnError, UsageError, command
from kcnn.machine.files import new_folder, remove_empty, remove_leftovers

FILES = (
    *("recipe.toml", "manifest.json", "log.csv", "best.keras", "last.keras"),
    *("result.json", "predictions.npz", "curves.png", "confusion.png"),
)


class RunDir:
    """`runs/<name>/`: what one training run leaves behind."""

    def __init__(self, path: Path, above: Sequence[Path] = ()) -> None:
        self.path = path
        self._above = above
        self.recipe, self.manifest, self.log, self.best, self.last, *results = (path / name for name in FILES)
        self.result, self.predictions, self.curves, self.confusion = results

    @classmethod
    def create(cls, path: Path | None, name: str, recipe: str = "") -> "RunDir":
        """A new directory, of this process alone: `path`, or the first free of runs/NAME, runs/NAME-2, …

        Args:
            recipe: the text of `recipe.toml`, which is there from the first moment, so that the run can be begun
                by `--resume` if this process is killed.

        Raises:
            UsageError: `path` already holds something.
        """
        above = [folder for folder in (path or Path("runs") / name).parents if not folder.exists()]
        try:
            if path is not None:
                cls(path).clean()
            return cls(new_folder(path, name, "recipe.toml", recipe), above)
        except FileExistsError as error:
            if path is None:
                raise
            raise UsageError(f"{path} already exists and is not empty. {_advice(cls(path))}") from error

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

    @property
    def begun(self) -> bool:
        """Whether anything was trained here; if not, the run can begin as if for the first time."""
        return any(path.exists() for path in (self.last, self.best, self.log, self.result))

    def checkpoint(self) -> Path:
        """The best model, or the last one of a run that has not finished an epoch with validation.

        Raises:
            KcnnError: neither is there.
        """
        for path in (self.best, self.last):
            if path.exists():
                return path
        raise KcnnError(f"{self.path} has no checkpoint (best.keras or last.keras): train it first.")

    def clean(self) -> None:
        """Remove what killed processes had half written."""
        remove_leftovers(self.path, FILES)

    def reopen(self) -> None:
        """Take the results away, before a finished run goes on and they are no longer true."""
        for path in (self.result, self.predictions, self.confusion, self.curves):
            path.unlink(missing_ok=True)

    def withdraw(self) -> None:
        """Remove a directory in which nothing was trained, and those made for it; what others have put there stays."""
        self.clean()
        if self.path.is_dir() and set(self.path.iterdir()) <= {self.recipe, self.manifest}:
            self.manifest.unlink(missing_ok=True)
            self.recipe.unlink(missing_ok=True)
            remove_empty([self.path, *self._above])


def _advice(run: RunDir) -> str:
    """What to do about a directory that is taken."""
    if not run.recipe.is_file():
        return "Name another directory with --run."
    verb = "Continue its run" if run.begun else "Begin its run, of which nothing is trained yet,"
    return f"{verb} with: {command('train', '--resume', run.path)}, or name another directory with --run."
