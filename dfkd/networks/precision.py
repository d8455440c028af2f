"""Networks that compute in bfloat16: faster on processors that can, with eight significant bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PRECISIONS = ("float32", "bfloat16")


def answer(network: nn.Module, lr: Tensor, scale: int, precision: str = "float32") -> Tensor:
    """``network(lr, scale)`` with its convolutions in some precision; the answer is float32.

    Weights stay as they are, and losses, optimisers and averages see float32 throughout. In bfloat16 an error of up to
    2^-8 of each feature remains: small where a network adds a correction to the bicubic image, as those here do,
    because resizing keeps float32.

    Args:
        network: any module of signature ``network(lr, scale)``.
        lr: low-resolution images [batch, channels, height, width] in [0, 1].
        scale: upscaling factor.
        precision: one of `PRECISIONS`.
    """
    if precision == "float32":
        return network(lr, scale)
    with torch.autocast(lr.device.type, torch.bfloat16):
        return network(lr, scale).float()
