"""What a source of training images is: the only thing in which the methods of this book differ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor, nn

from dfkd.errors import TrainingError
from dfkd.method.team import ALONE, Team

MOST = 2**30  # numbers of one kind that a run may hold: 4 GB


class LoopSettings(Protocol):
    """What a source has to know of the loop it serves; `dfkd.method.settings.Config` says it."""

    source: SourceSettings
    method: str
    scales: tuple[int, ...]
    batch: int
    patch: int
    dead_leaves: float
    precision: str
    seed: int

    def images_of(self, name: str, share: float, batch: int | None = None) -> int:
        """How many images of a batch a share is, of `self.batch` by default; an error where it is none or all."""


class Source(ABC):
    """Images for the imitation stage, and a generation stage to improve them.

    Attributes:
        learns: whether the generation stage changes the source.
    """

    learns = False

    @abstractmethod
    def sample(self, batch: int, scale: int) -> Tensor:
        """Training images [batch, channels, patch / scale, patch / scale] in [0, 1], without gradients."""

    def improve(self, teacher: nn.Module, student: nn.Module, scale: int, rate: float = 1.0) -> dict[str, float]:
        """The generation stage of Algorithm 1, lines 16 to 24; nothing for a source that does not learn.

        Args:
            teacher: T, frozen.
            student: S_k; its weights and buffers are left as they are.
            scale: the generator of this scale has its turn.
            rate: factor on the source's step sizes, for schedules.

        Returns:
            The loss terms of the last inner step, by name.
        """
        return {}

    def movement(self) -> dict[str, float]:
        """How far what the source learns has moved from its start, relative norms; {} if it does not learn."""
        return {}

    def notes(self, teacher: nn.Module, student: nn.Module) -> dict:
        """What a record should say of the source as it is now, as plain numbers and names."""
        return {}

    @abstractmethod
    def state_dict(self) -> dict:
        """All that decides what the source will do next, random streams included."""

    @abstractmethod
    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave."""


@dataclass(frozen=True)
class SourceSettings(ABC):
    """What one method's source is told to do; each method has a class of its own with the fields it knows.

    Attributes of the class:
        method: the name people ask for.
    """

    method: ClassVar[str]

    @abstractmethod
    def make(
        self, config: LoopSettings, teacher: nn.Module, images: list[Tensor] | None = None, team: Team = ALONE
    ) -> Source:  # fmt: skip
        """The source, on the teacher's device.

        Args:
            config: the loop's settings: patch, batch, scales and seed matter.
            teacher: T.
            images: luma images [1, 1, height, width], for a method that learns from data.
            team: the processes that share the run; each draws images of its own.
        """

    def check(self, config: LoopSettings) -> None:  # noqa: B027 (most methods have nothing to check)
        """Raise a `TrainingError` where the settings do not fit the loop's."""


def require_memory(what: str, numbers: float) -> None:
    """Refuse what no machine has the memory for, before it is taken.

    Raises:
        TrainingError: more than `MOST` float32 numbers.
    """
    if not numbers <= MOST:
        raise TrainingError(f"{what} would take {4 * numbers / 1e9:,.0f} GB; ask for less")


def device_of(network: nn.Module):
    """Where a network's weights are; the CPU for one without."""
    return next((p.device for p in network.parameters()), "cpu")
