"""Step sizes over a run."""

from __future__ import annotations

import math

FLOOR = 0.02  # share of the step size that is left at the end


def cosine(step: int, steps: int, warm_up: int = 0) -> float:
    """Factor on the step size: a linear rise, then half a cosine down to `FLOOR`.

    Args:
        step: updates done, from 0.
        steps: updates in all.
        warm_up: updates over which it rises, because an optimiser's first estimates are poor.
    """
    rise = min(1.0, (step + 1) / max(warm_up, 1))
    return rise * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * step / steps)))


def staircase(step: int, steps: int, warm_up: int = 0) -> float:
    """A tenth every eighth of the run: 10 of 80 epochs in DFSR's code (the paper gives the 10), whatever the budget.

    It begins at full height: `warm_up` is there so that schedules can stand in for each other.
    """
    return 0.1 ** (8 * step // steps)
