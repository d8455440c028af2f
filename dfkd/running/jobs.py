"""What is to be done: one typed description of a run, made once, from which all of it can be built again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import nn
from tqdm.auto import tqdm

from dfkd.errors import TrainingError
from dfkd.method.loop import Distillation
from dfkd.method.settings import Config, names_of, read_config, require_kinds
from dfkd.method.sources import RealSource, make_source
from dfkd.method.sources.base import require_memory
from dfkd.method.students import make_student, unsliced
from dfkd.method.team import ALONE, Team
from dfkd.networks.base import Network
from dfkd.networks.weights import fingerprint
from dfkd.networks.zoo import load_student, load_teacher, names, path_meant, shape_of
from dfkd.pixels.benchmarks import fetch, training_files
from dfkd.pixels.colour import luma
from dfkd.pixels.files import read_image
from dfkd.running.devices import usable
from dfkd.running.lineage import methods_behind
from dfkd.running.teachers import TeacherSettings, TeacherTraining

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


class Task(Protocol):
    """What a run carries out: a distillation or a teacher's training."""

    averaged: nn.Module
    batches: int  # of different images, seen so far
    step: int  # updates done so far

    def rounds(self) -> Iterator[dict[str, float]]:
        """Go on; yield losses by name, with 'step', whenever a checkpoint may be taken."""

    def notes(self) -> dict[str, dict]:
        """What a record should say beside losses."""

    def state_dict(self) -> dict:
        """All that decides how the task goes on."""

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave."""


@dataclass(frozen=True)
class DistillJob:
    """A distillation.

    Attributes:
        teacher: a packaged name, or the absolute path of a file or run folder.
        width: of the student; its depth is `config.blocks`.
        config: of the loop and its source.
        teacher_sha256: of the teacher's weights, as `dfkd.networks.weights.fingerprint` gives it; None in the first
            edition's records.
        images: folder of pictures for method 'real'; None for the 291 images.
        device: where it runs.
        command: the command line that asked for it.
        started: time in UTC.
        architecture: of the student, 'vdsr' or 'edsr'.
        inner: channels inside the blocks of an EDSR, where they are not `width`.
        processes: that share the run, each with batches of its own.
        start: a finished student whose weights it begins with, named as the teacher is: a long run in pieces, each of
            which anneals its step size anew.
        start_sha256: of those weights.
        start_methods: that made it, as `dfkd.running.lineage.methods_behind` gives them.
        images_sha256: of the pictures in the folder, as `pictures_fingerprint` gives it; None for the 291 images, and
            in older records.
    """

    kind: ClassVar[str] = "distill"
    network: ClassVar[str] = "student"

    teacher: str
    width: int
    config: Config
    teacher_sha256: str | None = None
    images: str | None = None
    device: str = "cpu"
    command: str = ""
    started: str = ""
    architecture: str = "vdsr"
    inner: int | None = None
    processes: int = 1
    start: str | None = None
    start_sha256: str | None = None
    start_methods: str | None = None
    images_sha256: str | None = None

    def __post_init__(self):
        if self.width < 1 or (self.inner is not None and self.inner < 1):
            raise TrainingError(f"a student is at least 1 wide, not {min(self.width, self.inner or self.width)}")
        inner = self.inner or self.width
        require_memory("such a student", 9 * max(self.width, inner) * self.width * (2 * self.config.blocks + 2))
        if self.images and self.config.method != "real":
            raise TrainingError(f"pictures are for method 'real'; {self.config.method!r} must not see any")
        if self.start and (self.config.init != "random" or self.config.parts > 1):
            raise TrainingError("a student that goes on from a finished one has all its blocks: leave init and parts")

    def build(self, resuming: bool = False, team: Team = ALONE) -> Distillation:
        """The task, as new.

        Args:
            resuming: a checkpoint will be laid over it, so that a student need not be cut out of its teacher first.
            team: the processes that share the run.

        Raises:
            TrainingError: there are more processes or fewer than the job is for; the teacher is not the one that the
                job was made for, or does not serve the scales; or the student it starts from is another one.
        """
        if team.size != self.processes:
            raise TrainingError(f"this run is for {self.processes} processes, not {team.size}; give --devices")
        teacher = load_teacher(self.teacher)
        if self.teacher_sha256 not in (None, fingerprint(teacher.state_dict())):
            raise TrainingError(
                f"the teacher {self.teacher} has changed since this run began; put the old one back, or start a new run"
            )
        served = getattr(teacher, "scales", None)
        if served and (missing := sorted(set(self.config.scales) - set(served))):
            raise TrainingError(f"the teacher {self.teacher} has no scale {missing}; give --scale, of {list(served)}")
        teacher = teacher.to(usable(self.device))
        require_same_pictures(self.images, self.images_sha256)
        images = read_pictures(self.images, self.config.patch) if self.config.method == "real" else None
        source = make_source(self.config, teacher, images, team)
        shape = {"architecture": self.architecture, "inner": self.inner}
        if (resuming or team.rank) and (self.start or self.config.init == "teacher"):
            student = unsliced(self.config, self.width, **shape)
        elif self.start:
            student = self._started(unsliced(self.config, self.width, **shape))
        else:
            student = make_student(self.config, self.width, teacher, source, **shape)
        team.share(student.to(self.device))
        return Distillation(teacher, student, source, self.config, team)

    def _started(self, student: Network) -> Network:
        """The student with the weights of the one it goes on from."""
        begun = load_student(self.start)
        if fingerprint(begun.state_dict()) != self.start_sha256:
            raise TrainingError(f"{self.start} is not the student that this run is to go on from: it has other weights")
        if type(begun) is not type(student) or begun.spec() != student.spec():
            wanted, found = (f"{type(network).__name__} {network.spec()}" for network in (student, begun))
            raise TrainingError(f"the student {self.start} is a {found}, not a {wanted}; leave out shape and scales")
        student.load_state_dict(begun.state_dict())
        return student

    def summary(self, steps: int) -> str:
        """One line on what came out."""
        after = f" after {Path(self.start).name}" if self.start else ""
        return (
            f"{self.architecture.upper()}, {self.width} wide, {self.config.blocks} blocks, from {self.public_teacher} "
            f"by {self.config.method}, {steps} steps of batch {self.config.batch}{after}"
        )

    @property
    def networks(self) -> list[str]:
        """The networks it reads, which are the teacher and the student it goes on from."""
        return [self.teacher, *([self.start] if self.start else [])]

    @property
    def public_teacher(self) -> str:
        """The teacher's packaged name, or its file's name without the folders of this machine."""
        return Path(self.teacher).name

    def to_dict(self) -> dict[str, Any]:
        """For ``config.json``: all that `job_from_dict` needs."""
        return {"kind": self.kind, **asdict(self), "config": self.config.to_dict()}

    def published(self) -> dict[str, Any]:
        """For the record: the same without folders of this machine."""
        others = {role: (path := getattr(self, role)) and Path(path).name for role in ("images", "start")}
        return self.to_dict() | {"teacher": self.public_teacher, **others}


@dataclass(frozen=True)
class TeacherJob:
    """A teacher's training; attributes as for `DistillJob`."""

    kind: ClassVar[str] = "train-teacher"
    network: ClassVar[str] = "teacher"

    config: TeacherSettings
    images: str | None = None
    device: str = "cpu"
    command: str = ""
    started: str = ""
    images_sha256: str | None = None

    def build(self, resuming: bool = False, team: Team = ALONE) -> TeacherTraining:
        """The task, as new; by one process."""
        device = usable(self.device)
        require_same_pictures(self.images, self.images_sha256)
        images = read_pictures(self.images, self.config.patch)
        source = RealSource(images, self.config.patch, seed=self.config.seed, device=device)
        return TeacherTraining(source, self.config, device)

    def summary(self, steps: int) -> str:
        """One line on what came out."""
        return f"VDSR, {self.config.width} wide, {self.config.blocks} blocks, {steps} steps on real images"

    def to_dict(self) -> dict[str, Any]:
        """For ``config.json``: all that `job_from_dict` needs."""
        return {"kind": self.kind, **asdict(self), "config": self.config.to_dict()}

    def published(self) -> dict[str, Any]:
        """For the record: the same without folders of this machine."""
        return self.to_dict() | {"images": self.images and Path(self.images).name}


