"""The student's optimisers: a step size to begin with, a schedule, and what the gradient is taken of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

from dfkd.method.schedules import cosine, staircase
from dfkd.method.soap import SOAP


@dataclass(frozen=True)
class Recipe:
    """How a student takes its steps.

    Attributes:
        lr: step size, where a run names none.
        make: the optimiser of some parameters, at a step size.
        schedule: factor on the step size, a function of update, updates and warm-up.
        warm_up: share of each part over which the step size rises, where a run names none; None for a recipe that
            knows no warm-up.
        summed: whether the loss is summed over the batch's pixels, not averaged.
    """

    lr: float
    make: Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer]
    schedule: Callable[[int, int, int], float]
    warm_up: float | None
    summed: bool = False


def _adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=lr)


def _sgd(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=1e-4)


RECIPES = {
    "adam": Recipe(lr=1e-3, make=_adam, schedule=cosine, warm_up=0.02),
    "soap": Recipe(lr=1.2e-3, make=SOAP, schedule=cosine, warm_up=0.02),
    # The paper's and DFSR's: clipping makes up for the size of a summed loss.
    "paper": Recipe(lr=0.1, make=_sgd, schedule=staircase, warm_up=None, summed=True),
}
