"""The paper's method: DFSR's generator, kept diverse by a contrastive loss over a memory bank (Eq. 13, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dfkd.errors import TrainingError, pick
from dfkd.method.losses import DENOMINATORS, contrastive_loss
from dfkd.method.memory import MemoryBank
from dfkd.method.sources.base import LoopSettings, device_of
from dfkd.method.sources.dfsr import EXPOSURE, DFSRSettings, DFSRSource, frozen
from dfkd.method.team import ALONE, Team
from dfkd.networks.discriminator import InstanceDiscriminator, TeacherFeatures
from dfkd.seeds import seeded, stream


@dataclass(frozen=True)
class CMISettings(DFSRSettings):
    """The paper's method: contrastive loss and memory bank as well (Eq. 13).

    Attributes:
        w_contrast: W_C; by default L_cr pulls at G(z) about as hard as L_GEN at the start.
        temperature: tau of Eq. 12.
        denominator: of Eq. 12, 'negatives' as printed or 'all'.
        negatives: rows drawn from the bank for a contrastive loss.
        layers: name of a teacher's layer that h looks at; by default an early, a middle and the last hidden one.
    """

    method: ClassVar[str] = "cmi"

    w_contrast: float = 10.0
    temperature: float = 0.1
    denominator: str = "negatives"
    negatives: int = 256
    layers: tuple[str, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        pick("denominator", self.denominator, DENOMINATORS)
        if self.negatives < 1 or not self.temperature > 0:
            raise TrainingError("negatives must be at least 1, temperature positive")

    def check(self, config: LoopSettings) -> None:
        """Images have others to be told apart from."""
        super().check(config)
        if config.batch < 2:
            raise TrainingError("method 'cmi' tells the images of a batch apart: batch must be at least 2")

    def make(
        self, config: LoopSettings, teacher: nn.Module, images: list[Tensor] | None = None, team: Team = ALONE
    ) -> CMISource:  # fmt: skip
        """Generators and h of the run's seed, on the teacher's device."""
        return CMISource(
            config.scales, teacher, settings=self, patch=config.patch, batch=config.batch,
            precision=config.precision, seed=config.seed, device=device_of(teacher), team=team,
        )  # fmt: skip


@dataclass(frozen=True)
class CMIPlusSettings(CMISettings):
    """The paper's method with the departures of 'dfsr+', and contrast a tenth as strong."""

    method: ClassVar[str] = "cmi+"

    exposure: tuple[float, ...] = EXPOSURE
    adversary: str = "relative"
    anneal: bool = True
    w_contrast: float = 1.0


