"""MATLAB's bicubic resizing, the one every super-resolution benchmark is built on.

A resize along one axis is a linear map, so it is written as one: a matrix with a row for every output pixel and a
column for every input pixel. Two small matrix products resize an image, autograd differentiates them, and the borders
are exact because the reflected pixels are folded into the matrix.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from dfkd.errors import ImageError

KEPT = 2**19  # entries of a resize matrix that is kept: 2 MB in float32, 64 of them at most
CUBIC_A = -0.5  # Keys' third-order choice (1981), the one MATLAB uses; OpenCV and torch without antialiasing use -0.75


def imresize(
    x: Tensor,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    *,
    a: float = CUBIC_A,
    antialias: bool = True,
) -> Tensor:
    """Resize images as MATLAB's ``imresize(..., "bicubic")`` does, borders included.

    Give `scale` or `size`, not both. The result is not clamped: bicubic overshoots at edges, and what to do about it is
    the caller's choice.

    Args:
        x: images, [batch, channels, height, width], any float type.
        scale: factor for both sides; an output side is ``ceil(scale * side)``.
        size: output (height, width) in pixels.
        a: the cubic kernel's free parameter.
        antialias: widen the kernel when shrinking, so that it averages over what it drops.

    Returns:
        Resized images, [batch, channels, new height, new width], differentiable in `x`.

    Raises:
        ImageError: `x` is not a batch of images, or neither or both of `scale` and `size` are given.
    """
    if x.dim() != 4 or not x.is_floating_point() or min(x.shape[-2:]) < 1:
        raise ImageError(f"imresize takes float images [batch, channels, h, w], not {x.dtype} {tuple(x.shape)}")
    if (scale is None) == (size is None):
        raise ImageError("imresize takes either scale= or size=, not both")
    if scale is not None and not 0 < scale < math.inf or size is not None and min(size) < 1:
        raise ImageError(f"imresize needs a positive scale or size, not scale={scale}, size={size}")
    if torch.compiler.is_compiling() and scale is not None and scale >= 1 and float(scale).is_integer():
        return enlarge(x, int(scale), a)
    height, width = x.shape[-2:]
    out_height, out_width = size if size is not None else (_ceil(height * scale), _ceil(width * scale))
    if min(out_height, out_width) < 1:
        raise ImageError(f"nothing is left of {height}x{width} pixels at scale {scale}")
    # As in MATLAB, a scale given keeps its exact value even where the output side had to be rounded up.
    down = _matrix(height, out_height, scale or out_height / height, a, antialias, x.dtype, x.device)
    across = _matrix(width, out_width, scale or out_width / width, a, antialias, x.dtype, x.device)
    with torch.autocast(x.device.type, enabled=False):  # a benchmark's hundredths of a dB need all the bits
        return down @ x @ across.T


def enlarge(x: Tensor, scale: int, a: float = CUBIC_A) -> Tensor:
    """The same as `imresize` for a whole factor, as convolutions whose kernels know nothing of the image's size.

    Matrices are made for one size. An exported network meets any, so `imresize` comes here while a network is traced.
    Between two pixels `scale` new ones lie at fixed places: `scale` kernels of five weights each, one a place.

    Args:
        x: images, [batch, channels, height, width], sides of at least 2.
        scale: factor for both sides.
        a: the cubic kernel's free parameter.

    Returns:
        [batch, channels, scale * height, scale * width].
    """
    places = (np.arange(scale) + 0.5) / scale - 0.5  # in (-0.5, 0.5)
    kernels = cubic(places[:, None] - np.arange(-2, 3)[None, :], a)
    kernels = torch.from_numpy(kernels / kernels.sum(axis=1, keepdims=True)).to(x.device, x.dtype)
    return _stretch(_stretch(x, kernels, 2), kernels, 3)


def _stretch(x: Tensor, kernels: Tensor, axis: int) -> Tensor:
    """Enlarge along one axis, 2 or 3, by five-tap kernels [scale, 5]; the border is mirrored."""
    size = x.shape[axis]
    first, last = x.narrow(axis, 0, 2).flip(axis), x.narrow(axis, size - 2, 2).flip(axis)
    padded = torch.cat([first, x, last], dim=axis)
    taps = torch.stack([padded.narrow(axis, tap, size) for tap in range(5)], dim=-1)  # [batch, channels, h, w, 5]
    stretched = taps @ kernels.T  # [batch, channels, h, w, scale]
    return stretched.movedim(-1, axis + 1).flatten(axis, axis + 1)


def _ceil(length: float) -> int:
    return math.ceil(round(length, 6))  # 30 * (1 / 3) must not become 11 because a third is not exact


def cubic(t: np.ndarray, a: float = CUBIC_A) -> np.ndarray:
    """Keys' cubic convolution kernel: 1 at 0, 0 at every other integer and beyond 2."""
    t = np.abs(t)
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def _matrix(length: int, out_length: int, *rest) -> Tensor:
    """Resampling of one axis as a matrix [out_length, length]; rows sum to 1.

    Those of patches and benchmark images are kept, those of large photographs are made anew: a few dozen of them would
    take gigabytes.
    """
    make = _kept_matrix if length * out_length <= KEPT else _new_matrix
    return make(length, out_length, *rest)


def _new_matrix(
    length: int, out_length: int, scale: float, a: float, antialias: bool, dtype: torch.dtype, device: torch.device
) -> Tensor:
    shrink = min(scale, 1.0) if antialias else 1.0  # the kernel is stretched by 1 / shrink
    centres = (np.arange(out_length) + 0.5) / scale - 0.5  # where each output pixel lies among the input pixels
    reach = math.ceil(2 / shrink) + 1
    taps = np.floor(centres)[:, None] + np.arange(-reach, reach + 1)[None, :]
    weights = cubic(shrink * (centres[:, None] - taps), a)
    weights /= weights.sum(axis=1, keepdims=True)
    # Symmetric border: ... 1 0 | 0 1 2 ... n-1 | n-1 n-2 ..., a sequence of period 2n.
    mirrored = np.mod(taps.astype(np.int64), 2 * length)
    mirrored = np.where(mirrored < length, mirrored, 2 * length - 1 - mirrored)
    matrix = np.zeros((out_length, length))
    np.add.at(matrix, (np.arange(out_length)[:, None], mirrored), weights)
    with torch.inference_mode(False):  # the cache outlives the mode in which it was filled
        return torch.from_numpy(matrix).to(device, dtype)


_kept_matrix = lru_cache(maxsize=64)(_new_matrix)
