"""Random crops of a set of pictures: where the real and the procedural source get their patches from."""

from __future__ import annotations

import torch
from torch import Tensor

from dfkd.errors import ImageError


class Crops:
    """Square crops at random places, each in one of the eight orientations.

    Args:
        images: [1, channels, height, width] in [0, 1], of any sizes not below `patch`. An image of the
            list may be replaced by another of its size between two draws.
        patch: side of the crops in pixels.
        rng: random stream.

    Raises:
        ImageError: no images, or some that are smaller than a patch.
    """

    def __init__(self, images: list[Tensor], patch: int, rng: torch.Generator):
        if not images:
            raise ImageError("no images to train on")
        if small := [tuple(i.shape[-2:]) for i in images if min(i.shape[-2:]) < patch]:
            raise ImageError(f"{len(small)} images, the first {small[0]}, are smaller than the patch of {patch} pixels")
        self.images, self.patch, self._rng = images, patch, rng
        # Large pictures have more to show: each is drawn in proportion to its area.
        self._areas = torch.tensor([float(image.shape[-2] * image.shape[-1]) for image in images])

    def draw(self, batch: int) -> Tensor:
        """[batch, channels, patch, patch]."""
        chosen = torch.multinomial(self._areas, batch, replacement=True, generator=self._rng)
        return torch.cat([self._crop(self.images[i]) for i in chosen.tolist()])

    def _crop(self, image: Tensor) -> Tensor:
        top, left = (self._below(side - self.patch + 1) for side in image.shape[-2:])
        crop = image[..., top : top + self.patch, left : left + self.patch].rot90(self._below(4), (2, 3))
        return crop.flip(3) if self._below(2) else crop

    def _below(self, bound: int) -> int:
        return int(torch.randint(bound, (), generator=self._rng))
