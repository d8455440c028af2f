"""Photos of any size and kind through a network that knows luma, a tile at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from tqdm.auto import tqdm

from dfkd.errors import ImageError
from dfkd.networks.base import reach_of
from dfkd.pixels.colour import as_convolutions, require_unit_range, rgb_to_ycbcr, ycbcr_to_rgb
from dfkd.pixels.resize import imresize

TILE = 192  # side of a low-resolution tile; at x4 a tile is 768 pixels wide, about 150 MB in a network of 64 channels
CHROMA = 2  # pixels that bicubic enlargement of colour and transparency sees beyond its own


@torch.no_grad()
def upscale(model: nn.Module, image: Tensor, scale: int, *, tile: int = TILE, margin: int | None = None) -> Tensor:
    """Upscale one photo: luma by the network, colour and transparency bicubically.

    Args:
        model: ``model(lr, scale)`` on luma.
        image: [1, 1, 3 or 4, height, width] in [0, 1]: [1, channels, height, width] with 1 (grey), 3, or 4 (alpha).
        scale: upscaling factor.
        tile: side of the low-resolution tiles, which bounds the memory a network needs.
        margin: pixels each tile sees beyond its own; by default as far as the network does, so that tiles leave no
            seams (see `dfkd.networks.base.reach_of`).

    Returns:
        [1, channels, scale * height, scale * width] in [0, 1], on the CPU.

    Raises:
        ImageError: no such image, bytes, or floats up to 255.
    """
    if image.dim() != 4 or len(image) != 1 or image.shape[1] not in (1, 3, 4):
        raise ImageError(f"upscale takes one image [1, 1 or 3 or 4, height, width], not {tuple(image.shape)}")
    require_unit_range(image)
    height, width = image.shape[-2:]
    if margin is None:
        margin = reach_of(model, scale) if max(height, width) > tile else 0
    margin = max(margin, CHROMA)
    result = torch.empty(1, image.shape[1], scale * height, scale * width)
    tiles = list(_tiles(height, width, tile))
    for top, left, bottom, right in tqdm(tiles, desc=f"upscaling x{scale}", unit="tile", disable=len(tiles) == 1):
        above, before = max(0, top - margin), max(0, left - margin)
        seen = image[..., above : bottom + margin, before : right + margin]
        sr = _upscale_tile(model, seen, scale)
        own = sr[..., (top - above) * scale : (bottom - above) * scale, (left - before) * scale :]
        own = own[..., : (right - left) * scale]
        result[..., top * scale : bottom * scale, left * scale : right * scale] = own
    return result


def _tiles(height: int, width: int, tile: int) -> Iterator[tuple[int, int, int, int]]:
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            yield top, left, min(top + tile, height), min(left + tile, width)


def _upscale_tile(model: nn.Module, image: Tensor, scale: int) -> Tensor:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    colour = image[:, :3]
    if image.shape[1] == 1:  # a grey file is R = G = B, whose luma spans [16, 235] as the network expects
        return (model((colour * 219 + 16).to(device) / 255, scale).cpu() * 255 - 16).div(219).clamp(0, 1)
    ycbcr = rgb_to_ycbcr(colour)
    luma = model(ycbcr[:, :1].to(device), scale).cpu()
    rgb = ycbcr_to_rgb(torch.cat([luma, imresize(ycbcr[:, 1:], scale)], dim=1)).clamp(0, 1)
    return torch.cat([rgb, imresize(image[:, 3:], scale).clamp(0, 1)], dim=1) if image.shape[1] == 4 else rgb


class Colour(nn.Module):
    """A network on luma as one on colour: luma through the network, chroma bicubically, as `upscale` does it.

    Args:
        model: ``model(lr, scale)`` on luma.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        for name, tensors in zip(("apart", "together"), as_convolutions(), strict=True):
            for part, tensor in zip(("weight", "bias"), tensors, strict=True):
                self.register_buffer(f"{name}_{part}", tensor)

    def forward(self, rgb: Tensor, scale: int) -> Tensor:
        """Upscale colour images.

        Args:
            rgb: [batch, 3, height, width] in [0, 1].
            scale: upscaling factor.

        Returns:
            [batch, 3, scale * height, scale * width] in [0, 1].
        """
        ycbcr = conv2d(rgb, self.apart_weight, self.apart_bias)
        large = torch.cat([self.model(ycbcr[:, :1], scale), imresize(ycbcr[:, 1:], scale)], dim=1)
        return conv2d(large, self.together_weight, self.together_bias).clamp(0, 1)
