"""EDSR in small: residual blocks on the low-resolution image, a pixel shuffle at the end (Lim et al., 2017)."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from dfkd.errors import pick
from dfkd.networks.base import Network

QUIET = 0.1  # the last layers' start, relative to He's: a new network repeats pixels, plus a little


class EDSR(Network):
    """A teacher of another design: it works at low resolution, has skips and biases, and one head for each scale.

    Its head turns every pixel into ``scale**2`` residuals, which a pixel shuffle lays out as a square. The pixel itself
    is added to each of them, so that a new network enlarges by repetition and has only to learn the rest. (The
    original has one scale, hundreds of channels, and no such last skip.)

    Args:
        width: channels of the hidden layers.
        blocks: residual blocks, two 3x3 convolutions each.
        scales: upscaling factors, each with a head of its own.
        inner: channels between the two convolutions of a block; by default `width`. Slicing makes it smaller.
    """

    architecture = "edsr"

    def __init__(
        self, width: int = 32, blocks: int = 4, scales: tuple[int, ...] = (2, 3, 4), inner: int | None = None
    ):  # fmt: skip
        super().__init__()
        self.width, self.blocks, self.scales = width, blocks, tuple(sorted(scales))
        self.inner = inner = inner or width
        self.head = _conv(1, width)
        self.body = nn.ModuleList(
            nn.Sequential(_conv(width, inner), nn.ReLU(), _conv(inner, width, QUIET)) for _ in range(blocks)
        )
        self.heads = nn.ModuleDict({str(scale): _conv(width, scale**2, QUIET) for scale in self.scales})

    def forward(self, lr: Tensor, scale: int) -> Tensor:
        """Upscale luma images.

        Args:
            lr: [batch, 1, height, width] in [0, 1].
            scale: upscaling factor, one of `scales`.

        Returns:
            [batch, 1, scale * height, scale * width]; around [0, 1], not clamped.

        Raises:
            UnknownName: a scale the network has no head for.
        """
        pick("scale", scale, self.scales)
        x = self.head(lr)
        for block in self.body:
            x = x + block(x)
        residual = self.heads[str(scale)](x)  # [batch, scale**2, height, width]
        return pixel_shuffle(lr + residual, scale)

    def spec(self) -> dict[str, Any]:
        """What `EDSR(**spec)` needs to build a network of this shape."""
        return _spec(self.width, self.blocks, list(self.scales), self.inner)

    @classmethod
    def spec_of(cls, weights: dict[str, Tensor]) -> dict[str, Any]:
        """The shape of the network with these weights."""
        blocks = sum(bool(re.fullmatch(r"body\.\d+\.0\.weight", name)) for name in weights)
        scales = sorted(int(found[1]) for name in weights if (found := re.fullmatch(r"heads\.(\d{1,3})\.weight", name)))
        width = len(weights.get("head.weight", ()))
        return _spec(width, blocks, scales, len(weights.get("body.0.0.weight", range(width))))

    def reach(self, scale: int) -> int:
        """A pixel a convolution, all on the low-resolution image."""
        return 2 * self.blocks + 2


def _spec(width: int, blocks: int, scales: list[int], inner: int) -> dict[str, Any]:
    """Without `inner` where it is the width, as files were before there was one."""
    return {"width": width, "blocks": blocks, "scales": scales, **({} if inner == width else {"inner": inner})}


def _conv(inputs: int, outputs: int, gain: float = 1.0) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    with torch.no_grad():
        conv.weight.mul_(gain)
    nn.init.zeros_(conv.bias)
    return conv
