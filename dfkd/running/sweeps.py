"""A sweep carried out: each run in a process or a job of its own, its folder below the sweep's, and all of it together.

The sweep's folder holds ``plan.json`` (what was planned, and when), ``rows/NAME/seed-N`` (the folder of one run, see
`dfkd.running.runs`) and in the end ``sweep.json``. A run that is done is not repeated, and one that was stopped goes on
from its checkpoint, whoever stopped it: so the same command, given again, does what is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from dfkd.errors import DfkdError, TrainingError
from dfkd.method.sources import DeadLeavesSource
from dfkd.networks import zoo
from dfkd.pixels.benchmarks import DATASETS, benchmark_files, fetch
from dfkd.running import records
from dfkd.running.evaluation import agreement, evaluate
from dfkd.running.jobs import DistillJob, distill_job, job_from_dict, pictures_fingerprint
from dfkd.running.locks import hold, release
from dfkd.running.plans import HELD_OUT_SEED, Plan, Slurm
from dfkd.running.runs import open_run, start_run
from dfkd.running.summaries import measures, summarise

# The drawn images on which students are compared: their low-resolution side is the same at every scale.
HELD_OUT = {"seed": HELD_OUT_SEED, "side": 256, "pool": 16, "low_resolution": 24, "images": 64}
REQUEUED = 100  # times that a job may run into its time limit: it goes on from its checkpoint
POLL = {"slurm": 10.0}  # seconds between two looks at a cluster's jobs; elsewhere a look costs nothing


@dataclass(frozen=True)
class Errand:
    """One run of a sweep: a row with a seed.

    Attributes:
        row: its name.
        seed: of all random streams.
        folder: the run's.
        job: what is to be done.
        datasets: benchmarks to score it on.
    """

    row: str
    seed: int
    folder: Path
    job: DistillJob
    datasets: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As messages name it."""
        return f"{self.row}, seed {self.seed}"

    def wanted(self) -> list[tuple[str, int]]:
        """Data sets and scales on which the student is scored."""
        return [(name, s) for name in self.datasets for s in self.job.config.scales if s in DATASETS[name]]

    def record(self) -> dict[str, Any] | None:
        """The record of the run; None while it is not done, or not scored."""
        if not (self.folder / "record.json").is_file():
            return None
        record = records.read_json(self.folder / "record.json")
        try:
            scored = {(s["dataset"], s["scale"]) for s in record.get("scores", [])}
            return record if "agreement" in record and scored >= set(self.wanted()) else None
        except (LookupError, TypeError, AttributeError) as error:
            raise TrainingError(f"{self.folder}/record.json is no record of a run; take the folder away") from error


def prepare(plan: Plan, folder: Path) -> list[Errand]:
    """All runs of a plan, seed by seed, once it is sure that they can begin; the plan is written down.

    Args:
        plan: what is to be compared.
        folder: of the sweep; another one's plan may have been here, as long as rows of one name are the same.

    Raises:
        DfkdError: the teacher cannot be had, a row makes no sense or differs from what was run here, or the data sets
            cannot be had. Nothing has been run then.
    """
    errands = list(_errands(plan, folder.absolute()))
    _refuse_others(errands)
    _refuse_twins(errands)
    left = [errand for errand in errands if errand.record() is None]
    for errand in {errand.row: errand for errand in left}.values():
        _try_out(errand)
    for name, scale in {pair for errand in left for pair in errand.wanted()}:
        for file in benchmark_files(name, scale):
            fetch(file)  # where runs will be, there may be no network
    _write_down(plan, folder)
    return errands


