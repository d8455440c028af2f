"""What `dfkd bench` measures: that it counts right and that the loops it times are what it says; never how fast."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from dfkd.cli import app
from dfkd.errors import DfkdError
from dfkd.method.settings import configure
from dfkd.networks.edsr import EDSR
from dfkd.networks.vdsr import VDSR
from dfkd.networks.zoo import save_model
from dfkd.running import bench

SMALL = configure("dead-leaves", batch=2, side=48, pool=2, blocks=2, optim="soap", reuse=2, steps=10**6)


@pytest.fixture
def teacher(tmp_path):
    torch.manual_seed(0)
    file = tmp_path / "teacher.safetensors"
    save_model(file, VDSR(8, 2), role="teacher", summary="random weights")
    return str(file)


def test_operations_are_those_of_the_convolutions_and_a_little_more():
    teacher, student = VDSR(8, 2), VDSR(4, 2)
    pixels = SMALL.batch * SMALL.patch**2
    asked, learnt = (sum(p.numel() for p in network.parameters()) for network in (teacher, student))
    head = student.head.weight.numel()  # nobody asks for the gradient at the image
    expected = 2 * pixels * (asked / 2 + 3 * learnt - head)
    found = bench._operations(teacher, student, SMALL, uses=2)
    assert expected < found < 1.05 * expected  # resizing is a product of matrices, too


def test_plain_loop_asks_for_every_batch_in_float32_and_learns():
    class Asked(VDSR):
        times = 0

        def forward(self, lr, scale):
            Asked.times += 1
            return super().forward(lr, scale)

    torch.manual_seed(0)
    student = VDSR(4, 2)
    before = [p.detach().clone() for p in student.parameters()]
    list(islice(bench.plain_updates(Asked(8, 2), student, SMALL), 3))
    assert Asked.times == 3
    assert all(not torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))
    assert student.body[0].weight.is_contiguous()


def test_our_loop_keeps_answers():
    class Asked(VDSR):
        times = 0

        def forward(self, lr, scale):
            Asked.times += 1
            return super().forward(lr, scale)

    list(islice(bench.our_updates(Asked(8, 2), VDSR(4, 2), SMALL), 300))
    assert 150 <= Asked.times < 250


def test_peak_is_that_of_a_product(monkeypatch):
    monkeypatch.setattr(bench, "SIDE", 64)
    monkeypatch.setattr(bench, "_seconds", lambda work: work() is None or 0.5)
    assert bench.peak("float32", seconds=0) == pytest.approx(2 * 64**3 / 0.5 / 1e9)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system does not say how much memory")
@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_memory_grows_with_the_picture(runtime, teacher):
    small, large = (bench.latency(teacher, side, side, runtime)["megabytes"] for side in (32, 512))
    one_map = 1024**2 * 8 * 4 / 1e6  # of the eight channels, at the size shown, in MB
    assert large > one_map > small


def test_memory_that_is_not_told_is_left_open(monkeypatch):
    monkeypatch.setattr(bench, "Path", lambda _: Path("/nowhere"))
    bench._forget_most_memory()
    assert bench._memory("VmRSS") is None
    one = {"network": "n", "size": "1x1", "runtime": "torch", "milliseconds": 1.0, "megabytes": None}
    loops = {name: {"images": 1.0, "gflops": 1.0, "share": 0.5} for name in ("ours", "plain")}
    found = {"precision": "float32", "because": "", "peak_gflops": {}, "loops": loops, "learning": [], "latency": [one]}
    assert list(bench.report(found))[-1].split() == ["n", "1x1", "torch", "1.0"]


def test_command_reports_and_writes_a_record(teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "SIZES", {"32x32": (16, 16)})
    monkeypatch.setattr(bench, "recipe", lambda teacher: SMALL)
    monkeypatch.setattr(bench, "SIDE", 64)
    out = tmp_path / "bench.json"
    result = CliRunner().invoke(
        app, ["bench", "--teacher", teacher, "--seconds", "1", "--minutes", "0.05", "--out", str(out)],
        catch_exceptions=False,
    )  # fmt: skip
    assert result.exit_code == 0 and "straightforward" in result.output and "teacher" in result.output
    found = json.loads(out.read_text())
    assert found["loops"]["ours"]["images"] > 0 < found["loops"]["plain"]["share"]
    assert {(run["optim"], run["init"]) for run in found["learning"]} == {
        (optim, init) for optim in ("adam", "soap") for init in ("random", "teacher")
    }
    assert all(run["updates"] >= 1 and run["agreement"].keys() == {"x2", "x3", "x4"} for run in found["learning"])
    assert {one["runtime"] for one in found["latency"]} == {"torch", "onnxruntime"}
    assert all(one["milliseconds"] > 0 <= (one["megabytes"] or 0) for one in found["latency"])
    assert str(tmp_path) not in out.read_text()  # folders of this machine are no reader's business


@pytest.mark.parametrize(
    "options, words",
    [("--teacher bicubic --width 8", "bicubic is of class Bicubic, and the loops that are timed want a VDSR"),
     ("--teacher {f}/x3.safetensors", "of class EDSR, and the loops that are timed want a VDSR for a teacher"),
     ("--teacher {f}/x3.safetensors --width 2", "of class EDSR, and"), ("--student nosuch", "no model 'nosuch'"),
     ("--student vdsr-small --student bicubic", "cannot time bicubic, of class Bicubic; only networks of vdsr, edsr"),
     ("--student {f}/x3.safetensors", "it does not serve x2"), ("--width 8 --minutes 9", "give another --width"),
     ("--out {f}", "a folder has that name"), ("--out {f}/x3.safetensors/bench.json", "cannot write")],
)  # fmt: skip
def test_what_cannot_be_measured_or_written_is_refused_beforehand(options, words, teacher, tmp_path, monkeypatch):
    save_model(tmp_path / "x3.safetensors", EDSR(4, 1, (3,)))
    monkeypatch.setattr(bench, "measure", lambda *_: pytest.fail("measured"))
    there = sorted(tmp_path.iterdir())
    result = CliRunner().invoke(app, ["bench", "--teacher", teacher, *options.format(f=tmp_path).split()])
    assert isinstance(result.exception, DfkdError) and words in str(result.exception)
    assert sorted(tmp_path.iterdir()) == there


def test_what_was_measured_is_written_before_networks_are_timed(teacher, tmp_path, monkeypatch):
    def stop(networks):
        raise MemoryError

    monkeypatch.setattr(bench, "measure", lambda *_: {"learning": [{"minutes": 9}]})
    monkeypatch.setattr(bench, "latencies", stop)
    out = tmp_path / "new" / "bench.json"
    assert isinstance(
        CliRunner().invoke(app, ["bench", "--teacher", teacher, "--out", str(out)]).exception, MemoryError
    )
    found = json.loads(out.read_text())
    assert found["learning"] == [{"minutes": 9}] and found["latency"] == [] and len(list(out.parent.iterdir())) == 1
