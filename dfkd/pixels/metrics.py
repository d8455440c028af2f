"""How good is a picture (PSNR, SSIM), and how different are many (Eq. 10)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from dfkd.errors import ImageError
from dfkd.pixels.colour import require_unit_range

FAR_OFF = 16  # a network's output may leave [0, 1]; beyond this it is a picture in bytes, or no picture


def psnr(sr: Tensor, hr: Tensor, shave: int = 0) -> float:
    """Peak signal-to-noise ratio in dB, the higher the better.

    Args:
        sr: what a method made, [1, channels, height, width] in [0, 1]; clipped to that range first.
        hr: what it should have been, same shape.
        shave: border in pixels left out of the comparison; the benchmarks shave `scale` pixels.

    Returns:
        ``10 log10(1 / mean squared error)``; infinite for equal images.

    Raises:
        ImageError: shapes that differ, bytes, or values that are clearly not in [0, 1].
    """
    sr, hr = _pair(sr, hr, shave)
    error = (sr - hr).square().mean().item()
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(sr: Tensor, hr: Tensor, shave: int = 0) -> float:
    """Structural similarity, at most 1 (Wang et al., 2004): 11x11 Gaussian window of sigma 1.5, data range 255.

    Args and shapes as for `psnr`. Windows that stick out of the picture are left out, as in the original.
    """
    from skimage.metrics import structural_similarity  # slow to import, and only needed here

    sr, hr = (255 * t.numpy() for t in _pair(sr, hr, shave))
    if min(sr.shape[-2:]) < 11:
        raise ImageError(f"SSIM's window is 11x11; the image is {sr.shape[-2]}x{sr.shape[-1]} after shaving")
    options = dict(data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    return float(np.mean([structural_similarity(s, h, **options) for s, h in zip(sr[0], hr[0], strict=True)]))


def _pair(sr: Tensor, hr: Tensor, shave: int) -> tuple[Tensor, Tensor]:
    """Both as float64 on the CPU, clipped and shaved."""
    if sr.shape != hr.shape or sr.dim() != 4 or len(sr) != 1:
        raise ImageError(f"compare two images [1, channels, h, w] of one size, not {(*sr.shape,)} and {(*hr.shape,)}")
    if shave < 0:
        raise ImageError(f"cannot shave {shave} pixels")
    if 2 * shave >= min(sr.shape[-2:]):
        raise ImageError(f"nothing is left of {tuple(sr.shape)} after shaving {shave} pixels from every side")
    require_unit_range(hr, "the truth")
    if not sr.is_floating_point() or not sr.abs().max() <= FAR_OFF:  # NaN is not
        require_unit_range(sr, "what is compared with it")
    height, width = sr.shape[-2:]
    sr, hr = (t.detach().cpu().double().clamp(0, 1) for t in (sr, hr))
    return tuple(t[..., shave : height - shave, shave : width - shave] for t in (sr, hr))


def diversity(features: Tensor) -> float:
    """How far apart the rows of a set lie on average, Eq. 10 with cosine distance over all pairs.

    Args:
        features: one row a sample, [samples, dimensions]; pixels or features of a *fixed* network, with a fixed
            reference subtracted (mid-grey, say). Vectors that share a large mean all look alike; their own mean would
            not do, for centred rows look equally unlike whatever they are.

    Returns:
        Mean of ``1 - cosine`` over all pairs i != j: 0 when all rows agree, about 1 when they are unrelated.

    Raises:
        ImageError: fewer than two rows, or one of zeros, which points nowhere.
    """
    if features.dim() != 2 or len(features) < 2:
        raise ImageError(f"diversity compares at least two rows [samples, dimensions], not {tuple(features.shape)}")
    if zeros := int((features == 0).all(dim=1).sum()):
        raise ImageError(f"{zeros} rows are all zeros and have no direction to compare; subtract another reference")
    return float(1 - _mean_cosine(features.detach().double()))


def _mean_cosine(rows: Tensor) -> Tensor:
    unit = torch.nn.functional.normalize(rows, dim=1)
    n = len(unit)
    total = unit.sum(dim=0).square().sum()  # the sum of all n^2 cosines, diagonal included
    return (total - unit.square().sum()) / (n * (n - 1))
