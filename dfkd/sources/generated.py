"""Images that a generator invents, and its training: DFSR without contrast, the paper's method with it."""

from __future__ import annotations

import copy
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dfkd.losses import adversarial_loss, generator_loss, gradient_norms, reconstruction_loss
from dfkd.memory import MemoryBank
from dfkd.models.generator import Generator
from dfkd.seeds import seeded, stream
from dfkd.sources.base import Source
from dfkd.sources.contrast import Contrast


class GeneratedSource(Source):
    """One generator and one memory bank a scale.

    Args:
        scales: upscaling factors.
        patch: side of the teacher's outputs; images have side patch / scale.
        generation_steps: inner steps of a generation stage; with 0 the generators stay as they were made.
        w_adversarial: weight of L_GEN.
        w_recon: W_R.
        w_contrast: W_C.
        contrast: the contrastive term of Eq. 13; None leaves Eq. 4.
        lr: Adam's step size for G and h.
        z_lr: Adam's step size for z.
        optimise_z: whether z moves between inner steps.
        batch: images of a generation stage.
        bank: rows of each memory bank.
        replay: share of `sample` that is drawn from the bank.
        seed: of weights and random streams.
        device: where the generators live.
    """

    def __init__(
        self, scales: tuple[int, ...], *, patch: int = 48, generation_steps: int = 2,
        w_adversarial: float = 1.0, w_recon: float = 1.0, w_contrast: float = 0.0, contrast: Contrast | None = None,
        lr: float = 1e-4, z_lr: float = 1e-2, optimise_z: bool = True, batch: int = 16, bank: int = 4096,
        replay: float = 0.0, seed: int = 0, device: torch.device | str = "cpu",
    ):  # fmt: skip
        self.generation_steps, self.batch, self.replay, self.device = generation_steps, batch, replay, device
        self.w_adversarial, self.w_recon, self.w_contrast = w_adversarial, w_recon, w_contrast
        self.contrast = contrast
        self.lr, self.z_lr, self.optimise_z = lr, z_lr, optimise_z
        with seeded(seed, "generators"):
            self.generators = nn.ModuleDict({str(s): Generator(patch // s) for s in scales}).to(device)
        self.banks = {scale: MemoryBank(bank) for scale in scales}
        self._start = [p.detach().clone() for p in self.generators.parameters()]
        self._rng, self._bank_rng = stream(seed, "z"), stream(seed, "replay")
        learners = [*self.generators.parameters(), *(contrast.h.parameters() if contrast else ())]
        self.optimiser = torch.optim.Adam(learners, lr=lr)

    def draw_z(self, batch: int, scale: int) -> Tensor:
        """Draw z from p(z), standard normal: [batch, z_dim]."""
        return torch.randn(batch, self.generators[str(scale)].z_dim, generator=self._rng).to(self.device)

    @torch.no_grad()
    def sample(self, batch: int, scale: int) -> Tensor:
        """G(z) for fresh z, [batch, channels, patch / scale, patch / scale]; with replay, some rows from the bank."""
        lr = self.generators[str(scale)](self.draw_z(batch, scale))
        old = self.banks[scale].sample(round(self.replay * batch), self._bank_rng) if self.replay else {}
        return torch.cat([old["image"], lr[len(old["image"]) :]]) if old else lr

    def improve(self, teacher: nn.Module, student: nn.Module, scale: int, rate: float = 1.0) -> dict[str, float]:
        """Algorithm 1, lines 16 to 24: move z, G and h down the gradient of L_G; the images made enter the bank."""
        if not self.generation_steps:
            return {}
        z = self.draw_z(self.batch, scale).requires_grad_(self.optimise_z)
        optimisers = [self.optimiser]
        if self.optimise_z:
            optimisers.append(torch.optim.Adam([z], lr=rate * self.z_lr))
        for group in self.optimiser.param_groups:
            group["lr"] = rate * self.lr
        with frozen(teacher, student):  # gradients flow through them to the image, but not into their weights
            for _ in range(self.generation_steps):
                for optimiser in optimisers:
                    optimiser.zero_grad(set_to_none=True)
                lr = self.generators[str(scale)](z)  # x <- G(z)
                terms, rows = self.losses(lr, teacher, student, scale)
                terms["total"].backward()
                for optimiser in optimisers:
                    optimiser.step()
        self.banks[scale].add(**rows)
        return {name: term.item() for name, term in terms.items()}

    def losses(self, lr: Tensor, teacher: nn.Module, student: nn.Module, scale: int) -> tuple[dict, dict]:
        """L_G and its terms (Eq. 4 or Eq. 13) for images G(z), and what the memory bank should keep of them."""
        teacher_sr = teacher(lr, scale)
        contrastive, rows = self.contrast.loss(lr, scale, self.banks[scale]) if self.contrast else (None, {})
        terms = generator_loss(
            adversarial_loss(teacher_sr, student(lr, scale)), reconstruction_loss(lr, teacher_sr, scale), contrastive,
            w_recon=self.w_recon, w_contrast=self.w_contrast, w_adversarial=self.w_adversarial,
        )  # fmt: skip
        return terms, {"image": lr.detach(), **rows}

    def balance(self, teacher: nn.Module, student: nn.Module) -> dict[int, dict[str, float]]:
        """Norm of each term's gradient at G(z), unweighted, by scale: what W_R and W_C have to bring together.

        The random streams are left where they were, so that looking does not change a run.
        """
        before = copy.deepcopy((self._rng.get_state(), self.contrast and self.contrast.state_dict()))
        norms = {}
        for scale in self.banks:
            with torch.no_grad():
                lr = self.generators[str(scale)](self.draw_z(self.batch, scale))
            terms, _ = self.losses(lr.requires_grad_(), teacher, student, scale)
            norms[scale] = gradient_norms({n: t for n, t in terms.items() if n != "total"}, lr)
        self._rng.set_state(before[0])
        if self.contrast:
            self.contrast.load_state_dict(before[1])
        return norms

    def notes(self, teacher: nn.Module, student: nn.Module) -> dict:
        """How far the generators have moved, what pulls at them, and which of the teacher's layers h looks at."""
        return {
            "movement": self.movement(),
            "gradient_norms": {f"x{scale}": norms for scale, norms in self.balance(teacher, student).items()},
            "teacher_layers": list(self.contrast.features.layers) if self.contrast else [],
        }

    def movement(self) -> dict[str, float]:
        """Relative distance of all generators' weights from where they started: ``|theta - theta_0| / |theta_0|``."""
        pairs = list(zip(self.generators.parameters(), self._start, strict=True))
        moved = sum((now.detach() - start).square().sum() for now, start in pairs)
        return {"generator": (moved / sum(start.square().sum() for _, start in pairs)).sqrt().item()}

    def state_dict(self) -> dict:
        """Generators, h, their optimiser, the banks and the random streams."""
        return {
            "generators": self.generators.state_dict(),
            "contrast": self.contrast.state_dict() if self.contrast else {},
            "optimiser": self.optimiser.state_dict(),
            "banks": {scale: bank.state_dict() for scale, bank in self.banks.items()},
            "rng": self._rng.get_state(),
            "bank_rng": self._bank_rng.get_state(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave."""
        self.generators.load_state_dict(state["generators"])
        if self.contrast:
            self.contrast.load_state_dict(state["contrast"])
        self.optimiser.load_state_dict(state["optimiser"])
        for scale, bank in self.banks.items():
            bank.load_state_dict(state["banks"][scale], self.device)
        self._rng.set_state(state["rng"])
        self._bank_rng.set_state(state["bank_rng"])


@contextmanager
def frozen(*networks: nn.Module):
    """Within the block the networks' weights receive no gradients; afterwards they do again where they did before."""
    thawed = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in thawed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in thawed:
            parameter.requires_grad_(True)
