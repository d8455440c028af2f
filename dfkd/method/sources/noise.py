"""Uniform noise as training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dfkd.method.sources.base import LoopSettings, Source, SourceSettings, device_of
from dfkd.method.team import ALONE, Team
from dfkd.seeds import stream


@dataclass(frozen=True)
class NoiseSettings(SourceSettings):
    """Uniform noise: what a student learns from no images at all."""

    method: ClassVar[str] = "noise"

    def make(
        self, config: LoopSettings, teacher: nn.Module, images: list[Tensor] | None = None, team: Team = ALONE
    ) -> NoiseSource:  # fmt: skip
        """Noise; there is nothing to set."""
        return NoiseSource(config.patch, seed=team.seed(config.seed), device=device_of(teacher))


class NoiseSource(Source):
    """Every pixel uniform in [0, 1], independent of all others.

    Args:
        patch: side of the high-resolution patches; images have side patch / scale.
        channels: channels of the images.
        seed: of its random stream.
        device: where images are wanted.
    """

    def __init__(self, patch: int = 48, channels: int = 1, seed: int = 0, device: torch.device | str = "cpu"):
        self.patch, self.channels, self.device = patch, channels, device
        self._rng = stream(seed, "noise")

    def sample(self, batch: int, scale: int) -> Tensor:
        """Uniform noise [batch, channels, patch / scale, patch / scale]."""
        side = self.patch // scale
        return torch.rand(batch, self.channels, side, side, generator=self._rng).to(self.device)

    def state_dict(self) -> dict:
        """The state of the random stream."""
        return {"rng": self._rng.get_state()}

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave."""
        self._rng.set_state(state["rng"])
