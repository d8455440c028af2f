"""Where training images come from: `make_source` builds the one a method asks for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfkd.config import Config
from dfkd.errors import TrainingError
from dfkd.sources.base import Source
from dfkd.sources.contrast import Contrast
from dfkd.sources.dead_leaves import DeadLeavesSource
from dfkd.sources.generated import GeneratedSource
from dfkd.sources.mixed import MixedSource
from dfkd.sources.noise import NoiseSource
from dfkd.sources.real import RealSource

__all__ = [
    "Contrast", "DeadLeavesSource", "GeneratedSource", "MixedSource", "NoiseSource", "RealSource", "Source",
    "make_source",
]  # fmt: skip


def make_source(config: Config, teacher: nn.Module, images: list[Tensor] | None = None) -> Source:
    """The source of `config.method`, mixed with dead leaves where `config.dead_leaves` asks for it.

    Args:
        config: settings of the run.
        teacher: T; 'cmi' looks at its features.
        images: luma images [1, 1, height, width], for 'real' only.

    Raises:
        TrainingError: 'real' without images, or images for a method that must not see any.
    """
    device = next((p.device for p in teacher.parameters()), torch.device("cpu"))
    if (config.method == "real") != (images is not None):
        raise TrainingError(f"method {config.method!r} {'needs' if config.method == 'real' else 'must not see'} images")
    main = _method(config, teacher, images, device)
    if not config.dead_leaves:
        return main
    return MixedSource(main, DeadLeavesSource(config.patch, seed=config.seed, device=device), config.dead_leaves)


def _method(config: Config, teacher: nn.Module, images: list[Tensor] | None, device: torch.device) -> Source:
    if config.method == "noise":
        return NoiseSource(config.patch, seed=config.seed, device=device)
    if config.method == "dead-leaves":
        return DeadLeavesSource(config.patch, seed=config.seed, device=device)
    if config.method == "real":
        return RealSource(images, config.patch, seed=config.seed, device=device)
    return GeneratedSource(
        config.scales, patch=config.patch, batch=config.batch, bank=config.bank, replay=config.replay,
        generation_steps=0 if config.method == "untrained" else config.generation_steps,
        contrast=_contrast(config, teacher, device) if config.method == "cmi" else None,
        w_adversarial=config.w_adversarial, w_recon=config.w_recon, w_contrast=config.w_contrast,
        lr=config.generator_lr, z_lr=config.z_lr, optimise_z=config.optimise_z, seed=config.seed, device=device,
    )  # fmt: skip


def _contrast(config: Config, teacher: nn.Module, device: torch.device) -> Contrast:
    return Contrast(
        teacher, {scale: config.patch // scale for scale in config.scales}, temperature=config.temperature,
        denominator=config.denominator, negatives=config.negatives, layers=config.layers,
        precision=config.precision, seed=config.seed, device=device,
    )  # fmt: skip
