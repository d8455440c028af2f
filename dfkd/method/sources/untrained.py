"""Images of a generator with random weights that are never trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dfkd.errors import TrainingError
from dfkd.method.sources.base import LoopSettings, Source, SourceSettings, device_of
from dfkd.method.sources.exposure import draw_exposure, require_range, stretched
from dfkd.method.team import ALONE, Team
from dfkd.networks.generator import Generator
from dfkd.seeds import seeded, stream

MOST_STRETCH = 1000.0


@dataclass(frozen=True)
class UntrainedSettings(SourceSettings):
    """A generator that is never trained.

    Attributes:
        exposure: range of contrasts to which generated images are set, each to one of its own; none in the paper's
            method, which takes G(z) as it comes.
        stretch: largest gain by which an image's contrast is stretched before, and clipped to black and white; 1, none,
            in the paper's method.
    """

    method: ClassVar[str] = "untrained"

    exposure: tuple[float, ...] = ()
    stretch: float = 1.0

    def __post_init__(self):
        require_range(self.exposure)
        if not 1 <= self.stretch <= MOST_STRETCH:
            raise TrainingError(f"stretch is the largest gain, in [1, {MOST_STRETCH:.0f}], not {self.stretch}")

    def make(
        self, config: LoopSettings, teacher: nn.Module, images: list[Tensor] | None = None, team: Team = ALONE
    ) -> UntrainedSource:  # fmt: skip
        """The generators that 'dfsr' and 'cmi' would start from, with the same seed."""
        return UntrainedSource(
            config.scales, settings=self, patch=config.patch, seed=config.seed, device=device_of(teacher), team=team
        )


class UntrainedSource(Source):
    """One generator a scale, as it was made.

    Args:
        scales: upscaling factors.
        settings: whether contrast is stretched and exposure varied.
        patch: side of the teacher's outputs; images have side patch / scale.
        seed: of weights and random streams.
        device: where the generators live.
        team: the processes that share the run: weights are equal, random streams each process's own.
    """

    def __init__(
        self, scales: tuple[int, ...], *, settings: UntrainedSettings = UntrainedSettings(), patch: int = 48,
        seed: int = 0, device: torch.device | str = "cpu", team: Team = ALONE,
    ):  # fmt: skip
        self.settings, self.device, self.team = settings, device, team
        with seeded(seed, "generators"):
            self.generators = nn.ModuleDict({str(s): Generator(patch // s) for s in scales}).to(device)
        self._start = [p.detach().clone() for p in self.generators.parameters()]
        own = team.seed(seed)
        self._rng, self._exposure_rng = stream(own, "z"), stream(own, "exposure")

    def draw_z(self, batch: int, scale: int) -> Tensor:
        """Draw z from p(z), standard normal: [batch, z_dim]."""
        return torch.randn(batch, self.generators[str(scale)].z_dim, generator=self._rng).to(self.device)

    def generate(self, z: Tensor, scale: int) -> Tensor:
        """G(z) as the networks see it: stretched and exposed, each image in its own way, where the settings ask for it.

        Args:
            z: [batch, z_dim].
            scale: which generator.

        Returns:
            [batch, channels, patch / scale, patch / scale] in [0, 1]; differentiable.
        """
        images = self.generators[str(scale)](z)
        if self.settings.stretch > 1:
            images = stretched(images, self.settings.stretch, self._exposure_rng)
        if not self.settings.exposure:
            return images
        return draw_exposure(len(z), self.settings.exposure, self._exposure_rng).of(images)

    @torch.no_grad()
    def sample(self, batch: int, scale: int) -> Tensor:
        """G(z) for fresh z, [batch, channels, patch / scale, patch / scale]."""
        return self.generate(self.draw_z(batch, scale), scale)

    def streams(self) -> dict[str, torch.Generator]:
        """The random streams, by name."""
        return {"rng": self._rng, "exposure_rng": self._exposure_rng}

    def notes(self, teacher: nn.Module, student: nn.Module) -> dict:
        """How far the generators have moved: not at all, which a record may say."""
        return {"movement": self.movement()}

    def movement(self) -> dict[str, float]:
        """Relative distance of all generators' weights from where they started: ``|theta - theta_0| / |theta_0|``."""
        pairs = list(zip(self.generators.parameters(), self._start, strict=True))
        moved = sum((now.detach() - start).square().sum() for now, start in pairs)
        return {"generator": (moved / sum(start.square().sum() for _, start in pairs)).sqrt().item()}

    def state_dict(self) -> dict:
        """Generators and the random streams."""
        states = {name: rng.get_state() for name, rng in self.streams().items()}
        return {"generators": self.generators.state_dict(), **states}

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave."""
        self.generators.load_state_dict(state["generators"])
        for name, rng in self.streams().items():
            rng.set_state(state[name])
