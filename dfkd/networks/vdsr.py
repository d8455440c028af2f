"""VDSR: a stack of 3x3 convolutions that corrects what bicubic upscaling gets wrong (Kim, Lee and Lee, 2016)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dfkd.errors import TrainingError, pick
from dfkd.networks.base import Network
from dfkd.pixels.resize import imresize

NEW_BLOCKS = ("random", "identity")
TAIL = 0.1  # the tail's start, relative to He's: a new network is bicubic plus a little, not bicubic drowned in noise


class VDSR(Network):
    """Upscale bicubically, then add a learnt residual: head, `blocks` hidden convolutions, tail; no biases.

    One network serves every scale. It sees luma, [batch, 1, height, width] in [0, 1].

    Args:
        width: channels of the hidden layers; the paper's teacher has 64, its student 32.
        blocks: hidden 3x3 convolutions between head and tail; the paper's networks have 18.

    Attributes:
        head, body, tail: S_H, S_B and S_T of the paper's progressive distillation; `body` is a list of convolutions.
    """

    architecture = "vdsr"

    def __init__(self, width: int = 64, blocks: int = 18):
        super().__init__()
        self.width = width
        self.head = _conv(1, width)
        self.body = nn.ModuleList(_conv(width, width) for _ in range(blocks))
        self.tail = _conv(width, 1)
        with torch.no_grad():
            self.tail.weight.mul_(TAIL)

    @property
    def blocks(self) -> int:
        """Hidden convolutions at present; `grow` adds some."""
        return len(self.body)

    def forward(self, lr: Tensor, scale: int) -> Tensor:
        """Upscale luma images.

        Args:
            lr: [batch, 1, height, width] in [0, 1].
            scale: upscaling factor.

        Returns:
            [batch, 1, scale * height, scale * width]; around [0, 1], not clamped, so that gradients survive.
        """
        upscaled = imresize(lr, scale).clamp(0, 1)
        return upscaled + self.residual(upscaled)

    def residual(self, upscaled: Tensor) -> Tensor:
        """The correction to a bicubically upscaled image, same shape."""
        x = self.head(upscaled).relu_()  # in place: a hook that keeps what a convolution gives must copy it
        for conv in self.body:
            x = conv(x).relu_()
        return self.tail(x)

    def grow(self, blocks: int, kind: str = "random", rng: torch.Generator | None = None) -> None:
        """Append hidden blocks at the end of the body, for progressive distillation (Eq. 5).

        Args:
            blocks: how many.
            kind: 'random' (He initialisation) or 'identity' (a Dirac kernel). The features that reach the new blocks
                come out of a ReLU, so an identity block passes them on exactly and the network computes what it did.
            rng: random stream of the new weights; torch's global one by default.
        """
        pick("kind of block", kind, NEW_BLOCKS)
        like = self.head.weight
        for _ in range(blocks):
            conv = _conv(self.width, self.width, rng)
            if kind == "identity":
                nn.init.dirac_(conv.weight)
            self.body.append(conv.to(like.device, like.dtype))

    def stack(self) -> list[nn.Conv2d]:
        """All convolutions in order, a ReLU after each but the last: what slicing takes apart."""
        return [self.head, *self.body, self.tail]

    def halved(self) -> dict[str, int]:
        """The spec of the student that the paper gives it: as deep, half as wide."""
        return {"width": self.width // 2, "blocks": self.blocks}

    def spec(self) -> dict[str, int]:
        """What `VDSR(**spec)` needs to build a network of this shape."""
        return {"width": self.width, "blocks": self.blocks}

    @classmethod
    def spec_of(cls, weights: dict[str, Tensor]) -> dict[str, int]:
        """The shape of the network with these weights: one matrix a layer, no biases."""
        return {"width": len(weights.get("head.weight", ())), "blocks": len(weights) - 2}

    def reach(self, scale: int) -> int:
        """A pixel a convolution, on the enlarged image, and two low-resolution pixels of the bicubic kernel."""
        return math.ceil((self.blocks + 2) / scale) + 2


def _conv(inputs: int, outputs: int, rng: torch.Generator | None = None) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu", generator=rng)
    return conv


def split(blocks: int, parts: int) -> list[int]:
    """The body sizes B_0 ... B_{P-1} of P progressive parts, as equal as can be, larger ones first.

    >>> split(18, 4)
    [5, 5, 4, 4]
    """
    if not 1 <= parts <= blocks:
        raise TrainingError(f"{blocks} blocks cannot be trained in {parts} parts; choose 1 to {blocks}")
    size, rest = divmod(blocks, parts)
    return [size + (part < rest) for part in range(parts)]
