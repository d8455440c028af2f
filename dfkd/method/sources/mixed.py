"""Two sources in one: a share of every batch from procedural images, the rest from the source that learns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfkd.method.sources.base import Source


class MixedSource(Source):
    """Part of each batch from a helper; the generation stage is the main source's alone.

    Args:
        main: the source that learns, if one does.
        helper: images that join it.
        share: of each batch, taken from the helper; rounded to whole images.
    """

    def __init__(self, main: Source, helper: Source, share: float):
        self.main, self.helper, self.share = main, helper, share

    @property
    def learns(self) -> bool:
        """Whether the main source does."""
        return self.main.learns

    def sample(self, batch: int, scale: int) -> Tensor:
        """The helper's images first, then the main source's: [batch, channels, patch / scale, patch / scale]."""
        helped = round(self.share * batch)
        both = [source.sample(n, scale) for source, n in ((self.helper, helped), (self.main, batch - helped)) if n]
        return torch.cat(both)

    def improve(self, teacher: nn.Module, student: nn.Module, scale: int, rate: float = 1.0) -> dict[str, float]:
        """The main source's generation stage."""
        return self.main.improve(teacher, student, scale, rate)

    def movement(self) -> dict[str, float]:
        """The main source's."""
        return self.main.movement()

    def notes(self, teacher: nn.Module, student: nn.Module) -> dict:
        """The main source's."""
        return self.main.notes(teacher, student)

    def state_dict(self) -> dict:
        """Both sources'."""
        return {"main": self.main.state_dict(), "helper": self.helper.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave."""
        self.main.load_state_dict(state["main"])
        self.helper.load_state_dict(state["helper"])