def _errands(plan: Plan, folder: Path) -> Iterator[Errand]:
    try:
        teacher = zoo.load_teacher(plan.teacher)
    except (OSError, ValueError) as error:  # a name that no file can have
        raise TrainingError(f"cannot read the plan's teacher: {' '.join(str(error).split())[:200]}") from error
    shape = plan.shape()
    deep = "blocks" in shape or all("blocks" in {**plan.settings, **own} for own in plan.rows.values())
    if not ("width" in shape and deep):
        shape = zoo.student_shape(teacher) | shape
    defaults: dict[str, Any] = {"blocks": shape.pop("blocks")} if "blocks" in shape else {}
    if served := getattr(teacher, "scales", None):
        defaults["scales"] = list(served)
    first = plan.config(next(iter(plan.rows)), plan.seeds[0], **defaults)
    said = {"device": plan.device, "command": records.command(), "started": records.now()}
    job = distill_job(plan.teacher, config=first, **said, **shape)
    pictures: dict[str, Any] = {}
    if plan.images:
        pictures = {"images": os.path.abspath(plan.images), "images_sha256": pictures_fingerprint(plan.images)}
    for seed in plan.seeds:
        for row in plan.rows:
            config = plan.config(row, seed, **defaults)
            seen = pictures if config.method == "real" else {}
            place = folder / "rows" / row / f"seed-{seed}"
            yield Errand(row, seed, place, replace(job, config=config, **seen), plan.datasets)


def _refuse_others(errands: Sequence[Errand]) -> None:
    """Figures of other settings must not come to stand under a row's name."""
    differ = {}
    for errand in errands:
        if (described := errand.folder / "config.json").is_file():
            try:
                then = job_from_dict(records.read_json(described))
            except DfkdError as error:
                raise type(error)(f"row {errand.row!r}, seed {errand.seed}: {error}") from error
            pictures = {then.images_sha256, errand.job.images_sha256} - {None}  # older runs do not say
            if _course(then) != _course(errand.job) or len(pictures) > 1:
                differ[errand.row] = None
    if differ:
        raise TrainingError(
            f"rows that were run here with other settings or pictures: {', '.join(map(repr, differ))}; give them other "
            "names, or take another folder"
        )


def _course(job: DistillJob) -> DistillJob:
    """What decides how a run goes: the teacher may have moved, its hash may not differ."""
    return replace(job, teacher="", device="", command="", started="", images_sha256=None)


def _refuse_twins(errands: Sequence[Errand]) -> None:
    rows: dict[Any, str] = {}
    for errand in errands:
        if (twin := rows.setdefault(errand.job.config, errand.row)) != errand.row:
            raise TrainingError(f"rows {twin!r} and {errand.row!r} have the same settings; leave one out")


def _try_out(errand: Errand) -> None:
    """Build what a run begins with and throw it away: a row that cannot begin is known before the others have run."""
    try:
        replace(errand.job, device="cpu").build(resuming=True)
    except DfkdError as error:
        raise type(error)(f"row {errand.row!r}: {error}") from error
    except Exception as error:  # sizes beyond any memory, and the like
        raise TrainingError(f"row {errand.row!r} cannot begin: {_one_line(error)}") from error


def _write_down(plan: Plan, folder: Path) -> None:
    """Append a plan to those of the folder, with the number of runs that had begun by then: zero, if it came first."""
    incidental = ("workers", "device", "slurm")
    said = {name: value for name, value in asdict(plan).items() if name not in incidental}
    said |= {"teacher": records.without_folders(plan.teacher)}
    said |= {"images": plan.images and records.without_folders(plan.images)}
    said = json.loads(json.dumps(said))  # as it will be read again: lists for tuples
    plans = plans_of(folder)
    if not plans or {**plans[-1], **said} != plans[-1]:
        begun = sum(1 for _ in folder.glob("rows/*/*/config.json"))
        records.write_json(folder / "plan.json", [*plans, {"written": records.now(), "runs_begun": begun, **said}])


def plans_of(folder: Path) -> list[dict[str, Any]]:
    """The plans that were written down in a sweep's folder, oldest first.

    Raises:
        CheckpointError: the file cannot be read.
        TrainingError: it holds something else.
    """
    if not (folder / "plan.json").exists():
        return []
    plans = records.read_json(folder / "plan.json")
    if not isinstance(plans, list) or not all(isinstance(plan, dict) for plan in plans):
        raise TrainingError(f"{folder}/plan.json is not what a sweep writes; take another folder")
    return plans


