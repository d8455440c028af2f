"""Contrastive memory: the part of the generator's loss that keeps images different from each other (section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfkd.losses import contrastive_loss
from dfkd.memory import MemoryBank
from dfkd.models.discriminator import InstanceDiscriminator, TeacherFeatures
from dfkd.seeds import seeded, stream


class Contrast:
    """L_cr of a batch against itself and the memory bank.

    Args:
        teacher: T, whose features images are told apart by.
        sizes: side of the low-resolution images, by scale.
        temperature: tau of Eq. 12.
        denominator: of Eq. 12, 'negatives' or 'all'.
        negatives: rows drawn from the bank each time.
        layers: names of the teacher's layers; see `TeacherFeatures`.
        precision: in which the teacher computes, one of `dfkd.precision.PRECISIONS`.
        seed: of the weights of h and of the random stream that views and bank rows draw from.
        device: where the teacher is.
    """

    def __init__(
        self, teacher: nn.Module, sizes: dict[int, int], *, temperature: float = 0.1, denominator: str = "negatives",
        negatives: int = 256, layers: tuple[str, ...] = (), precision: str = "float32", seed: int = 0,
        device: torch.device | str = "cpu",
    ):  # fmt: skip
        self.temperature, self.denominator, self.negatives = temperature, denominator, negatives
        self.features = TeacherFeatures(teacher, layers, precision)
        scale, size = next(iter(sizes.items()))
        with torch.no_grad():
            dimensions = self.features(torch.rand(1, 1, size, size, device=device), scale).shape[1]
        with seeded(seed, "instance discriminator"):
            self.h = InstanceDiscriminator(dimensions).to(device)
        self._rng = stream(seed, "views")

    def loss(self, lr: Tensor, scale: int, bank: MemoryBank) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 12 on a batch of images.

        Args:
            lr: images x = G(z), [batch, channels, height, width]; gradients flow to them through the local view.
            scale: upscaling factor.
            bank: the memory bank of this scale, with the features of earlier images; it may be empty.

        Returns:
            L_cr, and the rows that the bank should remember of this batch.
        """
        local = self.features(random_views(lr, self._rng), scale)  # [batch, dimensions], the anchors
        with torch.no_grad():
            other = self.features(random_views(lr, self._rng), scale)  # their positive views
        rows = {"local": local, "other": other}
        old = bank.sample(self.negatives, self._rng)
        both = {name: torch.cat([new, old[name]]) if old else new for name, new in rows.items()}
        anchors = self.h(both["local"])
        keys = self.h(both["other"]).detach()  # were both sides to move, the loss could fall by moving the keys alone
        loss = contrastive_loss(anchors, keys, self.temperature, fresh=len(lr), denominator=self.denominator)
        return loss, {name: value.detach() for name, value in rows.items()}

    def state_dict(self) -> dict:
        """Weights of h and the state of the random stream."""
        return {"h": self.h.state_dict(), "rng": self._rng.get_state()}

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave."""
        self.h.load_state_dict(state["h"])
        self._rng.set_state(state["rng"])


def random_views(images: Tensor, rng: torch.Generator) -> Tensor:
    """The same scenes seen otherwise: quarter turns, flips, and cyclic shifts of up to an eighth of the side.

    Args:
        images: square images [batch, channels, side, side].
        rng: random stream; each image gets a view of its own.

    Returns:
        Same shape; differentiable.
    """
    reach = images.shape[-1] // 8
    turns = torch.randint(4, (len(images),), generator=rng).tolist()
    flips = torch.randint(2, (len(images),), generator=rng).tolist()
    shifts = torch.randint(-reach, reach + 1, (len(images), 2), generator=rng).tolist()
    views = []
    for image, turn, flip, shift in zip(images, turns, flips, shifts, strict=True):
        view = image.rot90(turn, (1, 2)).roll(shift, (1, 2))
        views.append(view.flip(2) if flip else view)
    return torch.stack(views)
