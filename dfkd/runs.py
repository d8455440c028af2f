"""A run and its folder: progress, checkpoints, going on after a stop, and the record at the end.

The folder holds ``config.json`` (what to do), ``checkpoint.pt`` (how far it is), ``curves.csv`` (losses by step), and
in the end ``student.safetensors`` or ``teacher.safetensors`` and ``record.json``, which also lists the files read.
"""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from tqdm.auto import tqdm

from dfkd import records
from dfkd.answers import Answers
from dfkd.checkpoints import read_state, replacing, write_state
from dfkd.config import Config
from dfkd.data import fetch, training_files
from dfkd.distill import Distillation, make_student
from dfkd.errors import CheckpointError, DfkdError, TrainingError
from dfkd.images import luma, read_image
from dfkd.provenance import FilesRead, places
from dfkd.sources import RealSource, make_source
from dfkd.train import TeacherTraining, TrainConfig
from dfkd.zoo import load_teacher, save_model

SAVE_EVERY = 60.0  # seconds between two checkpoints: what a kill can cost


class Task(Protocol):
    """What a folder can hold: a distillation or a teacher's training."""

    averaged: nn.Module
    batches: int  # of different images, seen so far

    def rounds(self) -> Iterator[dict[str, float]]:
        """Go on; yield losses by name, with 'step', whenever a checkpoint may be taken."""

    def notes(self) -> dict[str, dict]:
        """What a record should say beside losses."""

    def state_dict(self) -> dict:
        """All that decides how the task goes on."""

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave."""


class Run:
    """A task being carried out in a folder.

    Args:
        folder: made if it is not there.
        task: what to do.
        header: what is to be done, for ``config.json`` and the record; it must suffice to build `task` again.
        save_every: seconds between two checkpoints.
        files: files read so far, while the task was built.
        clocks: readings of the processor's and the wall clock when that began: slicing a teacher is part of the cost.
    """

    def __init__(
        self, folder: str | os.PathLike, task: Task, header: dict[str, Any], save_every: float = SAVE_EVERY,
        files: FilesRead | None = None, clocks: tuple[float, float] | None = None,
    ):  # fmt: skip
        self.save_every, self.files, self._started = save_every, files or FilesRead(), clocks or _clocks()
        self.folder, self.task, self.header = Path(folder), task, header
        self.curves: list[dict[str, float]] = []
        self.spent = {"cpu_seconds": 0.0, "wall_seconds": 0.0}
        self.resumed = 0
        self.at_start: dict[str, Any] = {}

    def start(self) -> None:
        """Begin in an empty folder.

        Raises:
            TrainingError: a run is there already.
        """
        if (self.folder / "config.json").exists():
            raise TrainingError(f"{self.folder} holds a run already; --resume {self.folder} goes on with it")
        records.write_json(self.folder / "config.json", self.header)
        self.at_start = self.task.notes()

    def resume(self) -> None:
        """Take over the last checkpoint; a run killed before its first one starts from the beginning."""
        for unfinished in self.folder.glob(".checkpoint.pt.*"):  # what a kill in the middle of writing leaves behind
            unfinished.unlink()
        if not (self.folder / "checkpoint.pt").exists():
            self.at_start = self.task.notes()
            return
        state = read_state(self.folder / "checkpoint.pt")
        try:
            self.task.load_state_dict(state["task"])
            self.curves, self.spent, self.at_start = state["curves"], state["spent"], state["at_start"]
            self.resumed = state["resumed"] + 1
            self.files.paths.update(state["files"])
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            why = " ".join(str(error).split())
            raise CheckpointError(
                f"{self.folder}/checkpoint.pt does not belong to the run in config.json beside it ({why[:200]}); "
                "delete it to start that run anew"
            ) from error

    def save(self) -> None:
        """Write the checkpoint and the curves up to it."""
        state = {
            "task": self.task.state_dict(), "curves": self.curves, "spent": self._spent(), "at_start": self.at_start,
            "resumed": self.resumed, "files": sorted(self.files.paths),
        }  # fmt: skip
        write_state(self.folder / "checkpoint.pt", state)
        with replacing(self.folder / "curves.csv") as file:
            file.write(_csv(self.curves))

    def carry_out(self, steps: int, network: str) -> dict[str, Any]:
        """Do what is left of the task, saving now and then, and write network and record.

        Args:
            steps: of the whole task, for the progress bar.
            network: 'student' or 'teacher', the file's name.

        Returns:
            The record.
        """
        last_save = time.monotonic()
        done = self.curves[-1]["step"] if self.curves else 0
        with self.files, tqdm(total=steps, initial=done, desc=self.header["kind"], unit="step") as bar:
            for report in self.task.rounds():
                self.curves.append(report)
                shown = {name.split(".")[-1][:5]: value for name, value in report.items() if isinstance(value, float)}
                bar.set_postfix(shown)
                bar.update(report["step"] - bar.n)
                if time.monotonic() - last_save > self.save_every:
                    self.save()
                    last_save = time.monotonic()
        self.save()
        record = self._record()
        old = self.folder / "record.json"
        if old.exists() and (kept := records.read_json(old)).get("weights_sha256") == record["weights_sha256"]:
            record = kept  # the run was finished before; its record may hold scores by now
        file = self.folder / f"{network}.safetensors"
        save_model(file, self.task.averaged.module, role=network, summary=record["summary"])
        records.write_json(self.folder / "record.json", record)
        return record

    def _spent(self) -> dict[str, float]:
        cpu, wall = (there - then for there, then in zip(_clocks(), self._started, strict=True))
        return {"cpu_seconds": self.spent["cpu_seconds"] + cpu, "wall_seconds": self.spent["wall_seconds"] + wall}

    def _record(self) -> dict[str, Any]:
        model = self.task.averaged.module
        return {
            **self.header,
            "summary": _summary(self.header, self.curves[-1]["step"]),
            "finished": records.now(),
            "steps": self.curves[-1]["step"],
            "images_seen": self.task.batches * self.header["config"]["batch"],
            **{name: round(value, 1) for name, value in self._spent().items()},
            "resumed": self.resumed,
            "files_read": places(self.files.paths, self.folder),
            "at_start": self.at_start,
            "at_end": self.task.notes(),
            "last": self.curves[-1],
            "parameters": sum(p.numel() for p in model.parameters()),
            "weights_sha256": records.fingerprint(model.state_dict()),
            "hardware": records.hardware(),
            "versions": records.versions(),
        }


def _clocks() -> tuple[float, float]:
    """Seconds of this process's processor time, and of the clock."""
    return time.process_time(), time.monotonic()


