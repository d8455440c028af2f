"""Exposure: how much of an image is contrast and how much brightness (not in the paper; see chapter 3).

A network without biases is homogeneous, T(a x) = a T(x): brightening an image shows it nothing new, lowering its
contrast does. A generator whose last maps are instance-normalised gives all its images the same contrast and
brightness, and a student of such images has never seen a faint edge. The images are also smooth, without hard edges.
Stretching their contrast until some of it is clipped to black and white gives them edges.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dfkd.errors import TrainingError

MEANS = (0.1, 0.9)  # between which an image's new mean is drawn


class Exposure(NamedTuple):
    """Contrasts c and means m for a batch, each [batch, 1, 1, 1]."""

    contrast: Tensor
    mean: Tensor

    def of(self, images: Tensor) -> Tensor:
        """``clamp(m + c (x - mean x))``, an image at a time.

        Args:
            images: x, [batch, channels, height, width] in [0, 1].

        Returns:
            Same shape, in [0, 1]; differentiable.
        """
        centred = images - images.mean((1, 2, 3), keepdim=True)
        return (self.mean.to(images) + self.contrast.to(images) * centred).clamp(0, 1)


def draw_exposure(batch: int, contrasts: tuple[float, ...], rng: torch.Generator) -> Exposure:
    """Contrasts log-uniform in a range, means uniform in `MEANS`.

    Args:
        batch: images.
        contrasts: the range's two ends, see `require_range`.
        rng: random stream.
    """
    low, high = (math.log(contrast) for contrast in contrasts)
    contrast, mean = torch.rand(2, batch, 1, 1, 1, generator=rng)
    return Exposure((low + (high - low) * contrast).exp(), MEANS[0] + (MEANS[1] - MEANS[0]) * mean)


def stretched(images: Tensor, most: float, rng: torch.Generator) -> Tensor:
    """``clamp(mean x + g (x - mean x))``: contrast stretched until it is clipped, an image at a time.

    Args:
        images: x, [batch, channels, height, width] in [0, 1].
        most: upper end of the range [1, most] in which the gains g are drawn, log-uniform.
        rng: random stream.

    Returns:
        Same shape, in [0, 1]; differentiable, with no gradient where it is clipped.
    """
    gain = (math.log(most) * torch.rand(len(images), 1, 1, 1, generator=rng)).exp()
    return Exposure(gain, images.mean((1, 2, 3), keepdim=True)).of(images)


def require_range(contrasts: tuple[float, ...]) -> None:
    """Check a range of contrasts: none at all, or two in (0, 1], the smaller one first.

    Raises:
        TrainingError: something else.
    """
    if contrasts and not (len(contrasts) == 2 and 0 < contrasts[0] <= contrasts[1] <= 1):
        raise TrainingError(
            f"exposure is a range of contrasts, two numbers in (0, 1] with the smaller one first, not {contrasts}"
        )
