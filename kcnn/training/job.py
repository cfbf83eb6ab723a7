"""What one training run carries through the rooms."""

from dataclasses import dataclass

from kcnn.recipes.parts import Parts
from kcnn.recipes.recipe import Recipe
from kcnn.run.directory import RunDir
from kcnn.run.history import History


@dataclass(frozen=True)
class Job:
    """A recipe, its images, where the run is kept, and its log so far (which grows)."""

    recipe: Recipe
    parts: Parts
    run: RunDir
    history: History
