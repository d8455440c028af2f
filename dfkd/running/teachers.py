"""Training a teacher on real images: shrunk crops go in, the crops are the targets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dfkd.errors import TrainingError
from dfkd.method.loop import whole_number
from dfkd.method.losses import distillation_loss
from dfkd.method.schedules import cosine
from dfkd.method.settings import require_kinds
from dfkd.method.sources.base import require_memory
from dfkd.method.sources.real import RealSource
from dfkd.networks.vdsr import VDSR
from dfkd.pixels.resize import imresize
from dfkd.seeds import seeded, stream


@dataclass(frozen=True)
class TeacherSettings:
    """Settings of a teacher's training.

    Attributes:
        width: channels of the hidden layers.
        blocks: hidden blocks.
        scales: upscaling factors; one is drawn at random for every update.
        steps: updates.
        batch: crops an update.
        patch: side of a crop in pixels.
        lr: step size.
        warm_up: share of the run over which the step size rises.
        clip: bound on the norm of the gradient.
        average: weight of the newest weights in the running average that a run ends with.
        seed: of all random streams.
    """

    width: int = 32
    blocks: int = 8
    scales: tuple[int, ...] = (2, 3, 4)
    steps: int = 12000
    batch: int = 16
    patch: int = 48
    lr: float = 1e-3
    warm_up: float = 0.02
    clip: float = 0.4
    average: float = 0.002
    seed: int = 0

    def __post_init__(self):
        require_kinds(type(self), vars(self))
        if min(self.width, self.blocks, self.steps, self.batch, self.patch) < 1 or not self.lr > 0:
            raise TrainingError("width, blocks, steps, batch, patch and lr must be positive")
        if not (self.clip > 0 and 0 < self.average <= 1 and 0 <= self.warm_up <= 1):
            raise TrainingError("clip must be positive, average must lie in (0, 1], warm_up in [0, 1]")
        require_memory("such a network", 9 * self.width**2 * self.blocks)
        require_memory("features of a batch of such crops", 16 * self.batch * self.patch**2)
        if not self.scales or any(s < 2 or self.patch % s for s in self.scales):
            raise TrainingError(f"scales {self.scales}: each at least 2 and a divisor of patch {self.patch}")
        if len(set(self.scales)) < len(self.scales):
            raise TrainingError(f"scales {self.scales}: each once")

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers and lists, for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TeacherSettings:
        """The inverse of `to_dict`; the first edition warmed up for a hundred updates whatever the length.

        Raises:
            TrainingError: a name this version does not know.
        """
        if unknown := set(values) - {field.name for field in fields(cls)}:
            raise TrainingError(f"unknown settings {sorted(unknown)}: written by another version of dfkd?")
        require_kinds(cls, values)
        values = {"warm_up": min(1.0, 100 / max(1, values["steps"]))} | values
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


class TeacherTraining:
    """A supervised training run, and everything needed to go on with it after a stop.

    Args:
        source: real images.
        config: all settings.
        device: where it trains; the source's images are wanted there too.

    Attributes:
        averaged: the running average of the weights; its `module` is the finished teacher.
    """

    ROUND = 20  # steps between two reports

    def __init__(self, source: RealSource, config: TeacherSettings, device: torch.device | str = "cpu"):
        self.source, self.config, self.step = source, config, 0
        with seeded(config.seed, "teacher"):
            self.model = VDSR(config.width, config.blocks).to(device, memory_format=torch.channels_last)
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
        self._require_finite("loss", loss.item())
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.lr * cosine(self.step, self.config.steps, self.warm_up_updates)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = clip_grad_norm_(self.model.parameters(), self.config.clip)
        self._require_finite("norm of the gradient", norm.item())
        self.optimiser.step()
        self.averaged.update_parameters(self.model)
        self.step += 1
        return loss.item()

    @property
    def warm_up_updates(self) -> int:
        """Updates over which the step size rises."""
        return round(self.config.warm_up * self.config.steps)

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingError(f"the {what} became {value} at step {self.step}; lower lr and start anew")

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
        self.step = whole_number(state["step"], self.config.steps)
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.source.load_state_dict(state["source"])
        self._rng.set_state(state["rng"])
