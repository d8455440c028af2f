"""A run and its folder: progress, checkpoints, going on after a stop, and the record at the end.

The folder holds ``config.json`` (what to do), ``checkpoint.pt`` (how far it is), ``curves.csv`` (losses by step), and
in the end ``student.safetensors`` or ``teacher.safetensors`` and ``record.json``, which also lists the files read.
"""

from __future__ import annotations

import csv
import io
import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from tqdm.auto import tqdm

from dfkd.errors import CheckpointError, TrainingError
from dfkd.method.answers import Answers
from dfkd.method.team import ALONE, Team
from dfkd.networks.weights import fingerprint, read_state, write_state
from dfkd.networks.zoo import names, path_meant, save_model
from dfkd.running import records
from dfkd.running.jobs import DistillJob, Job, Task, job_from_dict
from dfkd.running.locks import hold, release
from dfkd.running.provenance import FilesRead, places
from dfkd.running.watching import Watch
from dfkd.writing import replacing, require_folder

OWN = ("source", "answers")  # of a task's state, what each process of a team has for itself
SAVE_EVERY = 60.0  # seconds between two checkpoints: what a kill can cost


class Run:
    """A task being carried out in a folder.

    Args:
        folder: made if it is not there.
        job: what is to be done; it suffices to build `task` again.
        task: the same, built.
        save_every: seconds between two checkpoints.
        files: files read so far, while the task was built.
        clocks: readings of the processor's and the wall clock when that began: slicing a teacher is part of the cost.
        team: the processes that share the run; rank 0 alone writes.

    Attributes:
        watch: who looks at a distillation on its way, if anybody does.
    """

    def __init__(
        self, folder: str | os.PathLike, job: Job, task: Task, save_every: float = SAVE_EVERY,
        files: FilesRead | None = None, clocks: tuple[float, float] | None = None, team: Team = ALONE,
    ):  # fmt: skip
        self.team = team
        self.save_every, self.files, self._started = save_every, files or FilesRead(), clocks or _clocks()
        self.folder, self.job, self.task = Path(folder), job, task
        self.curves: list[dict[str, float]] = []
        self.spent = {"cpu_seconds": 0.0, "wall_seconds": 0.0}
        self.resumed = 0
        self.at_start: dict[str, Any] = {}
        self.watch: Watch | None = None
        self._lock: IO | None = None

    def start(self) -> None:
        """Begin in an empty folder.

        Raises:
            TrainingError: a run is there already, or another process is at work in it.
        """
        if self.team.any_of(self.team.rank == 0 and _holds_run(self.folder)):
            raise _taken(self.folder)
        if self.team.rank == 0:
            self._lock = hold(self.folder)
            self._clear_away()
            records.write_json(self.folder / "config.json", self.job.to_dict())
        self.at_start = self.task.notes()

    def resume(self) -> None:
        """Take over the last checkpoint; a run killed before its first one starts from the beginning.

        Raises:
            TrainingError: another process is at work on it.
            CheckpointError: the checkpoint is damaged, or that of another run.
        """
        if self.team.rank == 0:
            self._lock = hold(self.folder)
            self._clear_away()
        if not (self.folder / "checkpoint.pt").exists():
            self.at_start = self.task.notes()
            return
        try:
            state = read_state(self.folder / "checkpoint.pt")
        except CheckpointError as error:
            if self._lock:
                release(self._lock)
            raise CheckpointError(f"{error}; if this is a run of yours, delete it to start that run anew") from error
        try:
            # What the settings of an older version do not name is as it is by default.
            if _settings(job_from_dict(self.job.to_dict() | state["settings"])) != _settings(self.job):
                raise ValueError("it was written with other settings")
            own = state["others"][self.team.rank - 1] if self.team.rank else {}
            self.task.load_state_dict(state["task"] | own)
            self._take_over(state)
        except Exception as error:  # of a hostile file, anything may be expected
            raise self._foreign(error) from error

    def _clear_away(self) -> None:
        """What a kill in the middle of writing leaves behind."""
        for name in ("config.json", "checkpoint.pt", "curves.csv", f"{self.job.network}.safetensors", "record.json"):
            for unfinished in self.folder.glob(f".{name}.????????"):
                unfinished.unlink(missing_ok=True)

    def _take_over(self, state: dict[str, Any]) -> None:
        """What a checkpoint says of the run beside its task."""
        self.curves, self.at_start, self.resumed = state["curves"], state["at_start"], state["resumed"] + 1
        if self.team.rank == 0:
            self.spent = {name: float(state["spent"][name]) for name in self.spent}
        if any(type(value) not in (int, float) for row in self.curves for value in row.values()):
            raise ValueError("its curves are not made of numbers")
        if (self.curves[-1]["step"] if self.curves else 0) != self.task.step:
            raise ValueError("its curves end elsewhere")
        self.files.paths.update(map(os.fspath, state["files"]))

    def _foreign(self, error: Exception) -> CheckpointError:
        why = " ".join(str(error).split())
        return CheckpointError(
            f"{self.folder}/checkpoint.pt does not belong to the run in config.json beside it ({why[:200]}); "
            "delete it to start that run anew"
        )

    def save(self) -> None:
        """Write the checkpoint and the curves up to it: what all processes share once, and what is each one's own."""
        task, files = self.task.state_dict(), self._files_read()
        own = {name: task[name] for name in OWN if name in task} if self.team.rank else {}
        _, *others = self.team.collect(own) or [None]
        spent = self._spent()
        if self.team.rank:
            return
        state = {
            "settings": _settings(self.job), "task": task, "others": others, "curves": self.curves, "spent": spent,
            "at_start": self.at_start, "resumed": self.resumed, "files": files,
        }  # fmt: skip
        write_state(self.folder / "checkpoint.pt", state)
        with replacing(self.folder / "curves.csv") as file:
            file.write(_csv(self.curves))

    def carry_out(self) -> dict[str, Any]:
        """Do what is left of the task, saving now and then, and write network and record.

        Returns:
            The record.
        """
        try:
            self._go_on()
            return self._finish()
        finally:
            if self._lock:
                release(self._lock)

    def _go_on(self) -> None:
        last_save = time.monotonic()
        done = self.curves[-1]["step"] if self.curves else 0
        total, hidden = self.job.config.steps, self.team.rank > 0
        with self.files, tqdm(total=total, initial=done, desc=self.job.kind, unit="step", disable=hidden) as bar:
            for report in self._rounds():
                self.curves.append(report)
                self._tell(bar, report)
                if self.team.any_of(self.team.rank == 0 and time.monotonic() - last_save > self.save_every):
                    self.save()
                    if self.watch:
                        self.watch.look(report["step"])
                    last_save = time.monotonic()
            if self.watch and (self.watch.logs or self.watch.agreement):
                self.watch.look(self.curves[-1]["step"])

    def _finish(self) -> dict[str, Any]:
        self.save()
        record = self._record()
        if self.team.rank:
            return record
        old = self.folder / "record.json"
        if old.exists() and (kept := records.read_object(old)).get("weights_sha256") == record["weights_sha256"]:
            record = kept  # the run was finished before; its record may hold scores by now
        file = self.folder / f"{self.job.network}.safetensors"
        save_model(file, self.task.averaged.module, role=self.job.network, summary=record["summary"])
        records.write_json(self.folder / "record.json", record)
        return record

    def _tell(self, bar: tqdm, report: dict[str, float]) -> None:
        """A round's losses, and how closely the student followed its teacher when somebody last looked."""
        shown = {name.split(".")[-1][:5]: value for name, value in report.items() if isinstance(value, float)}
        if self.watch:
            self.watch.note(report)
            shown |= {f"{scale} dB": value for scale, value in self.watch.agreement.items()}
        bar.set_postfix(shown)
        bar.update(report["step"] - bar.n)

    def _rounds(self) -> Iterator[dict[str, float]]:
        """The task's; what its checkpoint holds and no network can compute with shows in the first of them."""
        rounds = self.task.rounds()
        try:
            first = next(rounds, None)
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            if not self.resumed:
                raise
            raise self._foreign(error) from error
        if first is not None:
            yield first
            yield from rounds

    def _spent(self) -> dict[str, float]:
        cpu, wall = (there - then for there, then in zip(_clocks(), self._started, strict=True))
        cpu = sum(self.team.collect(cpu))  # of all processes, on rank 0
        return {"cpu_seconds": self.spent["cpu_seconds"] + cpu, "wall_seconds": self.spent["wall_seconds"] + wall}

    def _files_read(self) -> list[str]:
        """Where files lie is said at once, by roles that hold when the folder has moved; said so, they stay so."""
        used = {role: getattr(self.job, role, None) for role in records.LOCAL}
        named = {path: role for role, path in used.items() if path and path_meant(path, names())}
        mine = places(self.files.paths, self.folder, named)
        return sorted(set().union(*self.team.collect(set(mine)))) if self.team.size > 1 else mine

    def _record(self) -> dict[str, Any]:
        model, steps = self.task.averaged.module, self.curves[-1]["step"]
        return {
            **self.job.published(),
            "summary": self.job.summary(steps),
            "finished": records.now(),
            "steps": steps,
            "images_seen": self.task.batches * self.job.config.batch * self.team.size,
            **{name: round(value, 1) for name, value in self._spent().items()},
            "resumed": self.resumed,
            "files_read": self._files_read(),
            "at_start": self.at_start,
            "at_end": self.task.notes(),
            "last": self.curves[-1],
            "parameters": sum(p.numel() for p in model.parameters()),
            "weights_sha256": fingerprint(model.state_dict()),
            "hardware": records.hardware(),
            "versions": records.versions(),
        }


