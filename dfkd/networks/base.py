"""What dfkd asks of a network of its own: to say what it is."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """A network that can be written to a file and built again from it; called as ``network(lr, scale)``.

    What else one can do it says by having the method for it: with `grow` (as in `dfkd.networks.vdsr.VDSR`) a student
    can be distilled part by part, with `stack` a teacher can be sliced, and `halved` is the paper's student of it.

    Attributes:
        architecture: the name of the class in the files that hold its weights.
        scales: upscaling factors it serves; None for any.
    """

    architecture: ClassVar[str]
    scales: tuple[int, ...] | None = None

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """What the class needs, as keywords, to build a network of this shape."""

    @classmethod
    @abstractmethod
    def spec_of(cls, weights: dict[str, Tensor]) -> dict[str, Any]:
        """The same, read off the weights of one; of weights that are no such network, anything they do not fit."""

    @abstractmethod
    def reach(self, scale: int) -> int:
        """How far it sees: low-resolution pixels beyond its own that can change a pixel of the output."""


IMAGES = 8  # on which a reach is measured: a ReLU that is off hides what lies behind it in one image, hardly in all


def reach_of(network: nn.Module, scale: int, limit: int = 48) -> int:
    """How far a network sees, said by its class or measured.

    It is measured by the gradient of the middle pixels of enlarged random images: where that is zero in all of them,
    nothing that stood there could have changed these pixels.

    Args:
        network: any module of signature ``network(lr, scale)`` on luma.
        scale: upscaling factor.
        limit: the farthest it is followed, in low-resolution pixels; a network that sees the whole image gives this.
    """
    if isinstance(network, Network):
        return network.reach(scale)
    first = next(network.parameters(), torch.zeros(()))
    rng, reach = torch.Generator().manual_seed(0), 0
    middle = slice(scale * limit, scale * (limit + 1))
    for _ in range(IMAGES):
        lr = torch.rand(1, 1, 2 * limit + 1, 2 * limit + 1, generator=rng)
        lr = lr.to(first.device, first.dtype).requires_grad_()
        with torch.enable_grad():
            seen = network(lr, scale)[..., middle, middle].abs().sum()
            if not seen.requires_grad:
                return limit
            (gradient,) = torch.autograd.grad(seen, lr)
        places = gradient[0, 0].nonzero() - limit  # [places, 2], from the middle
        reach = max(reach, int(places.abs().max()) if len(places) else 0)
    return reach
