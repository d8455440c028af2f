"""What a source of training images is: the only thing in which the methods of this book differ."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Source(ABC):
    """Images for the imitation stage, and a generation stage to improve them."""

    @abstractmethod
    def sample(self, batch: int, scale: int) -> Tensor:
        """Training images [batch, channels, patch / scale, patch / scale] in [0, 1], without gradients."""

    def improve(self, teacher: nn.Module, student: nn.Module, scale: int, rate: float = 1.0) -> dict[str, float]:
        """The generation stage of Algorithm 1, lines 16 to 24; nothing for a source that does not learn.

        Args:
            teacher: T, frozen.
            student: S_k; its weights are left as they are.
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
