"""The processes that carry out one run together: images of their own, one student, one generator, one memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from dfkd.seeds import for_rank


class Team:
    """This process alone; `dfkd.running.spreading` has the team of several.

    A batch of the run is what all processes draw together. Means over it are means of their means, so every process
    works on its own images and what they share is small: scalars, gradients, the memory bank's new rows.

    Attributes:
        rank: of this process, from 0.
        size: processes in all.
    """

    rank = 0
    size = 1

    def seed(self, seed: int) -> int:
        """The seed of this process's own images; rank 0 keeps the run's."""
        return for_rank(seed, self.rank) if self.rank else seed

    def mean(self, value: Tensor) -> Tensor:
        """A scalar averaged over the processes, the same on all; its gradient is that of this process's own share."""
        return value

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes in order of rank, [size * rows, ...].

        A loss of them is to be the same on every process. Its gradient at a process's own rows comes back `size` times
        as large, so that averaging over processes, as for losses that are means, gives what it should.
        """
        return rows

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Gradients of weights that all processes hold, averaged in place; all have them, or none."""


    def share(self, network: nn.Module) -> None:
        """The weights that rank 0 has, on all processes."""

    def collect(self, what: Any) -> list[Any]:
        """What each process has, in order of rank, on rank 0; elsewhere nothing."""
        return [what]

    def any_of(self, wanted: bool) -> bool:
        """Whether some process wants it; all hear the same."""
        return wanted


ALONE = Team()
