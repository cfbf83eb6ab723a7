"""Whether two rows differ on the test images that they share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kcnn.results.kept import Predictions


@dataclass(frozen=True)
class Paired:
    """What the exact sign test says of a row against another one.

    `better` images are those that more of this row's seeds have right than of the other's, `worse` the reverse; `p` is
    the probability of so uneven a split if neither row were better. With one seed this is McNemar's exact test (1947).
    It speaks of other test images for these same networks, and not of other seeds.
    """

    against: str
    p: float
    better: int
    worse: int
    seeds: int


def compare_paired(name: str, ours: Sequence[Predictions], theirs: Sequence[Predictions]) -> Paired | None:
    """The test of the row `theirs`, called `name`, seed by seed; None where the images are not the same."""
    from scipy.stats import binomtest

    pairs = list(zip(ours, theirs, strict=True))
    if not pairs or any(not np.array_equal(one.labels, other.labels) for one, other in pairs):
        return None
    votes = sum(_right(one).astype(int) - _right(other) for one, other in pairs)
    better, worse = int((votes > 0).sum()), int((votes < 0).sum())
    p = float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
    return Paired(name, p, better, worse, len(pairs))


def _right(found: Predictions) -> np.ndarray:
    return found.labels == found.predicted
