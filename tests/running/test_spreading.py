"""Several processes as one: half the batch in each of two gives what one process gives with all of it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dfkd.errors import TrainingError
from dfkd.method.team import ALONE as ONE_PROCESS
from dfkd.networks.zoo import load_model
from dfkd.running.records import read_json
from dfkd.running.spreading import launch

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed (it is in the extra `devices`)")

COMMON = """
import sys
from dataclasses import replace

import torch

import dfkd
from dfkd.method.loop import Distillation
from dfkd.method.sources import cmi
from dfkd.networks.vdsr import VDSR
from dfkd.seeds import for_rank, seeded, stream

method, out = sys.argv[1:3]
OWN = {
    "dead-leaves": dict(side=48, pool=3), "dfsr": dict(bank=64), "cmi": dict(bank=64, negatives=12),
    "dfsr+": dict(bank=64, exposure=()),
}
with seeded(0, "teacher"):
    teacher = VDSR(6, 3)


def config(batch, **more):
    loop = dict(steps=30, batch=batch, patch=24, scales=(2, 3), imitation_steps=5, blocks=3, lr=1e-3)
    return dfkd.configure(method, **loop | OWN[method] | more)


def finish(run):
    reports = list(run.rounds())
    losses = torch.tensor([[report[name] for name in sorted(report)] for report in reports])
    found = {"losses": losses, "weights": torch.cat([p.detach().flatten() for p in run.student.parameters()])}
    if generators := getattr(run.source, "generators", {}):
        # Not their weights: a bias before a normalisation does nothing, and Adam lets it drift with the rounding.
        z = torch.randn(4, 256, generator=stream(9, "z"))
        found["images"] = torch.cat([generators[scale](z).detach().flatten() for scale in generators])
        found["banks"] = torch.cat([bank.state_dict()["rows"]["image"].flatten() for bank in run.source.banks.values()])
    return found
"""
TOGETHER = """
from dfkd.running.spreading import launch

