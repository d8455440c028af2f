"""Where training images come from, a file a method; `make_source` builds the one a run asks for."""

from __future__ import annotations

from torch import Tensor, nn

from dfkd.errors import TrainingError
from dfkd.method.sources.base import LoopSettings, Source, SourceSettings, device_of
from dfkd.method.sources.cmi import CMIPlusSettings, CMISettings, CMISource, Contrast
from dfkd.method.sources.dead_leaves import DeadLeavesSettings, DeadLeavesSource
from dfkd.method.sources.dfsr import DFSRPlusSettings, DFSRSettings, DFSRSource
from dfkd.method.sources.mixed import MixedSource
from dfkd.method.sources.noise import NoiseSettings, NoiseSource
from dfkd.method.sources.real import RealSettings, RealSource
from dfkd.method.sources.untrained import UntrainedSettings, UntrainedSource
from dfkd.method.team import ALONE, Team

__all__ = [
    "METHODS", "CMIPlusSettings", "CMISettings", "CMISource", "Contrast", "DFSRPlusSettings", "DFSRSettings",
    "DFSRSource", "DeadLeavesSettings", "DeadLeavesSource", "MixedSource", "NoiseSettings", "NoiseSource",
    "RealSettings", "RealSource", "Source", "SourceSettings", "UntrainedSettings", "UntrainedSource", "make_source",
]  # fmt: skip

_SETTINGS = (
    NoiseSettings, RealSettings, DeadLeavesSettings, UntrainedSettings, DFSRSettings, CMISettings, DFSRPlusSettings,
    CMIPlusSettings,
)  # fmt: skip
METHODS: dict[str, type[SourceSettings]] = {settings.method: settings for settings in _SETTINGS}


def make_source(
    config: LoopSettings, teacher: nn.Module, images: list[Tensor] | None = None, team: Team = ALONE
) -> Source:  # fmt: skip
    """The source of a run, mixed with dead leaves where `config.dead_leaves` asks for it.

    Args:
        config: settings of the run.
        teacher: T; 'cmi' looks at its features.
        images: luma images [1, 1, height, width], for 'real' only.
        team: the processes that share the run.

    Raises:
        TrainingError: 'real' without images, or images for a method that must not see any.
    """
    real = isinstance(config.source, RealSettings)
    if real != (images is not None):
        raise TrainingError(f"method {config.method!r} {'needs' if real else 'must not see'} images")
    main = config.source.make(config, teacher, images, team)
    if not config.dead_leaves:
        return main
    leaves = DeadLeavesSource(config.patch, seed=team.seed(config.seed), device=device_of(teacher))
    return MixedSource(main, leaves, config.dead_leaves)