class CMISource(DFSRSource):
    """DFSR's generators with a contrastive loss: h learns with them.

    Args:
        scales: upscaling factors.
        teacher: T, whose features images are told apart by.
        settings: as for `DFSRSource`, and the contrastive loss's own.
        patch: side of the teacher's outputs; images have side patch / scale.
        options: as for `DFSRSource`.
    """

    def __init__(
        self, scales: tuple[int, ...], teacher: nn.Module, *, settings: CMISettings = CMISettings(), patch: int = 48,
        precision: str = "float32", seed: int = 0, device: torch.device | str = "cpu", team: Team = ALONE, **options,
    ):  # fmt: skip
        sizes, shared = {scale: patch // scale for scale in scales}, {"seed": seed, "device": device, "team": team}
        self.contrast = Contrast(teacher, sizes, settings=settings, precision=precision, **shared)
        self.w_contrast = settings.w_contrast
        super().__init__(scales, settings=settings, patch=patch, precision=precision, **shared, **options)

    def learners(self) -> list[nn.Parameter]:
        """Generators and h."""
        return [*super().learners(), *self.contrast.h.parameters()]

    def contrastive(self, lr: Tensor, teacher: nn.Module, scale: int) -> tuple[Tensor, dict[str, Tensor]]:
        """L_cr (Eq. 12), and what the bank should remember for it."""
        return self.contrast.loss(lr, teacher, scale, self.banks[scale])

    def streams(self) -> dict[str, torch.Generator]:
        """The random streams, by name."""
        return super().streams() | self.contrast.streams()

    def notes(self, teacher: nn.Module, student: nn.Module) -> dict:
        """As for `DFSRSource`, and which of the teacher's layers h looks at."""
        return super().notes(teacher, student) | {"teacher_layers": list(self.contrast.layers)}

    def state_dict(self) -> dict:
        """As for `DFSRSource`, and h."""
        return super().state_dict() | {"h": self.contrast.h.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state)
        self.contrast.h.load_state_dict(state["h"])


class Contrast:
    """L_cr of a batch against itself and the memory bank.

    Args:
        teacher: T, whose features images are told apart by; it is asked for its layers and not kept.
        sizes: side of the low-resolution images, by scale.
        settings: temperature, denominator, negatives and layers matter.
        precision: in which the teacher computes, one of `dfkd.networks.precision.PRECISIONS`.
        seed: of the weights of h and of the random stream that views and bank rows draw from.
        device: where the teacher is.
        team: the processes that share the run: every process tells the images of all apart.

    Attributes:
        h: the instance discriminator.
        layers: names of the teacher's layers it looks at.
        rng: the random stream of views, and in a run of one process of bank rows.
    """

    def __init__(
        self, teacher: nn.Module, sizes: dict[int, int], *, settings: CMISettings = CMISettings(),
        precision: str = "float32", seed: int = 0, device: torch.device | str = "cpu", team: Team = ALONE,
    ):  # fmt: skip
        self.settings, self.precision, self.team = settings, precision, team
        scale, size = next(iter(sizes.items()))
        with torch.no_grad(), frozen(teacher):
            features = TeacherFeatures(teacher, settings.layers, precision, sizes)
            dimensions = features(torch.rand(1, 1, size, size, device=device), scale).shape[1]
        self.layers = features.layers
        with seeded(seed, "instance discriminator"):
            self.h = InstanceDiscriminator(dimensions).to(device)
        self.rng = stream(team.seed(seed), "views")
        # Several processes compare with the same old images, whichever views of their new ones they see.
        self._bank_rng = self.rng if team.size == 1 else stream(seed, "negatives")

    def streams(self) -> dict[str, torch.Generator]:
        """The random streams, by name."""
        return {"views_rng": self.rng} | ({} if self._bank_rng is self.rng else {"negatives_rng": self._bank_rng})

    def loss(self, lr: Tensor, teacher: nn.Module, scale: int, bank: MemoryBank) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 12 on a batch of images.

        Args:
            lr: images x = G(z), [batch, channels, height, width]; gradients flow to them through the local view.
            teacher: T.
            scale: upscaling factor.
            bank: the memory bank of this scale, with the features of earlier images; it may be empty.

        Returns:
            L_cr, and the rows that the bank should remember of this batch.
        """
        features = TeacherFeatures(teacher, self.layers, self.precision)
        local = features(random_views(lr, self.rng), scale)  # [batch, dimensions], the anchors
        with torch.no_grad():
            other = features(random_views(lr, self.rng), scale)  # their positive views
        rows = {"local": self.team.gather(local), "other": self.team.gather(other)}
        old = bank.sample(self.settings.negatives, self._bank_rng)
        both = {name: torch.cat([new, old[name]]) if old else new for name, new in rows.items()}
        anchors = self.h(both["local"])
        keys = self.h(both["other"]).detach()  # were both sides to move, the loss could fall by moving the keys alone
        tau, denominator = self.settings.temperature, self.settings.denominator
        loss = contrastive_loss(anchors, keys, tau, fresh=len(rows["local"]), denominator=denominator)
        return loss, {name: value.detach() for name, value in rows.items()}


def random_views(images: Tensor, rng: torch.Generator) -> Tensor:
    """Random views: quarter turns, flips, and cyclic shifts of up to an eighth of the side.

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
