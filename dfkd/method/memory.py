"""The memory bank B: what the generator has made before, for new images to differ from (Algorithm 1, lines 3 to 24)."""

from __future__ import annotations

import torch
from torch import Tensor

from dfkd.errors import TrainingError


class MemoryBank:
    """A ring buffer of named rows: when it is full, the oldest go.

    What is stored does not move: detached images and *teacher* features of their views. Embeddings of h would go stale
    as h learns. There is one bank a scale, because images of different scales differ in size, and telling them apart by
    it would be a shortcut.

    Args:
        size: rows kept at most.
    """

    def __init__(self, size: int):
        if size < 1:
            raise TrainingError(f"a memory bank holds at least one row, not {size}")
        self.size = size
        self._rows: dict[str, Tensor] = {}  # each [size, ...], allocated by the first batch
        self._added = 0  # rows ever added; the next one goes to place _added % size

    def __len__(self) -> int:
        return min(self._added, self.size)

    def add(self, **rows: Tensor) -> None:
        """B <- B U {x}: add a batch, each argument [batch, ...] with equal batch; copies are kept, without gradients.

        Raises:
            TrainingError: names or shapes differ from what the bank holds.
        """
        shapes = {name: value.shape[1:] for name, value in rows.items()}
        if len({len(value) for value in rows.values()}) != 1:
            raise TrainingError(f"the columns of a batch must be equally long, not {[len(v) for v in rows.values()]}")
        if not self._rows:
            self._rows = {name: value.new_zeros(self.size, *shapes[name]) for name, value in rows.items()}
        if (held := {name: value.shape[1:] for name, value in self._rows.items()}) != shapes:
            raise TrainingError(f"this bank holds rows of {held}; rows of {shapes} do not fit")
        count = len(next(iter(rows.values())))
        kept = slice(max(0, count - self.size), None)  # of a batch larger than the bank, the last rows
        places = (self._added + torch.arange(count)[kept]) % self.size
        for name, value in rows.items():
            self._rows[name][places.to(value.device)] = value.detach()[kept]
        self._added += count

    def sample(self, count: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Up to `count` different rows, drawn without replacement; {} while the bank is empty."""
        if not len(self):
            return {}
        chosen = torch.randperm(len(self), generator=rng)[:count]
        return {name: value[chosen.to(value.device)] for name, value in self._rows.items()}

    def state_dict(self) -> dict:
        """Everything the bank holds, as tensors and numbers."""
        return {"size": self.size, "rows": dict(self._rows), "added": self._added}

    def load_state_dict(self, state: dict, device: torch.device | str = "cpu") -> None:
        """Take over what `state_dict` gave, on a device.

        Raises:
            TrainingError: the saved bank has another size.
        """
        if state["size"] != self.size:
            raise TrainingError(f"the saved bank has {state['size']} rows, this one {self.size}")
        if any(len(rows) != self.size for rows in state["rows"].values()) or state["added"] < 0:
            raise TrainingError("the saved bank has not the rows that it says")
        self._rows, self._added = {n: v.to(device, copy=True) for n, v in state["rows"].items()}, state["added"]
