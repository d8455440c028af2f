"""Training a teacher on real images, the ordinary way: shrink a crop, ask for it back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields

import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dfkd.errors import TrainingError
from dfkd.losses import distillation_loss
from dfkd.models.vdsr import VDSR
from dfkd.resize import imresize
from dfkd.schedules import cosine
from dfkd.seeds import seeded, stream
from dfkd.sources.real import RealSource


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a teacher's training; names as in `dfkd.config.Config`."""

    width: int = 32
    blocks: int = 8
    scales: tuple[int, ...] = (2, 3, 4)
    steps: int = 12000
    batch: int = 16
    patch: int = 48
    lr: float = 1e-3
    clip: float = 0.4
    average: float = 0.002
    seed: int = 0

    def __post_init__(self):
        if min(self.width, self.blocks, self.steps, self.batch, self.patch) < 1 or not self.lr > 0:
            raise TrainingError("width, blocks, steps, batch, patch and lr must be positive")
        if not (self.clip > 0 and 0 < self.average <= 1):
            raise TrainingError("clip must be positive, average must lie in (0, 1]")
        if not self.scales or any(s < 2 or self.patch % s for s in self.scales):
            raise TrainingError(f"scales {self.scales}: each at least 2 and a divisor of patch {self.patch}")

    def to_dict(self) -> dict:
        """As plain numbers and lists, for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict) -> TrainConfig:
        """The inverse of `to_dict`."""
        if unknown := set(values) - {field.name for field in fields(cls)}:
            raise TrainingError(f"unknown settings {sorted(unknown)}: written by another version of dfkd?")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


class TeacherTraining:
    """A supervised training run, and everything needed to go on with it after a stop.

    Args:
        source: real images.
        config: all settings.

    Attributes:
        averaged: the running average of the weights; its `module` is the finished teacher.
    """

    ROUND = 20  # steps between two reports

    def __init__(self, source: RealSource, config: TrainConfig):
        self.source, self.config, self.step = source, config, 0
        with seeded(config.seed, "teacher"):
            self.model = VDSR(config.width, config.blocks).to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=config.lr)
        self.averaged = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(1 - config.average))
        self._rng = stream(config.seed, "scales")

    def rounds(self) -> Iterator[dict[str, float]]:
        """Train; yields 'step' and the mean absolute error 'l1' after every `ROUND` steps."""
        while self.step < self.config.steps:
            losses = [self.training_step() for _ in range(min(self.ROUND, self.config.steps - self.step))]
            yield {"step": self.step, "l1": sum(losses) / len(losses)}

    @property
    def batches(self) -> int:
        """Batches seen so far."""
        return self.step

    def notes(self) -> dict[str, dict]:
        """Nothing to add to the losses."""
        return {}

    def training_step(self) -> float:
        """One update on crops of real images, at a random scale; returns the mean absolute error."""
        scale = self.config.scales[int(torch.randint(len(self.config.scales), (), generator=self._rng))]
        hr = self.source.crops(self.config.batch)
        loss = distillation_loss(hr, self.model(imresize(hr, 1 / scale).clamp(0, 1), scale))
        if not math.isfinite(loss.item()):
            raise TrainingError(f"the loss became {loss.item()} at step {self.step}; lower lr and start anew")
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.lr * cosine(self.step, self.config.steps)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimiser.step()
        self.averaged.update_parameters(self.model)
        self.step += 1
        return loss.item()

    def state_dict(self) -> dict:
        """All that decides how the run goes on."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "source": self.source.state_dict(),
            "rng": self._rng.get_state(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave, in a run newly made from the same config and images."""
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.source.load_state_dict(state["source"])
        self._rng.set_state(state["rng"])
