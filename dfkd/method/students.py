"""S_0 of Algorithm 1: the student as it begins."""

from __future__ import annotations

from torch import nn

from dfkd.errors import TrainingError, pick
from dfkd.method.settings import Config
from dfkd.method.slicing import slice_teacher
from dfkd.method.sources import Source
from dfkd.networks.base import Network
from dfkd.networks.edsr import EDSR
from dfkd.networks.vdsr import VDSR, split
from dfkd.seeds import seeded

STUDENTS = ("vdsr", "edsr")
SLICED_ON = 192 * 48**2  # high-resolution pixels on which layers are fitted


def make_student(
    config: Config, width: int, teacher: nn.Module | None = None, source: Source | None = None, *,
    architecture: str = "vdsr", inner: int | None = None,
) -> Network:  # fmt: skip
    """S_0 of Algorithm 1: a network of some width with the first part of its blocks, initialised from the run's seed.

    Args:
        config: `init`, `blocks`, `parts`, `scales` and `seed` matter.
        width: channels of the student.
        teacher: T, which init 'teacher' cuts the student out of.
        source: the images it is fitted on there.
        architecture: 'vdsr' or 'edsr'.
        inner: channels inside a block of an EDSR; by default as many as outside.

    Raises:
        UnknownName: another architecture.
        TrainingError: init 'teacher' without a teacher and a source, or for a student of another class or depth; or an
            EDSR that is to grow.
    """
    pick("architecture", architecture, STUDENTS)
    if config.init == "teacher":
        if teacher is None or source is None:
            raise TrainingError("init 'teacher' needs the teacher and a source of images")
        keep = _channels_kept(config, width, teacher, architecture, inner)
        images = -(-SLICED_ON // config.patch**2)
        return slice_teacher(teacher, keep, source, config.scales, images=images, seed=config.seed)
    if architecture == "edsr":
        if config.parts > 1 or config.init != "random":
            raise TrainingError("an EDSR neither grows nor begins as identity: leave parts at 1, init at 'random'")
        with seeded(config.seed, "student"):
            return EDSR(width, config.blocks, config.scales, inner)
    first = split(config.blocks, config.parts)[0]
    with seeded(config.seed, "student"):
        student = VDSR(width, 0 if config.init == "identity" else first)
        if config.init == "identity":
            student.grow(first, "identity")
    return student


def unsliced(config: Config, width: int, architecture: str = "vdsr", inner: int | None = None) -> Network:
    """A network of the shape that `make_student` gives for init 'teacher', its weights to be loaded."""
    if architecture == "edsr":
        return EDSR(width, config.blocks, config.scales, inner)
    return VDSR(width, config.blocks)


def _channels_kept(config: Config, width: int, teacher: nn.Module, architecture: str, inner: int | None) -> int:
    """Of an EDSR's trunk nothing is cut; of a VDSR, all layers get the student's width."""
    if (is_edsr := isinstance(teacher, EDSR)) != (architecture == "edsr") and hasattr(teacher, "blocks"):
        raise TrainingError(f"init 'teacher' cuts a student of the teacher's own class: not {architecture}")
    if config.blocks != getattr(teacher, "blocks", config.blocks):
        raise TrainingError(f"init 'teacher' keeps the teacher's depth: give as many blocks, not {config.blocks}")
    if is_edsr and (width != teacher.width or not inner):
        wanted = f"edsr:{teacher.width}x{teacher.blocks}/{teacher.inner // 2}"
        raise TrainingError(f"an EDSR is cut inside its blocks and stays as wide: give a student such as {wanted}")
    return inner if is_edsr else width