# ---- one run ---------------------------------------------------------------------------------------------------------


def carry_out(errand: Errand) -> str | None:
    """Do what is left of a run, on one thread, and score it.

    Returns:
        None where all went well, else what did not, in a line; of an error that no user can mend, ``error.txt`` in the
        run's folder tells more.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _alone_in(errand.folder):
            if errand.record() is None:
                (errand.folder / "error.txt").unlink(missing_ok=True)
                _train(errand)
                _score(errand)
    except DfkdError as error:
        return _one_line(error)
    except Exception as error:
        with contextlib.suppress(OSError):
            (errand.folder / "error.txt").write_text(traceback.format_exc())
        return f"{type(error).__name__}: {_one_line(error)}"
    finally:
        torch.set_num_threads(threads)
    return None


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """While a run is carried out and scored; the run itself holds another file of the folder while it trains."""
    lock = hold(folder, ".sweep.lock")
    try:
        yield
    finally:
        release(lock)


def _train(errand: Errand) -> None:
    if (errand.folder / "record.json").is_file():
        return
    if (errand.folder / "config.json").is_file():
        run = open_run(errand.folder, errand.job.device)
    else:
        run = start_run(errand.folder, errand.job)
    run.carry_out()


def _score(errand: Errand) -> None:
    """Note in the run's record how the student agrees with its teacher, and what it scores where that is wanted."""
    job, place = errand.job, errand.folder / "record.json"
    teacher, student = (zoo.load_model(model).to(job.device) for model in (job.teacher, errand.folder))
    found: dict[str, Any] = {"agreement": {}, "held_out": HELD_OUT}
    for scale in job.config.scales:
        images = DeadLeavesSource(
            HELD_OUT["low_resolution"] * scale, seed=HELD_OUT["seed"], side=HELD_OUT["side"], pool=HELD_OUT["pool"],
            device=job.device,
        )  # fmt: skip
        found["agreement"][f"x{scale}"] = round(agreement(teacher, student, images, scale, HELD_OUT["images"]), 4)
    record, wanted = records.read_json(place), errand.wanted()
    kept = [s for s in record.get("scores", []) if (s["dataset"], s["scale"]) not in wanted]
    scores = [asdict(evaluate(student, name, scale, errand.name)) for name, scale in wanted]
    records.write_json(place, record | found | ({"scores": kept + scores} if kept + scores else {}))


def _one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


# ---- many runs -------------------------------------------------------------------------------------------------------


def in_processes(errands: Sequence[Errand], workers: int) -> Iterator[tuple[Errand, str | None]]:
    """Carry out runs here, each in a process of its own: one that is killed takes no other with it.

    Args:
        errands: the runs.
        workers: how many at a time.

    Yields:
        Each with what `carry_out` gave, as they end.
    """
    context, waiting = get_context("spawn"), deque(errands)
    at_work: dict[connection.Connection, tuple[Errand, Any]] = {}
    try:
        while waiting or at_work:
            while waiting and len(at_work) < workers:
                errand = waiting.popleft()
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_report, args=(errand, sender), daemon=True)
                process.start()
                sender.close()  # the child's is the only one now: when it dies, we hear of it
                at_work[receiver] = errand, process
            for receiver in connection.wait(list(at_work)):
                errand, process = at_work.pop(receiver)
                yield errand, _heard(receiver, process)
    finally:
        for _, process in at_work.values():
            process.terminate()
            process.join()


def _report(errand: Errand, sender: connection.Connection) -> None:
    """What a process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches all; the parent ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stderr = open(os.devnull, "w")  # progress bars of several runs would overwrite each other  # noqa: SIM115
    sender.send(carry_out(errand))


def _end_with_parent() -> None:
    """A sweep that was killed leaves nobody behind, who would be in the way of the next one."""
    parent_process().join()
    os._exit(1)


def _heard(receiver: connection.Connection, process: Any) -> str | None:
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        return f"its process ended with exit code {process.exitcode}"
    finally:
        process.join()
        receiver.close()


class Resumable:
    """`carry_out` as submitit wants it: a job that is cut off is queued again, and goes on."""

    def __call__(self, errand: Errand) -> str | None:
        """Carry out one run."""
        return carry_out(errand)

    def checkpoint(self, errand: Errand) -> Any:
        """What is queued instead: the same, as the run's own checkpoint says how far it is."""
        return _submitit().helpers.DelayedSubmission(self, errand)


