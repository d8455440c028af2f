"""Real images: what a data-free method does without, here to train teachers and to measure the gap."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import Tensor
from tqdm.auto import tqdm

from dfkd.images import luma, read_image
from dfkd.resize import imresize
from dfkd.seeds import stream
from dfkd.sources.base import Source
from dfkd.sources.crops import Crops


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

    @classmethod
    def from_files(cls, paths: Iterable[str | os.PathLike], patch: int = 48, **options) -> RealSource:
        """Read pictures and keep their luma; pictures smaller than a patch are left out."""
        images = [luma(read_image(path)) for path in tqdm(list(paths), desc="reading images", unit="image")]
        return cls([image for image in images if min(image.shape[-2:]) >= patch], patch, **options)

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
