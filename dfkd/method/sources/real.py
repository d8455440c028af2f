"""Real images: what a data-free method does without, here to train teachers and to measure the gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dfkd.method.sources.base import LoopSettings, Source, SourceSettings, device_of
from dfkd.method.sources.crops import Crops
from dfkd.method.team import ALONE, Team
from dfkd.pixels.resize import imresize
from dfkd.seeds import stream


@dataclass(frozen=True)
class RealSettings(SourceSettings):
    """Real images: not data-free, the bound to compare with."""

    method: ClassVar[str] = "real"

    def make(
        self, config: LoopSettings, teacher: nn.Module, images: list[Tensor] | None = None, team: Team = ALONE
    ) -> RealSource:  # fmt: skip
        """Crops of the images; which those are is said by whoever runs it."""
        return RealSource(images, config.patch, seed=team.seed(config.seed), device=device_of(teacher))


class RealSource(Source):
    """Random crops of photographs, flipped and turned, shrunk by the scale.

    Args:
        images: luma images [1, 1, height, width] in [0, 1], of any sizes not below `patch`.
        patch: side of the high-resolution crops.
        seed: of its random stream.
        device: where images are wanted.
    """

    def __init__(self, images: list[Tensor], patch: int = 48, seed: int = 0, device: torch.device | str = "cpu"):
        self.patch, self.device = patch, device
        self._rng = stream(seed, "real")
        self._crops = Crops(images, patch, self._rng)

    def crops(self, batch: int) -> Tensor:
        """High-resolution crops [batch, 1, patch, patch] in one of the eight orientations each."""
        return self._crops.draw(batch).to(self.device)

    def sample(self, batch: int, scale: int) -> Tensor:
        """Crops shrunk bicubically, [batch, 1, patch / scale, patch / scale]."""
        return imresize(self.crops(batch), 1 / scale).clamp(0, 1)

    def state_dict(self) -> dict:
        """The state of the random stream."""
        return {"rng": self._rng.get_state()}

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave."""
        self._rng.set_state(state["rng"])
