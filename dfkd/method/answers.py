"""The teacher's answers, kept and used more than once: most of a step's cost is the teacher (not in the paper)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dfkd.seeds import stream

Answered = tuple[int, Tensor, Tensor]  # scale, a batch of images for it, T of them
HELD = 64  # batches kept at most


class Answers:
    """A pool of batches with the teacher's answers, from which training draws at random.

    New batches fill the pool; then one is drawn at each step, and replaced after its last use. So in the long run one
    step in `uses` asks the teacher, and a batch comes back after about `held` other steps, not at once.

    Args:
        uses: how often a batch is used. With 1 nothing is kept: every step asks.
        held: batches in the pool; see `pool_size`.
        seed: of the stream that draws from it.
    """

    def __init__(self, uses: int, held: int = HELD, seed: int = 0):
        self.uses, self.held = uses, held
        self.asked = 0
        self._pool: list[tuple[int, Answered]] = []  # uses left, batch
        self._rng = stream(seed, "answers")

    def draw(self, ask: Callable[[], Answered]) -> Answered:
        """A batch with its answers: scale, images [batch, channels, patch / scale, patch / scale], T of them.

        Args:
            ask: makes a new batch and has the teacher answer; called only where one is wanted.
        """
        if self.uses == 1 or len(self._pool) < self.held:
            self.asked += 1
            new = ask()
            if self.uses > 1:
                self._pool.append((self.uses - 1, new))
            return new
        place = int(torch.randint(len(self._pool), (), generator=self._rng))
        left, batch = self._pool[place]
        if left > 1:
            self._pool[place] = (left - 1, batch)
        else:
            self._pool.pop(place)
        return batch

    def state_dict(self) -> dict:
        """The pool, and where its stream stands."""
        return {"pool": list(self._pool), "rng": self._rng.get_state(), "asked": self.asked}

    def load_state_dict(self, state: dict, device: torch.device | str = "cpu") -> None:
        """Take over what `state_dict` gave, on a device."""
        self._pool = [(left, (scale, lr.to(device), sr.to(device))) for left, (scale, lr, sr) in state["pool"]]
        self.asked = state["asked"]
        self._rng.set_state(state["rng"])


def pool_size(steps: int, uses: int) -> int:
    """How many batches to keep: `HELD`, fewer in a short run, which would do nothing but fill a large pool.

    Half of what the run could use up: of 40 steps with four uses each, a pool of five.
    """
    return min(HELD, max(1, steps // (2 * uses)))