def _summary(header: dict[str, Any], steps: int) -> str:
    config = header["config"]
    if header["kind"] == "train-teacher":
        return f"VDSR, {config['width']} wide, {config['blocks']} blocks, {steps} steps on real images"
    return (
        f"VDSR, {header['width']} wide, {config['blocks']} blocks, from {header['teacher']} by {config['method']}, "
        f"{steps} steps of batch {config['batch']}"
    )


def _csv(rows: list[dict[str, float]]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def build_task(header: dict[str, Any], device: str = "cpu") -> Task:
    """The task that a header describes, as new."""
    return teacher_training(header) if header["kind"] == "train-teacher" else distillation(header, device)


def distillation(header: dict[str, Any], device: str = "cpu") -> Distillation:
    """The task that a header of kind 'distill' describes."""
    config = Config.from_dict(header["config"])
    if header.get("images") and config.method != "real":
        raise TrainingError(f"pictures are for method 'real'; {config.method!r} must not see any")
    teacher = load_teacher(header["teacher"]).to(usable(device))
    images = _images(header.get("images"), config.patch) if config.method == "real" else None
    source = make_source(config, teacher, images)
    student = make_student(config, header["width"], teacher, source).to(device)
    return Distillation(teacher, student, source, config)


def usable(device: str) -> str:
    """The device, if it is there.

    Raises:
        TrainingError: it is not.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        why = str(error).splitlines()[0]
        raise TrainingError(f"no device {device!r} here ({why}); use --device cpu") from error
    return device


def teacher_training(header: dict[str, Any]) -> TeacherTraining:
    """The task that a header of kind 'train-teacher' describes."""
    config = TrainConfig.from_dict(header["config"])
    return TeacherTraining(RealSource(_images(header["images"], config.patch), config.patch, seed=config.seed), config)


def start_run(
    folder: str | os.PathLike, header: dict[str, Any], device: str = "cpu", save_every: float = SAVE_EVERY
) -> Run:
    """A new run in an empty folder, ready to be carried out.

    Raises:
        TrainingError: a run is there already, or the header makes no sense.
    """
    clocks = _clocks()
    with FilesRead() as files:
        run = Run(folder, build_task(header, device), header, save_every, files, clocks)
        run.start()
    return run


def open_run(folder: str | os.PathLike, device: str | None = None, save_every: float = SAVE_EVERY) -> Run:
    """The run in a folder, ready to go on, by default on the device it began on.

    Raises:
        TrainingError: there is none, or its description makes no sense.
        CheckpointError: its checkpoint is damaged or that of another run.
    """
    if not (Path(folder) / "config.json").is_file():
        raise TrainingError(f"{folder} holds no run; start one without --resume")
    clocks = _clocks()
    with FilesRead() as files:
        header = records.read_json(Path(folder) / "config.json")
        try:
            task = build_task(header, device or header.get("device", "cpu"))
        except (LookupError, TypeError, AttributeError) as error:
            if isinstance(error, DfkdError):
                raise
            raise TrainingError(f"{folder}/config.json describes no run ({type(error).__name__}: {error})") from error
        run = Run(folder, task, header, save_every, files, clocks)
        run.resume()
    return run


def _images(folder: str | None, patch: int) -> list[torch.Tensor]:
    """Luma of the pictures in a folder, or of the 291 training images; those smaller than a patch are left out."""
    if folder is None:
        paths = [fetch(name) for name in training_files()]
    elif not (paths := sorted(p for p in Path(folder).glob("*") if p.suffix.lower() in PICTURES)):
        raise TrainingError(f"no pictures ({', '.join(PICTURES)}) in {folder}")
    images = [luma(read_image(path)) for path in tqdm(paths, desc="reading images", unit="image", leave=False)]
    if not (large := [image for image in images if min(image.shape[-2:]) >= patch]):
        raise TrainingError(f"all {len(images)} pictures are smaller than a patch of {patch}x{patch}")
    return large


PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def measure_speed(header: dict[str, Any], device: str = "cpu", seconds: float = 10.0) -> float:
    """Steps per second of a distillation on this machine now, measured on a throw-away copy of it, fully grown."""
    task = distillation({**header, "config": {**header["config"], "parts": 1}}, device)
    # The run's own pool would do nothing but fill in so short a time; a pool of one batch asks as often as a full one.
    task.answers = Answers(task.config.reuse, held=1)
    rounds = task.rounds()
    next(rounds)  # the first round also pays for memory and kernels
    started, step = time.monotonic(), task.step
    while time.monotonic() - started < seconds and not task.finished:
        if next(rounds, None) is None:
            break
    return max(task.step - step, 1) / (time.monotonic() - started)
