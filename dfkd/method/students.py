"""S_0 of Algorithm 1: the student as it begins."""

from __future__ import annotations

from torch import nn

from dfkd.errors import TrainingError
from dfkd.method.settings import Config
from dfkd.method.slicing import slice_teacher
from dfkd.method.sources import Source
from dfkd.networks.vdsr import VDSR, split
from dfkd.seeds import seeded

SLICED_ON = 192 * 48**2  # high-resolution pixels on which layers are fitted


def make_student(config: Config, width: int, teacher: nn.Module | None = None, source: Source | None = None) -> VDSR:
    """S_0 of Algorithm 1: a VDSR of some width with the first part of its blocks, initialised from the run's seed.

    Args:
        config: `init`, `blocks`, `parts` and `seed` matter.
        width: channels of the student.
        teacher: T, which init 'teacher' cuts the student out of.
        source: the images it is fitted on there.

    Raises:
        TrainingError: init 'teacher' without a teacher and a source, or with another number of blocks.
    """
    if config.init == "teacher":
        if teacher is None or source is None:
            raise TrainingError("init 'teacher' needs the teacher and a source of images")
        if config.blocks != getattr(teacher, "blocks", None):
            raise TrainingError(f"init 'teacher' keeps the teacher's depth: give as many blocks, not {config.blocks}")
        images = -(-SLICED_ON // config.patch**2)
        return slice_teacher(teacher, width, source, config.scales, images=images, seed=config.seed)
    first = split(config.blocks, config.parts)[0]
    with seeded(config.seed, "student"):
        student = VDSR(width, 0 if config.init == "identity" else first)
        if config.init == "identity":
            student.grow(first, "identity")
    return student