team, _ = launch(2)
c = config(4, **eval(sys.argv[3]))
run = Distillation(teacher, dfkd.make_student(c, 4), dfkd.make_source(c, teacher, team=team), c, team)
torch.save(finish(run), f"{out}.{team.rank}")
"""
ALONE = """
c = config(8, **eval(sys.argv[3]))
source = dfkd.make_source(c, teacher)
seeds = [for_rank(c.seed, rank) for rank in (0, 1)]
if method == "dead-leaves":
    halves = [dfkd.make_source(replace(c, seed=seed), teacher) for seed in seeds]
    source.sample = lambda batch, scale: torch.cat([half.sample(batch // 2, scale) for half in halves])
else:
    rngs = [stream(seed, "z") for seed in seeds]
    source.draw_z = lambda batch, scale: torch.cat([torch.randn(batch // 2, 256, generator=rng) for rng in rngs])
if method == "cmi":
    views, random_views = [stream(seed, "views") for seed in seeds], cmi.random_views
    cmi.random_views = lambda images, _: torch.cat([
        random_views(half, rng) for half, rng in zip(images.chunk(2), views)
    ])
    source.contrast._bank_rng = stream(c.seed, "negatives")
run = Distillation(teacher, dfkd.make_student(c, 4), source, c)
torch.save(finish(run), out)
"""


def ended(folder: Path, script: str, *arguments: str) -> None:
    path = folder / "script.py"
    path.write_text(COMMON + script)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, path, *arguments], capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("method, more, atol", [
    ("dead-leaves", {}, 1e-5), ("dfsr", {}, 1e-5), ("cmi", {}, 1e-4), ("dead-leaves", {"parts": 2}, 1e-5),
    ("cmi", {"parts": 2, "reuse": 2}, 1e-4), ("dfsr+", {}, 1e-4),  # 6e-5 apart on a processor without AVX-512
])  # fmt: skip
def test_two_processes_with_half_the_batch_each_equal_one(method, more, atol, tmp_path):
    ended(tmp_path, ALONE, method, str(tmp_path / "one"), repr(more))
    ended(tmp_path, TOGETHER, method, str(tmp_path / "two"), repr(more))
    one, first, second = (torch.load(tmp_path / name) for name in ("one", "two.0", "two.1"))
    assert torch.equal(first["weights"], second["weights"])
    for name in sorted(one):
        torch.testing.assert_close(first[name], one[name], atol=atol, rtol=1e-3 if name == "losses" else 0)


@pytest.mark.slow
def test_processes_keep_one_student_whatever_steps_it_takes(tmp_path):
    """SOAP's directions depend on rounding where gradients leave them open, so one process ends elsewhere; but two?"""
    ended(tmp_path, TOGETHER, "dfsr", str(tmp_path / "two"), repr({"optim": "soap", "reuse": 2}))
    first, second = (torch.load(tmp_path / name) for name in ("two.0", "two.1"))
    assert all(torch.equal(first[name], second[name]) for name in first)


# ---- the command -----------------------------------------------------------------------------------------------------


def command(*more: object) -> list[str]:
    return [sys.executable, "-m", "dfkd", "distill", *map(str, more)]


def started(folder: Path, *more: object, steps: int = 40) -> list[str]:
    """A tiny run by two processes."""
    return command(
        "--teacher", "vdsr-small", "--method", "cmi", "--devices", 2, "--steps", steps, "--imitation-steps", 2,
        "--batch", 2, "--bank", 16, "--negatives", 4, "--width", 4, "--reuse", 2, "--precision", "float32",
        "--save-every", 0, "--out", folder, *more,
    )  # fmt: skip


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def carried_out(arguments: list[str], code: int = 0) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, env=ENVIRONMENT)
    assert done.returncode == code, done.stderr[-2000:]
    return done.stdout + done.stderr


def children_of(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the second process through /proc")
def test_a_killed_process_ends_the_job_with_a_word_and_nothing_saved_is_lost(tmp_path):
    said = carried_out(started(tmp_path / "whole"))
    assert "40 steps of batch 2" in said and said.count("measure it with") == 1  # one process speaks
    record = read_json(tmp_path / "whole" / "record.json")
    assert record["processes"] == 2 and record["images_seen"] > 2 * 40 // 2  # more than one process alone has seen

    broken = subprocess.Popen(
        started(tmp_path / "broken"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    for _ in range(600):  # until two rounds or more are saved
        if (curve := tmp_path / "broken" / "curves.csv").exists() and len(curve.read_text().splitlines()) > 2:
            break
        time.sleep(0.1)
    os.kill(children_of(broken.pid)[0], signal.SIGKILL)
    _, said = broken.communicate(timeout=120)
    assert broken.returncode not in (0, None)
    assert "lost another one" in said and f"--resume {tmp_path / 'broken'}" in said
    assert not (tmp_path / "broken" / "record.json").exists()

    carried_out(command("--resume", tmp_path / "broken"))
    again = read_json(tmp_path / "broken" / "record.json")
    assert again["resumed"] == 1 and again["weights_sha256"] == record["weights_sha256"]
    assert (tmp_path / "broken" / "curves.csv").read_bytes() == (tmp_path / "whole" / "curves.csv").read_bytes()

    said = carried_out(command("--resume", tmp_path / "broken", "--devices", 1), code=2)
    assert "for 2 processes, not 1" in said
    said = carried_out([sys.executable, "-m", "dfkd", "verify", str(tmp_path / "whole"), "--rounds", "2"])
    assert "repeats" in said


def test_more_processes_than_a_processor_can_run_are_refused(monkeypatch):
    monkeypatch.setattr("lightning_fabric.Fabric.launch", lambda self: pytest.fail("launched"))
    with pytest.raises(TrainingError, match=r"100000 processes on one machine's processor: \d+ at most"):
        launch(100_000)


def test_more_gpus_than_there_are_are_refused(monkeypatch):
    accelerator = "lightning_fabric.accelerators.cuda.CUDAAccelerator"
    monkeypatch.setattr(f"{accelerator}.is_available", lambda: True)
    with pytest.raises(TrainingError, match=r"99 devices of kind cuda on 1 nodes: You requested gpu"):
        launch(99, accelerator="cuda")


def test_whoever_waits_for_other_machines_says_so(monkeypatch, capsys):
    monkeypatch.setattr("lightning_fabric.Fabric.launch", lambda self: None)
    launch(2, nodes=3)
    assert "waiting for the processes of 3 machines" in capsys.readouterr().err


def test_several_devices_without_the_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(TrainingError, match=r'pip install "dfkd\[devices\]"'):
        launch(2)


def test_one_device_needs_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    assert launch(1) == (ONE_PROCESS, "cpu")


def test_a_sliced_student_is_that_of_the_first_process(tmp_path):
    """Each process would cut another one out, on images of its own."""
    options = (
        "--teacher", "vdsr-small", "--method", "dead-leaves", "--side", 48, "--pool", 2, "--init", "teacher", "--width",
        4, "--batch", 2, "--steps", 1, "--imitation-steps", 1, "--lr", 1e-9, "--precision", "float32",
    )  # fmt: skip
    for number, devices in enumerate((1, 2)):
        carried_out(command(*options, "--devices", devices, "--out", tmp_path / str(number)))
    one, two = (load_model(tmp_path / str(number)).state_dict() for number in range(2))
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=1e-6, rtol=0)
