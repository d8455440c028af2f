"""Stops runs at random moments and goes on with them: ``python tests/faults/faults.py --kills 200``.

A run is a child of this process and ended by SIGKILL, after a random time or at its n-th write, as often as chance has
it; then it is carried through. Whatever the moment, each file of its folder must be whole, and in the end weights,
curves and notes must be those of a run that was left alone, bit for bit.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch
from PIL import Image

import dfkd
from dfkd.networks.vdsr import VDSR
from dfkd.networks.weights import read_state
from dfkd.running import records, runs
from dfkd.running.jobs import Job, TeacherJob, distill_job
from dfkd.running.teachers import TeacherSettings

METHODS = {
    "noise": {"parts": 2}, "dead-leaves": {"side": 32, "pool": 2, "renew": 2},
    "dfsr": {"parts": 2, "bank": 6, "replay": 0.5}, "cmi": {"bank": 6, "negatives": 4, "reuse": 2},
}  # fmt: skip
# Of one of these the n-th call is hit.
MOMENTS = ("os.replace", "os.fsync", "builtins.open", "torch.save", "safetensors.torch.save")


def jobs(folder: Path, steps: int = 24) -> dict[str, Job]:
    """A tiny run of each kind, by name; its teacher and its picture are put into a folder."""
    torch.manual_seed(0)
    dfkd.save_model(folder / "teacher.safetensors", VDSR(8, 3), role="teacher")
    Image.linear_gradient("L").resize((40, 50)).save(folder / "photo.png")
    loop = dict(scales=(2, 3), steps=steps, batch=4, patch=24, imitation_steps=2, blocks=3)
    made: dict[str, Job] = {
        name: distill_job(str(folder / "teacher.safetensors"), 4, dfkd.configure(name, **loop | own))
        for name, own in METHODS.items()
    }
    training = TeacherSettings(4, 2, (2,), steps=10 * steps, batch=2, patch=24)
    return made | {"train-teacher": TeacherJob(training, str(folder))}


def carry_out(folder: Path, job: Job) -> None:
    """Begin or go on, whichever it takes."""
    begun = (folder / "config.json").exists()
    (runs.open_run(folder, save_every=0) if begun else runs.start_run(folder, job, save_every=0)).carry_out()


def in_child(work: Callable[[], object], after: float | None = None) -> int:
    """Do something in a child process, which knows all that this one has loaded.

    Args:
        work: what to do.
        after: seconds until the child is killed.

    Returns:
        0, the number of the signal that ended it, or 1 where it failed.
    """
    sys.stdout.flush()
    if not (child := os.fork()):
        code = 1
        try:
            torch.set_num_threads(1)  # a child has none of its parent's threads, and would wait for them
            work()
            code = 0
        finally:
            os._exit(code)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)  # it is there until somebody waits for it
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def killed_at(what: str, count: int, work: Callable[[], object]) -> Callable[[], object]:
    """The same work, ended by SIGKILL when something is called for the n-th time; open counts for new files only."""
    module, _, name = what.rpartition(".")
    real, calls = getattr(sys.modules[module], name), []

    def fatal(*arguments, **options):
        if what != "builtins.open" or "x" in str(arguments[1:2]):
            calls.append(1)
            if len(calls) == count:
                os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    def doomed() -> object:
        used = {"safetensors.torch.save": "dfkd.networks.weights.save"}.get(what, what)
        with patch(used, fatal):
            return work()

    return doomed


def faults_of(folder: Path) -> list[str]:
    """What is broken in the folder of a run that was stopped; files half written have other names and do not count."""
    found = []
    for path in folder.glob("[!.]*"):
        try:
            {".json": records.read_object, ".pt": read_state, ".csv": lambda p: records.parse_curve(p.read_text()),
             ".safetensors": dfkd.load_model}[path.suffix](path)  # fmt: skip
        except Exception as error:
            found.append(f"{path.name}: {error}")
    return found


def difference(ours: Path, theirs: Path) -> list[str]:
    """In what a run that was stopped differs from one that was not."""
    a, b = (records.read_object(folder / "record.json") for folder in (ours, theirs))
    same = ("weights_sha256", "at_start", "at_end", "last", "steps", "images_seen")
    found = [name for name in same if a[name] != b[name]]
    if (ours / "curves.csv").read_bytes() != (theirs / "curves.csv").read_bytes():
        found.append("curves.csv")
    return found + [path.name for path in ours.iterdir() if path.name.startswith(".")]


def stop_and_go_on(folder: Path, job: Job, whole: Path, seconds: float, rng: random.Random, kills: int) -> list[str]:
    """One run, killed so many times and carried through.

    Args:
        folder: of the run.
        job: what it does.
        whole: folder of the same run, undisturbed.
        seconds: that the undisturbed one took.
        rng: decides on the moments.
        kills: how many.

    Returns:
        What went wrong, one line each.
    """
    found = []
    for _ in range(kills):
        def work():
            return carry_out(folder, job)
        if rng.random() < 0.5:
            in_child(work, after=rng.uniform(0, 1.1 * seconds))
        else:
            in_child(killed_at(rng.choice(MOMENTS), rng.randint(1, 30), work))
        found += faults_of(folder)
    if code := in_child(lambda: carry_out(folder, job)):
        return [*found, f"did not go on (ended by {code})"]
    return found + [f"differs in {what}" for what in difference(folder, whole)]


def undisturbed(folder: Path, job: Job) -> float:
    """Carry a run through; how many seconds it took."""
    started = time.monotonic()
    if in_child(lambda: carry_out(folder, job)):
        raise RuntimeError(f"the undisturbed run in {folder} failed")
    return time.monotonic() - started


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    wanted = options.parse_args()
    with tempfile.TemporaryDirectory() as there:
        kinds = jobs(Path(there))
        failed, done = Counter(), Counter()
        for name, job in kinds.items():
            whole = Path(there, f"{name} undisturbed")
            seconds, started, number = undisturbed(whole, job), time.monotonic(), 0
            while done[name] < wanted.kills / len(kinds):
                rng = random.Random(f"{wanted.seed} {name} {number}")
                kills = rng.randint(1, 3)
                for fault in stop_and_go_on(Path(there, f"{name} {number}"), job, whole, seconds, rng, kills):
                    failed[name] += 1
                    print(f"    {name}, run {number}: {fault}", flush=True)
                done[name] += kills
                number += 1
            took = time.monotonic() - started
            said = f"{done[name]:>4} kills of {number:>4} runs, {failed[name]} faults, {took:.0f} s"
            print(f"{name:<14} {said}", flush=True)
    print(f"{done.total()} kills, {failed.total()} faults")
    sys.exit(bool(failed.total()))


if __name__ == "__main__":
    os.environ["TQDM_DISABLE"] = "1"
    main()
