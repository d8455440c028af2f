"""Networks that compute in bfloat16: about twice as fast on processors that can, with eight significant bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PRECISIONS = ("float32", "bfloat16")


class InBfloat16(nn.Module):
    """A network whose convolutions run in bfloat16 and whose answer is float32; its weights stay as they are.

    Losses, optimisers and averages therefore see float32 throughout. An error of up to 2^-8 of each feature remains:
    small where a network adds a correction to the bicubic image, as those here do, because resizing keeps float32.

    Args:
        network: any module of signature ``network(lr, scale)``.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, lr: Tensor, scale: int) -> Tensor:
        """The network's answer, float32."""
        with torch.autocast(lr.device.type, torch.bfloat16):
            return self.network(lr, scale).float()


def at_precision(network: nn.Module, precision: str) -> nn.Module:
    """The network as it is to be called: itself for 'float32', wrapped for 'bfloat16'."""
    return InBfloat16(network) if precision == "bfloat16" else network
