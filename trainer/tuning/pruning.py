"""The median rule: which trials are not worth going on with."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

_TRIALS_FIRST = 4  # Whole trials before any is judged.
_ROUNDS_FIRST = 1  # A trial's first round says more of its start than of its end.


def worse_than_median(
    so_far: Sequence[float], others: Sequence[Sequence[float]], *, higher: bool
) -> bool:
    """Whether a trial's best value so far is worse than the median of the others at this round.

    The rule of Google Vizier (Golovin et al., 2017, section 3.2.2), with the best value in place of
    the running average.

    Args:
        so_far: The trial's objective after each of its rounds.
        others: Those of the whole trials before it.
        higher: Whether higher is better.
    """
    rounds = len(so_far)
    if rounds <= _ROUNDS_FIRST:
        return False
    sign = 1.0 if higher else -1.0
    best = [
        max(sign * value for value in other[:rounds]) for other in others if len(other) >= rounds
    ]
    if len(best) < _TRIALS_FIRST:
        return False
    return max(sign * value for value in so_far) < statistics.median(best)
