"""Images that a generator invents, trained to be plausible and hard: DFSR (Eq. 4; Zhang et al., 2021)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dfkd.errors import TrainingError, pick
from dfkd.method.losses import (
    adversarial_loss,
    generator_loss,
    gradient_norms,
    reconstruction_loss,
    relative_adversarial_loss,
    squared_reconstruction_loss,
)
from dfkd.method.memory import MemoryBank
from dfkd.method.sources.base import LoopSettings, device_of, require_memory
from dfkd.method.sources.untrained import UntrainedSettings, UntrainedSource
from dfkd.method.team import ALONE, Team
from dfkd.networks.precision import answer
from dfkd.pixels.resize import imresize
from dfkd.seeds import stream

ADVERSARIES = ("absolute", "relative")
RECONSTRUCTIONS = ("absolute", "squared")
EXPOSURE = (0.1, 1.0)  # of the methods that depart from the paper


@dataclass(frozen=True)
class DFSRSettings(UntrainedSettings):
    """A generator trained by reconstruction and adversarial loss (Eq. 4; Zhang et al., 2021).

    Attributes:
        adversary: 'absolute', Eq. 2 as printed; or 'relative' to what the teacher adds to each image, ours.
        reconstruction: 'absolute', Eq. 1 as printed; or 'squared' and summed over an image, as the reference code has
            it.
        anneal: whether the generator's step size falls with the student's; with optim 'paper' it always does.
        generation_steps: updates of G, h and z in a generation stage, on one batch of z.
        generator_lr: Adam's step size for G and h.
        z_lr: Adam's step size for z.
        optimise_z: whether z is updated between the inner steps (Algorithm 1, line 20).
        w_adversarial: weight of L_GEN, 1 in the paper; 0 leaves a generator that is only asked to be plausible.
        w_recon: W_R; by default L_R pulls at G(z) about as hard as L_GEN at the start (see a record's gradient_norms).
        bank: rows of each scale's memory bank.
        replay: share of an imitation batch, or of what dead_leaves leaves of it, drawn from the bank; 0 in the
            paper's method.
    """

    method: ClassVar[str] = "dfsr"

    adversary: str = "absolute"
    reconstruction: str = "absolute"
    anneal: bool = False
    generation_steps: int = 2
    generator_lr: float = 1e-4
    z_lr: float = 1e-2
    optimise_z: bool = True
    w_adversarial: float = 1.0
    w_recon: float = 100.0
    bank: int = 4096
    replay: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        pick("adversary", self.adversary, ADVERSARIES)
        pick("reconstruction", self.reconstruction, RECONSTRUCTIONS)
        if min(self.generation_steps, self.bank) < 1 or not 0 <= self.replay < 1:
            raise TrainingError("generation_steps and bank must be at least 1, replay must lie in [0, 1)")
        if not min(self.generator_lr, self.z_lr) >= 0:
            raise TrainingError("generator_lr and z_lr must not be negative")

    def check(self, config: LoopSettings) -> None:
        """A replayed share that is whole images, and not all of them, of what `dead_leaves` leaves of a batch."""
        require_memory(f"a bank of {self.bank:,} rows", self.bank * sum((config.patch / s) ** 2 for s in config.scales))
        own = config.batch - config.images_of("dead_leaves", config.dead_leaves)
        config.images_of("replay", self.replay, own)

    def make(
        self, config: LoopSettings, teacher: nn.Module, images: list[Tensor] | None = None, team: Team = ALONE
    ) -> DFSRSource:  # fmt: skip
        """Generators of the run's seed, on the teacher's device."""
        return DFSRSource(
            config.scales, settings=self, patch=config.patch, batch=config.batch, precision=config.precision,
            seed=config.seed, device=device_of(teacher), team=team,
        )  # fmt: skip


@dataclass(frozen=True)
class DFSRPlusSettings(DFSRSettings):
    """DFSR with three departures, each of which can be taken back: exposure, a relative adversary, annealing."""

    method: ClassVar[str] = "dfsr+"

    exposure: tuple[float, ...] = EXPOSURE
    adversary: str = "relative"
    anneal: bool = True


class DFSRSource(UntrainedSource):
    """One generator and one memory bank a scale; the generators learn.

    Args:
        scales: upscaling factors.
        settings: weights of the losses, step sizes, sizes of the banks.
        patch: side of the teacher's outputs; images have side patch / scale.
        batch: images of a generation stage.
        precision: in which teacher and student compute, one of `dfkd.networks.precision.PRECISIONS`.
        seed: of weights and random streams.
        device: where the generators live.
        team: the processes that share the run: generators and banks are equal, images each process's own.
    """

    learns = True

    def __init__(
        self, scales: tuple[int, ...], *, settings: DFSRSettings = DFSRSettings(), patch: int = 48, batch: int = 16,
        precision: str = "float32", seed: int = 0, device: torch.device | str = "cpu", team: Team = ALONE,
    ):  # fmt: skip
        super().__init__(scales, settings=settings, patch=patch, seed=seed, device=device, team=team)
        self.batch, self.precision = batch, precision
        self.banks = {scale: MemoryBank(settings.bank) for scale in scales}
        self._bank_rng = stream(team.seed(seed), "replay")
        self.optimiser = torch.optim.Adam(self.learners(), lr=settings.generator_lr)

    def learners(self) -> list[nn.Parameter]:
        """What the generation stage updates, beside z."""
        return list(self.generators.parameters())

    @torch.no_grad()
    def sample(self, batch: int, scale: int) -> Tensor:
        """G(z) for fresh z, [batch, channels, patch / scale, patch / scale]; with replay, some rows from the bank."""
        lr = super().sample(batch, scale)
        replay = round(self.settings.replay * batch)
        old = self.banks[scale].sample(replay, self._bank_rng) if replay else {}
        return torch.cat([old["image"], lr[len(old["image"]) :]]) if old else lr

    def improve(self, teacher: nn.Module, student: nn.Module, scale: int, rate: float = 1.0) -> dict[str, float]:
        """Algorithm 1, lines 16 to 24: move z, G and h down the gradient of L_G; the images made enter the bank."""
        z = self.draw_z(self.batch, scale).requires_grad_(self.settings.optimise_z)
        optimisers = [self.optimiser]
        if self.settings.optimise_z:
            optimisers.append(torch.optim.Adam([z], lr=rate * self.settings.z_lr))
        for group in self.optimiser.param_groups:
            group["lr"] = rate * self.settings.generator_lr
        with frozen(teacher, student):  # gradients flow through them to the image, but not into their weights
            for _ in range(self.settings.generation_steps):
                for optimiser in optimisers:
                    optimiser.zero_grad(set_to_none=True)
                lr = self.generate(z, scale)  # x <- G(z)
                terms, rows = self.losses(lr, teacher, student, scale)
                terms["total"].backward()
                self._share_gradients(z)
                terms = {name: self.team.mean(term.detach()) for name, term in terms.items()}
                self._require_finite(terms)
                for optimiser in optimisers:
                    optimiser.step()
        self.banks[scale].add(**rows)
        return {name: term.item() for name, term in terms.items()}

    def losses(self, lr: Tensor, teacher: nn.Module, student: nn.Module, scale: int) -> tuple[dict, dict]:
        """L_G and its terms (Eq. 4) for images G(z), and what the memory bank should keep of them."""
        teacher_sr = answer(teacher, lr, scale, self.precision)
        contrastive, rows = self.contrastive(lr, teacher, scale)
        student_sr = answer(student, lr, scale, self.precision)
        if self.settings.adversary == "relative":
            adversarial = relative_adversarial_loss(teacher_sr, student_sr, imresize(lr, scale).clamp(0, 1))
        else:
            adversarial = adversarial_loss(teacher_sr, student_sr, self.team.mean)
        squared = self.settings.reconstruction == "squared"
        recon = (squared_reconstruction_loss if squared else reconstruction_loss)(lr, teacher_sr, scale)
        terms = generator_loss(
            adversarial, recon, contrastive,
            w_recon=self.settings.w_recon, w_contrast=self.w_contrast, w_adversarial=self.settings.w_adversarial,
        )  # fmt: skip
        return terms, {"image": self.team.gather(lr.detach()), **rows}

    w_contrast = 0.0

    def contrastive(self, lr: Tensor, teacher: nn.Module, scale: int) -> tuple[Tensor | None, dict[str, Tensor]]:
        """L_cr and what the bank should remember for it; DFSR has none."""
        return None, {}

    def _share_gradients(self, z: Tensor) -> None:
        """As if one process had made all images: losses are means over them, and each z has a share in the mean."""
        self.team.average_gradients(self.learners())
        if z.grad is not None:
            z.grad.div_(self.team.size)

    def _require_finite(self, terms: dict[str, Tensor]) -> None:
        for name, term in terms.items():
            if not math.isfinite(term.item()):
                raise TrainingError(f"the {name} loss of the generator became {term.item()}; lower generator_lr")
        gradients = [p.grad for p in self.learners() if p.grad is not None]
        if not math.isfinite(sum(gradient.sum() for gradient in gradients)):
            raise TrainingError("a gradient of the generator is not finite; lower generator_lr, or use float32")

    def balance(self, teacher: nn.Module, student: nn.Module) -> dict[int, dict[str, float]]:
        """Norm of each term's gradient at G(z), unweighted, by scale: what W_R and W_C have to bring together.

        Random streams and the networks' buffers are left as they were, so that looking does not change a run.
        """
        before = copy.deepcopy(self.streams())
        norms = {}
        with frozen(teacher, student):
            for scale in self.banks:
                with torch.no_grad():
                    lr = self.generate(self.draw_z(self.batch, scale), scale)
                terms, _ = self.losses(lr.requires_grad_(), teacher, student, scale)
                norms[scale] = gradient_norms({n: t for n, t in terms.items() if n != "total"}, lr)
        for rng, state in zip(self.streams().values(), before.values(), strict=True):
            rng.set_state(state.get_state())
        return norms

    def streams(self) -> dict[str, torch.Generator]:
        """The random streams, by name."""
        return super().streams() | {"bank_rng": self._bank_rng}

    def notes(self, teacher: nn.Module, student: nn.Module) -> dict:
        """How far the generators have moved, what pulls at them, and which of the teacher's layers h looks at."""
        norms = {f"x{scale}": norms for scale, norms in self.balance(teacher, student).items()}
        return super().notes(teacher, student) | {"gradient_norms": norms}

    def state_dict(self) -> dict:
        """Generators, their optimiser, the banks and the random streams."""
        banks = {scale: bank.state_dict() for scale, bank in self.banks.items()}
        return super().state_dict() | {"optimiser": self.optimiser.state_dict(), "banks": banks}

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state)
        self.optimiser.load_state_dict(state["optimiser"])
        for scale, bank in self.banks.items():
            bank.load_state_dict(state["banks"][scale], self.device)


@contextmanager
def frozen(*networks: nn.Module) -> Iterator[None]:
    """Within the block the networks' weights receive no gradients; afterwards they do again where they did before.

    Their buffers, such as the running statistics of BatchNorm, are put back to what they were.
    """
    thawed = [p for network in networks for p in network.parameters() if p.requires_grad]
    buffers = [(b, b.clone()) for network in networks for b in network.buffers()]
    for parameter in thawed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in thawed:
            parameter.requires_grad_(True)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
