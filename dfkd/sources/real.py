"""Real images: what a data-free method does without, here to train teachers and to measure the gap."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import Tensor
from tqdm.auto import tqdm

from dfkd.errors import ImageError
from dfkd.images import luma, read_image
from dfkd.resize import imresize
from dfkd.seeds import stream
from dfkd.sources.base import Source


class RealSource(Source):
    """Random crops of photographs, flipped and turned, shrunk by the scale.

    Args:
        images: luma images [1, 1, height, width] in [0, 1], of any sizes not below `patch`.
        patch: side of the high-resolution crops.
        seed: of its random stream.
        device: where images are wanted.
    """

    def __init__(self, images: list[Tensor], patch: int = 48, seed: int = 0, device: torch.device | str = "cpu"):
        if not images:
            raise ImageError("no images to train on")
        if small := [tuple(i.shape[-2:]) for i in images if min(i.shape[-2:]) < patch]:
            raise ImageError(f"{len(small)} images, the first {small[0]}, are smaller than the patch of {patch} pixels")
        self.images, self.patch, self.device = images, patch, device
        self._rng = stream(seed, "real")
        # Large pictures have more to show: each is drawn in proportion to its area.
        self._areas = torch.tensor([float(image.shape[-2] * image.shape[-1]) for image in images])

    @classmethod
    def from_files(cls, paths: Iterable[str | os.PathLike], patch: int = 48, **options) -> RealSource:
        """Read pictures and keep their luma; pictures smaller than a patch are left out."""
        images = [luma(read_image(path)) for path in tqdm(list(paths), desc="reading images", unit="image")]
        return cls([image for image in images if min(image.shape[-2:]) >= patch], patch, **options)

    def crops(self, batch: int) -> Tensor:
        """High-resolution crops [batch, 1, patch, patch] in one of the eight orientations each."""
        chosen = torch.multinomial(self._areas, batch, replacement=True, generator=self._rng)
        return torch.cat([self._crop(self.images[i]) for i in chosen.tolist()]).to(self.device)

    def _crop(self, image: Tensor) -> Tensor:
        top, left = (self._draw(side - self.patch + 1) for side in image.shape[-2:])
        crop = image[..., top : top + self.patch, left : left + self.patch].rot90(self._draw(4), (2, 3))
        return crop.flip(3) if self._draw(2) else crop

    def _draw(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self._rng))

    def sample(self, batch: int, scale: int) -> Tensor:
        """Crops shrunk bicubically, [batch, 1, patch / scale, patch / scale]."""
        return imresize(self.crops(batch), 1 / scale).clamp(0, 1)

    def state_dict(self) -> dict:
        """The state of the random stream."""
        return {"rng": self._rng.get_state()}

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave."""
        self._rng.set_state(state["rng"])