Job = DistillJob | TeacherJob


def distill_job(teacher: str, width: int, config: Config, **rest: Any) -> DistillJob:
    """A new distillation: its networks are found, and noted so that they are found again from any folder.

    Args:
        teacher: packaged name, file or run folder.
        width: of the student.
        config: all settings.
        rest: other fields of `DistillJob`.

    Raises:
        UnknownName: there is no such teacher, or no such student to start from.
        CheckpointError: that student is of a class that no run trains.
    """
    sha256 = fingerprint(load_teacher(teacher).state_dict())
    if images := rest.pop("images", None):
        rest |= {"images": os.path.abspath(images), "images_sha256": pictures_fingerprint(images)}
    if start := rest.pop("start", None):
        shape_of(begun := load_student(start))  # or it is refused
        hashed = fingerprint(begun.state_dict())
        rest |= {"start": from_anywhere(start), "start_sha256": hashed, "start_methods": methods_behind(start, hashed)}
    return DistillJob(from_anywhere(teacher), width, config, sha256, **rest)


def from_anywhere(network: str) -> str:
    """What finds a network whatever the working directory: its packaged name, or an absolute path."""
    path = path_meant(network, names())
    return network if path is None else os.path.abspath(path)


def job_from_dict(values: dict[str, Any], **changes: Any) -> Job:
    """The job in a ``config.json`` or in a record, the first edition's included.

    Args:
        values: as `DistillJob.to_dict` gave them, or a record, which says more.
        changes: fields with other values than those.

    Raises:
        TrainingError: they describe no run.
    """
    try:
        kind = {job.kind: job for job in (DistillJob, TeacherJob)}[values["kind"]]
        read = read_config if kind is DistillJob else TeacherSettings.from_dict
        known = {name: values[name] for name in names_of(kind) if name in values}
        require_kinds(kind, known)
        return replace(kind(**{**known, "config": read(values["config"])}), **changes)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise TrainingError(f"this describes no run ({type(error).__name__}: {error})") from error