def on_cluster(
    errands: Sequence[Errand], workers: int, folder: Path, ask: Slurm, cluster: str = "slurm"
) -> Iterator[tuple[Errand, str | None]]:
    """Carry out runs as one array of jobs.

    Args:
        errands: the runs; their folders must be seen from the cluster's machines.
        workers: jobs at a time.
        folder: where submitit keeps what it writes.
        ask: what a job asks for.
        cluster: 'slurm'; or 'local' and 'debug', submitit's processes here, all at a time, and calls in this one.

    Yields:
        Each with what `carry_out` gave, as they end.

    Raises:
        TrainingError: submitit is not installed, or finds no such cluster.
    """
    submitit = _submitit()
    if not errands:
        return
    optional = {"partition": ask.partition, "account": ask.account, "qos": ask.qos}
    try:
        executor = submitit.AutoExecutor(folder, cluster=cluster, slurm_max_num_timeout=REQUEUED)
        executor.update_parameters(
            name="dfkd-sweep", timeout_min=ask.minutes, mem_gb=ask.memory_gb, cpus_per_task=1, gpus_per_node=ask.gpus,
            slurm_array_parallelism=workers, **{f"slurm_{name}": value for name, value in optional.items() if value},
        )  # fmt: skip
        jobs = executor.map_array(Resumable(), errands)
    except Exception as error:
        raise TrainingError(f"cannot hand the runs to {cluster!r}: {_one_line(error)}") from error
    by_id = {job.job_id: errand for job, errand in zip(jobs, errands, strict=True)}
    for job in submitit.helpers.as_completed(jobs, poll_frequency=POLL.get(cluster, 0.2)):
        try:
            yield by_id[job.job_id], job.result()
        except submitit.core.utils.UncompletedJobError as error:  # it was cancelled, or its machine is gone
            yield by_id[job.job_id], _one_line(error)


def _submitit() -> ModuleType:
    try:
        import submitit
    except ImportError as error:
        raise TrainingError('a cluster needs the package submitit: pip install "dfkd[sweep]"') from error
    return submitit


# ---- all of it -------------------------------------------------------------------------------------------------------


def gather(plan: Plan, folder: Path, errands: Sequence[Errand]) -> dict[str, Any]:
    """Everything in one: the plans, the record of every run, and the summary; written to ``sweep.json``.

    Args:
        plan: the sweep's.
        folder: the sweep's.
        errands: all of its runs; those that are not done are listed as 'missing'.

    Returns:
        What was written.
    """
    found = [(errand, errand.record()) for errand in errands]
    done = [(errand, record) for errand, record in found if record is not None]
    job = errands[0].job
    sweep = {
        "kind": "sweep", "summary": f"{len(plan.rows)} rows, {len(plan.seeds)} seeds, from {job.public_teacher}",
        "command": records.command(), "finished": records.now(), "hardware": records.hardware(),
        "versions": records.versions(), "plans": plans_of(folder), "teacher": job.public_teacher,
        "teacher_sha256": job.teacher_sha256, "baseline": plan.baseline, "datasets": list(plan.datasets),
        "held_out": HELD_OUT, "settings": plan.settings, "rows": plan.rows, "seeds": list(plan.seeds),
        "missing": [{"row": errand.row, "seed": errand.seed} for errand, record in found if record is None],
        "runs": [{"row": errand.row, "seed": errand.seed, **record} for errand, record in done],
        "figures": summarise(
            ((errand.row, errand.seed, measures(record, plan.datasets)) for errand, record in done), plan.baseline
        ),
    }  # fmt: skip
    records.write_json(folder / "sweep.json", sweep)
    return sweep
