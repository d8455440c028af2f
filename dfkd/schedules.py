"""Step sizes over a run."""

from __future__ import annotations

import math

WARM_UP = 100  # updates over which the step size rises: Adam's first estimates are poor
FLOOR = 0.02  # share of the step size that is left at the end


def cosine(step: int, steps: int) -> float:
    """Factor on the step size: a linear warm-up, then half a cosine down to `FLOOR`."""
    warm_up = min(1.0, (step + 1) / WARM_UP)
    return warm_up * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * step / steps)))


def staircase(step: int, steps: int) -> float:
    """A tenth every eighth of the run: 10 of 80 epochs in DFSR's code (the paper gives the 10), whatever the budget."""
    return 0.1 ** (8 * step // steps)
