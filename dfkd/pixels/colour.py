"""Colour to luma and back: the networks see luma alone."""

from __future__ import annotations

import torch
from torch import Tensor

from dfkd.errors import ImageError

# ITU-R BT.601 with 'studio' range: black is 16, white 235. R, G, B and the rows Y, Cb, Cr are in [0, 255].
_TO_YCBCR = torch.tensor(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], dtype=torch.float64
)
_OFFSET = torch.tensor([16.0, 128.0, 128.0], dtype=torch.float64)


def rgb_to_ycbcr(rgb: Tensor) -> Tensor:
    """Colour to luma and chroma, BT.601 in studio range as MATLAB's ``rgb2ycbcr``.

    Args:
        rgb: [batch, 3, height, width] in [0, 1].

    Returns:
        [batch, 3, height, width] in [0, 1]: Y in [16, 235] / 255, Cb and Cr in [16, 240] / 255. Not rounded.
    """
    if rgb.dim() != 4 or rgb.shape[1] != 3:
        raise ImageError(f"colour images are [batch, 3, height, width], not {tuple(rgb.shape)}")
    mixed = torch.einsum("yc,bchw->byhw", _TO_YCBCR.to(rgb.device), rgb.double())
    return ((mixed + _OFFSET.to(rgb.device).view(3, 1, 1)) / 255).to(rgb.dtype)


def ycbcr_to_rgb(ycbcr: Tensor) -> Tensor:
    """The inverse of `rgb_to_ycbcr`; the result may leave [0, 1] a little."""
    centred = ycbcr.double() * 255 - _OFFSET.to(ycbcr.device).view(3, 1, 1)
    return torch.einsum("cy,byhw->bchw", torch.linalg.inv(_TO_YCBCR).to(ycbcr.device), centred).to(ycbcr.dtype)


def as_convolutions() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """`rgb_to_ycbcr` and `ycbcr_to_rgb` as weights [3, 3, 1, 1] and biases [3] of convolutions, in float32.

    For what cannot compute in float64, as files for other runtimes; the results differ by some 1e-6.
    """
    back = torch.linalg.inv(_TO_YCBCR)
    pairs = ((_TO_YCBCR / 255, _OFFSET / 255), (back * 255, -back @ _OFFSET))
    return tuple((weight.float()[..., None, None], bias.float()) for weight, bias in pairs)


def require_unit_range(image: Tensor, what: str = "an image") -> None:
    """Refuse what is no image in [0, 1] (with room for what bicubic overshoots): bytes, or floats up to 255.

    Raises:
        ImageError: integers, or values far outside [0, 1].
    """
    if not image.is_floating_point():
        raise ImageError(f"{what} is a float tensor in [0, 1], not {image.dtype}; divide it by 255")
    if image.numel() and not -0.5 <= image.min() <= image.max() <= 1.5:  # comparisons with NaN are false
        low, high = image.min().item(), image.max().item()
        raise ImageError(f"{what} lies in [0, 1], not in [{low:.3g}, {high:.3g}]; divide it by 255, or clamp it")


def luma(image: Tensor) -> Tensor:
    """The channel the networks see: Y of BT.601 for colour; grey files count as equal red, green and blue.

    Args:
        image: [batch, 1 or 3, height, width] in [0, 1].

    Returns:
        [batch, 1, height, width], Y in [16, 235] / 255.

    Raises:
        ImageError: no such image, bytes, or floats up to 255.
    """
    require_unit_range(image)
    grey = image.dim() == 4 and image.shape[1] == 1
    return rgb_to_ycbcr(image.expand(-1, 3, -1, -1) if grey else image)[:, :1]
