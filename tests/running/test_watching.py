"""A run that is watched goes as one that is not, and what is seen is what is there."""

import sys

import pytest
import torch
from typer.testing import CliRunner

import dfkd
from dfkd.cli import app
from dfkd.errors import TrainingError, UnknownName
from dfkd.method.loop import Distillation
from dfkd.method.sources import DeadLeavesSource
from dfkd.networks.vdsr import VDSR
from dfkd.running import watching
from dfkd.running.records import read_json
from dfkd.running.watching import Watch

pytest.importorskip("tensorboard", reason="tensorboard is not installed (it is in the extra `log`)")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def task(method: str = "dfsr", **settings) -> Distillation:
    torch.manual_seed(0)
    teacher = VDSR(6, 2)
    settings |= {"bank": 8} if method in ("dfsr", "cmi") else {}
    config = dfkd.configure(method, steps=4, batch=2, patch=24, scales=(2, 3), imitation_steps=2, blocks=2, **settings)
    return Distillation(teacher, dfkd.make_student(config, 4), dfkd.make_source(config, teacher), config)


def test_agreement_is_that_of_the_averaged_student_with_the_teacher(tmp_path):
    run = task()
    seen = Watch(run, tmp_path).look(0)
    lr = DeadLeavesSource(96, seed=watching.SEED + 3, side=192, pool=4).sample(8, 3)
    with torch.no_grad():
        error = (run.averaged.module(lr, 3).clamp(0, 1) - run.teacher(lr, 3).clamp(0, 1)).square().mean()
    assert seen["x3"] == pytest.approx(-10 * error.log10().item(), abs=0.01) and set(seen) == {"x2", "x3"}


@pytest.mark.parametrize("method", ["noise", "dfsr", "cmi"])
def test_looking_changes_nothing(method, tmp_path):
    alone, watched = task(method), task(method)
    watch = Watch(watched, tmp_path, "tensorboard")
    list(alone.rounds())
    for report in watched.rounds():
        watch.note(report)
        watch.look(report["step"])
    pairs = zip(alone.student.parameters(), watched.student.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_log_holds_losses_agreement_speed_and_pictures(tmp_path):
    command = ("distill", "--teacher", "vdsr-small", "--method", "dfsr", "--width", 4, "--steps", 4, "--batch", 2,
               "--imitation-steps", 2, "--bank", 4, "--scale", 2, "--precision", "float32", "--log", "tensorboard",
               "--out", tmp_path / "run")  # fmt: skip
    result = CliRunner().invoke(app, [str(word) for word in command])
    assert result.exit_code == 0 and "agrees with its teacher on drawn images, in dB: x2 " in result.stdout
    log = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    record = read_json(tmp_path / "run" / "record.json")
    (first, last) = log.Scalars("losses/distillation")
    assert (first.step, last.step) == (2, 4) and last.value == pytest.approx(record["last"]["distillation"])
    assert log.Scalars("agreement with the teacher in dB/x2")[-1].value > 10
    assert log.Scalars("images a second")[-1].value > 0
    (picture,) = log.Images("generated/x2")[-1:]
    assert (picture.height, picture.width) == (4 * 24, 4 * 24)
    assert not any("tensorboard" in file for file in record["files_read"])


def test_unknown_or_missing_logs_are_said(tmp_path, monkeypatch):
    with pytest.raises(UnknownName, match="unknown log 'wandb'; choose one of: tensorboard"):
        Watch(task(), tmp_path, "wandb")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match=r'pip install "dfkd\[log\]"'):
        Watch(task(), tmp_path, "tensorboard")
