"""What one training run carries through the rooms."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kcnn.recipes.origin import make_origin
from kcnn.recipes.parts import Parts
from kcnn.recipes.recipe import Recipe
from kcnn.run.directory import RunDir
from kcnn.run.history import History
from kcnn.training.state import finished


@dataclass(frozen=True)
class Job:
    """A recipe, its images, where the run is kept, and its log so far (which grows)."""

    recipe: Recipe
    parts: Parts
    run: RunDir
    history: History

    @property
    def finished(self) -> bool:
        """Whether there is nothing more to train."""
        return finished(self.recipe, self.history)

    @cached_property
    def origin(self) -> dict[str, Any]:
        """See `kcnn.recipes.origin`."""
        return make_origin(self.recipe, self.parts)