def _settings(job: Job) -> dict[str, Any]:
    """What decides the course of a run: all of the job but where and when it was asked for."""
    # Networks may have moved; their hashes may not differ.
    incidental = ("device", "command", "started", "teacher", "start")
    return {name: value for name, value in job.to_dict().items() if name not in incidental}


def _clocks() -> tuple[float, float]:
    """Seconds of this process's processor time, and of the clock."""
    return time.process_time(), time.monotonic()


def _csv(rows: list[dict[str, float]]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _holds_run(folder: Path) -> bool:
    return (folder / "config.json").exists()


def _taken(folder: Path) -> TrainingError:
    return TrainingError(f"{folder} holds a run already; --resume {shlex.quote(str(folder))} goes on with it")


def require_free(folder: str | os.PathLike) -> None:
    """Find out before long work whether a run can begin in a folder.

    Raises:
        TrainingError: one is there already.
        CheckpointError: nothing can be written there.
    """
    folder = Path(folder)
    if _holds_run(folder):
        raise _taken(folder)
    require_folder(folder)


def start_run(folder: str | os.PathLike, job: Job, save_every: float = SAVE_EVERY, team: Team = ALONE) -> Run:
    """A new run in an empty folder, ready to be carried out; by all processes of a team at once.

    Raises:
        TrainingError: a run is there already, or the job makes no sense.
    """
    clocks = _clocks()
    with FilesRead() as files:
        run = Run(folder, job, job.build(team=team), save_every, files, clocks, team)
        run.start()
    return run


def team_of(folder: str | os.PathLike) -> tuple[int, str]:
    """How many processes the run in a folder is for, and on devices of which kind.

    One on the CPU where that cannot be told, as `open_run` will say.
    """
    try:
        said = records.read_json(Path(folder) / "config.json")
        return max(1, int(said.get("processes", 1))), said.get("device", "cpu").partition(":")[0]
    except (CheckpointError, AttributeError, TypeError, ValueError):
        return 1, "cpu"


def open_run(
    folder: str | os.PathLike, device: str | None = None, save_every: float = SAVE_EVERY, team: Team = ALONE
) -> Run:  # fmt: skip
    """The run in a folder, ready to go on, by default on the device it began on; by all processes of its team at once.

    Raises:
        TrainingError: there is none, its description makes no sense, or its teacher has changed.
        CheckpointError: its checkpoint is damaged or that of another run.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise TrainingError(f"{folder} holds no run; start one without --resume")
    clocks = _clocks()
    with FilesRead() as files:
        values = records.read_object(folder / "config.json")
        try:
            job = job_from_dict(values, **({"device": device} if device else {}))
        except TrainingError as error:
            raise TrainingError(f"{folder}/config.json: {error}") from error
        task = job.build(resuming=(folder / "checkpoint.pt").exists(), team=team)
        run = Run(folder, job, task, save_every, files, clocks, team)
        run.resume()
    return run


def measure_speed(job: DistillJob, seconds: float = 10.0) -> tuple[float, float]:
    """Steps per second of a distillation on this machine now, measured on a throw-away copy of it, fully grown.

    Updates of the student and one generation stage are timed apart and put together as a round would, however long the
    rounds are. A process of a team measures alone, without the others' waiting for each other.

    Returns:
        The speed, and the seconds that it takes to begin: slicing a teacher is part of what a run costs.
    """
    started = time.monotonic()
    task = replace(job, config=replace(job.config, parts=1), processes=1).build()
    beginning = time.monotonic() - started
    # The run's own pool would do nothing but fill in so short a time; a pool of one batch asks as often as a full one.
    task.answers = Answers(job.config.reuse, held=1)
    for _ in range(2):  # the first of both also pays for memory and kernels
        task.imitation_step()
        started = time.monotonic()
        task.generation_stage()
        generation = time.monotonic() - started
    started, steps = time.monotonic(), 0
    while steps < 2 * job.config.reuse or time.monotonic() - started < seconds:
        task.imitation_step()
        steps += 1
    return 1 / ((time.monotonic() - started) / steps + generation / job.config.imitation_steps), beginning
