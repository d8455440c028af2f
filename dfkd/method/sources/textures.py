"""Surfaces for leaves: grain, stripes, weave and shading, as fields over a whole canvas that a leaf shows a part of.

After the textures and the optics of VibrantLeaves (Achddou et al., 2025), much simplified: flat leaves
teach edges, and photographs are not edges alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FIELDS = 8  # surfaces a canvas has to choose from
PERIODS = (4.0, 64.0)  # of stripes, in pixels of the grid
SLOPES = (0.6, 2.0)  # grain's amplitude falls as frequency to a power between these
WARP = 0.15  # how far stripes stray, in periods of the lowest frequency


def surfaces(side: int, rng: torch.Generator) -> Tensor:
    """Fields of mean 0 and largest value about 1, [FIELDS, side, side], in equal shares grain, stripes, weave, shading.

    Args:
        side: of the grid they are drawn on, in pixels.
        rng: random stream.
    """
    kinds = (_grain, _stripes, _weave, _shading)
    return torch.stack([kinds[place % len(kinds)](side, rng) for place in range(FIELDS)])


def frequencies(side: int) -> Tensor:
    """Cycles a pixel of every coefficient of `rfft2`."""
    return torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None, :])


def falling_noise(side: int, slope: float, rng: torch.Generator) -> Tensor:
    """Noise whose amplitude falls as frequency to a power: [side, side], mean 0, standard deviation 1."""
    amplitude = frequencies(side).clamp_min(1 / side) ** -slope
    amplitude[0, 0] = 0  # no mean
    noise = torch.fft.irfft2(torch.fft.rfft2(torch.randn(side, side, generator=rng)) * amplitude, s=(side, side))
    return noise / noise.std()


def _uniform(low: float, high: float, rng: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=rng))


def _grain(side: int, rng: torch.Generator) -> Tensor:
    return falling_noise(side, _uniform(*SLOPES, rng), rng) / 3


def _phase(side: int, rng: torch.Generator) -> Tensor:
    """Of a plane wave with a period between `PERIODS` (log-uniform), bent by smooth noise; in radians."""
    period = math.exp(_uniform(math.log(PERIODS[0]), math.log(PERIODS[1]), rng))
    turn = _uniform(0, math.pi, rng)
    along = torch.arange(side, dtype=torch.float32)
    bend = falling_noise(side, 3.0, rng) * WARP * side / PERIODS[1]
    return 2 * math.pi * (along[:, None] * math.sin(turn) + along[None, :] * math.cos(turn) + bend) / period


def _stripes(side: int, rng: torch.Generator) -> Tensor:
    """From a sine wave to a square one."""
    sharpness = _uniform(0.5, 6, rng)
    return torch.tanh(sharpness * _phase(side, rng).sin()) / math.tanh(sharpness)


def _weave(side: int, rng: torch.Generator) -> Tensor:
    return _stripes(side, rng) * _stripes(side, rng)


def _shading(side: int, rng: torch.Generator) -> Tensor:
    return falling_noise(side, 2.5, rng) / 2
