"""Repeat a run from its record, all of it or its first rounds, and compare."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from dfkd.errors import CheckpointError, TrainingError
from dfkd.method.team import ALONE, Team
from dfkd.networks.weights import fingerprint
from dfkd.networks.zoo import lies_there, names, path_meant
from dfkd.running import records
from dfkd.running.jobs import Job, from_anywhere, job_from_dict
from dfkd.running.provenance import FilesRead, places, unexplained

CONDITIONS = ("hardware", "versions")  # under which a run was made, beside the device
RECORDED = ("kind", "config", "weights_sha256", *CONDITIONS)  # what a run's record has at least
TOLERANCE = 0.01  # other processors and versions round otherwise, and training amplifies it


@dataclass(frozen=True)
class Verdict:
    """What came of repeating a run.

    Attributes:
        rounds, steps: how far it was repeated.
        differences: largest relative difference of each curve from the recorded one.
        weights: whether the weights agree bit for bit; None unless the whole run was repeated.
        moved: of device, hardware and versions what is not as recorded, each as it was then and as it is here.
        unexplained: files that a data-free run has no business with and that were read nevertheless.
    """

    rounds: int
    steps: int
    differences: dict[str, float]
    weights: bool | None
    moved: dict[str, tuple[Any, Any]]
    unexplained: list[str]

    @property
    def same_machine(self) -> bool:
        """Whether nothing moved, so that bits should agree."""
        return not self.moved

    def holds(self, tolerance: float = TOLERANCE) -> bool:
        """Whether the record is confirmed: curves within the tolerance, no image read, and equal bits where due."""
        bits = self.weights is not False or not self.same_machine
        return bits and not self.unexplained and max(self.differences.values()) <= tolerance


def repeat(
    record: dict[str, Any], curve: dict[str, list[float]], rounds: int = 10, device: str | None = None,
    teacher: str | None = None, team: Team = ALONE, start: str | None = None,
) -> Verdict:  # fmt: skip
    """Repeat a run from its record.

    Args:
        record: as `dfkd.running.records.find` gives it.
        curve: likewise.
        rounds: how many rounds from the beginning; as many as there are repeats the whole run.
        device: where; by default the kind of device it ran on.
        teacher: name or path of the teacher, where the record names a file without saying where it lies.
        team: as many processes as the run had.
        start: as `teacher`, for the student that the run went on from.

    Raises:
        CheckpointError, TrainingError: as for `described`.
    """
    job = described(record, curve, teacher, start)
    then = job.device
    job = replace(job, device=device or then)
    with FilesRead() as files:
        task = job.build(team=team)
        reports = list(islice(task.rounds(), rounds))
    recorded = [dict(zip(curve, row, strict=True)) for row in islice(zip(*curve.values(), strict=True), rounds)]
    whole = len(curve["step"]) <= rounds
    if whole:
        weights = fingerprint(task.averaged.module.state_dict()) == record["weights_sha256"]
    here = {"hardware": records.hardware(), "versions": records.versions()}
    moved = _moved(_conditions(then, record), _conditions(job.device, here))
    data_free = record["kind"] == "distill" and record["config"]["method"] != "real"
    foreign = unexplained(places(files.paths), *job.networks) if data_free else []
    return Verdict(
        len(reports), reports[-1]["step"], _differences(recorded, reports), weights if whole else None, moved, foreign
    )


def described(
    record: dict[str, Any], curve: dict[str, list[float]], teacher: str | None = None, start: str | None = None
) -> Job:  # fmt: skip
    """The job of a run that is to be repeated; arguments as for `repeat`.

    Raises:
        CheckpointError: the record describes no run, or its curve is empty.
        TrainingError: its settings are none, it had no such network as one was named for, or a file that it names does
            not lie there.
    """
    if missing := [name for name in RECORDED if name not in record] or ([] if curve.get("step") else ["a curve"]):
        raise CheckpointError(f"this record describes no run that could be repeated: it lacks {', '.join(missing)}")
    job = job_from_dict(record)
    moved = {role: from_anywhere(name) for role, name in (("teacher", teacher), ("start", start)) if name}
    for role in moved:
        if not getattr(job, role, None):
            raise TrainingError(f"this run had no {role}: leave out --{role}")
    job = replace(job, **moved)
    for role in ("teacher", "start"):
        name = getattr(job, role, None)
        path = path_meant(name, names()) if name else None
        if path is not None and not lies_there(path):
            raise TrainingError(f"the run's {role}, {name}, does not lie there; say where it is with --{role}")
    return job


def _conditions(device: str, record: dict[str, Any]) -> dict[str, Any]:
    parts = (record[name] if isinstance(record[name], dict) else {name: record[name]} for name in CONDITIONS)
    return {"device": device} | {name: value for part in parts for name, value in part.items()}


def _moved(then: dict[str, Any], here: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = [*then, *(name for name in here if name not in then)]
    return {name: (then.get(name), here.get(name)) for name in names if then.get(name) != here.get(name)}


def _differences(recorded: list[dict[str, float]], repeated: list[dict[str, float]]) -> dict[str, float]:
    """Largest relative difference by column; a row or a value that only one of the two has counts as infinite."""
    if len(recorded) != len(repeated):
        return {"rounds": math.inf}
    worst: dict[str, float] = {}
    for old, new in zip(recorded, repeated, strict=True):
        for name in old.keys() | new.keys():
            gap = abs(old.get(name, math.inf) - new.get(name, math.inf))
            there = not math.isnan(gap) and name not in ("step", "part")
            scale = max(abs(old.get(name, 0.0)), 1e-12)
            relative = gap / scale if there else (0.0 if old.get(name) == new.get(name) else math.inf)
            worst[name] = max(worst.get(name, 0.0), relative)
    return dict(sorted(worst.items()))