def read_pictures(folder: str | None, patch: int) -> list[torch.Tensor]:
    """Luma of the pictures in a folder, or of the 291 training images; those smaller than a patch are left out.

    Raises:
        TrainingError: no pictures, or none as large as a patch.
    """
    if folder is None:
        paths = [fetch(name) for name in training_files()]
    elif not (paths := _pictures_in(folder)):
        raise TrainingError(f"no pictures ({', '.join(PICTURES)}) in {folder}")
    images = [luma(read_image(path)) for path in tqdm(paths, desc="reading images", unit="image", leave=False)]
    if not (large := [image for image in images if min(image.shape[-2:]) >= patch]):
        raise TrainingError(f"all {len(images)} pictures are smaller than a patch of {patch}x{patch}")
    return large


def pictures_fingerprint(folder: str | os.PathLike) -> str:
    """SHA-256 of the names and contents of the pictures in a folder: with others, a run would not be the same one."""
    total = hashlib.sha256()
    for path in _pictures_in(folder):
        with open(path, "rb") as file:
            total.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def require_same_pictures(folder: str | None, sha256: str | None) -> None:
    """Refuse to go on with other pictures than a run began with.

    Raises:
        TrainingError: a picture was added, taken away or changed.
    """
    if folder and sha256 not in (None, pictures_fingerprint(folder)):
        raise TrainingError(
            f"the pictures in {folder} have changed since this run began; put the old ones back, or start a new run"
        )


def _pictures_in(folder: str | os.PathLike) -> list[Path]:
    return sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in PICTURES)
