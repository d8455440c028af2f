"""A run can go on from a finished student: its weights are taken over, and the record says whose they were."""

import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import dfkd
from dfkd.cli import app
from dfkd.errors import CheckpointError, TrainingError, UnknownName
from dfkd.networks.edsr import EDSR
from dfkd.networks.vdsr import VDSR
from dfkd.networks.weights import fingerprint
from dfkd.running import runs
from dfkd.running.jobs import DistillJob, distill_job
from dfkd.running.provenance import unexplained
from dfkd.running.records import read_json

OPTIONS = "--teacher vdsr-small --scale 2 --batch 2 --patch 24 --imitation-steps 2 --method noise".split()  # noqa: SIM905
SETTINGS = {"scales": (2,), "steps": 8, "batch": 2, "patch": 24, "imitation_steps": 2}


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def first(tmp_path, monkeypatch) -> Path:
    """A finished run of a student three layers deep, in the working directory."""
    monkeypatch.chdir(tmp_path)
    result = invoke("distill", *OPTIONS, "--width", 4, "--blocks", 3, "--steps", 4, "--out", "first")
    assert result.exit_code == 0, result.output
    return tmp_path / "first"


def job(start: str | Path, **settings) -> DistillJob:
    config = dfkd.configure("noise", **{**SETTINGS, "blocks": 3, **settings})
    return distill_job("vdsr-small", 4, config, start=str(start))


def test_it_begins_with_the_weights_of_the_finished_student(first):
    then = dfkd.load_student(first).state_dict()
    now = job(first).build().student.state_dict()
    assert {name: torch.equal(now[name], value) for name, value in then.items()} == dict.fromkeys(then, True)


def test_the_record_says_whose_weights_they_were_and_what_was_read(first):
    result = invoke("distill", *OPTIONS, "--steps", 6, "--start", "first", "--out", "second")
    assert result.exit_code == 0, result.output
    record = read_json("second/record.json")
    assert (record["start"], record["width"], record["config"]["blocks"]) == ("first", 4, 3)
    assert record["start_sha256"] == fingerprint(dfkd.load_student(first).state_dict()) != record["weights_sha256"]
    assert record["summary"].endswith("6 steps of batch 2 after first")
    assert "start/student.safetensors" in record["files_read"]
    assert unexplained(record["files_read"], "vdsr-small", "first") == []
    assert "no file was read but" in result.output and "what first had read is in its own record" in result.output


def test_a_packaged_student_can_be_gone_on_from(tmp_path):
    result = invoke("distill", *OPTIONS, "--steps", 2, "--start", "vdsr-half-best", "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    record = read_json(tmp_path / "run" / "record.json")
    assert (record["start"], record["width"], record["config"]["blocks"]) == ("vdsr-half-best", 32, 18)


def test_after_a_stop_it_goes_on_bit_for_bit_even_when_the_start_has_moved(first, tmp_path):
    whole = runs.start_run("whole", job(first)).carry_out()
    stopped = runs.start_run("stopped", job(first))
    rounds = stopped.task.rounds()
    stopped.curves += [next(rounds), next(rounds)]
    stopped.save()
    shutil.move(first, tmp_path / "elsewhere")
    gone_on = runs.open_run("stopped").carry_out()
    assert gone_on["weights_sha256"] == whole["weights_sha256"] and gone_on["resumed"] == 1


def test_it_repeats_from_its_record_and_from_a_record_alone(first, tmp_path):
    invoke("distill", *OPTIONS, "--steps", 6, "--start", "first", "--out", "second")
    result = invoke("verify", "second")
    assert result.exit_code == 0 and "the same bits" in result.output and "no file was read but" in result.output
    shutil.move("second/record.json", "mine.json")
    shutil.move("second/curves.csv", "mine.csv")
    shutil.move("first", "moved")
    assert isinstance(invoke("verify", "mine.json").exception, UnknownName)
    assert "the same bits" in invoke("verify", "mine.json", "--start", "moved").output


def test_other_weights_in_its_place_are_refused(first):
    described = job(first)
    shutil.copy(first / "student.safetensors", "kept")
    dfkd.save_model(first / "student.safetensors", VDSR(4, 3), role="student", summary="another")
    with pytest.raises(TrainingError, match="has changed since this run was described"):
        described.build()
    shutil.copy("kept", first / "student.safetensors")
    described.build()


@pytest.mark.parametrize("given", [{"width": 8}, {"blocks": 2}, {"student": "edsr:4x3"}])
def test_another_shape_is_refused(given, first):
    typed = [part for name, value in given.items() for part in (f"--{name}", value)]
    result = invoke("distill", *OPTIONS, "--steps", 2, "--start", "first", *typed)
    assert isinstance(result.exception, TrainingError)
    assert "first is a VDSR {'width': 4, 'blocks': 3}, not a" in str(result.exception)
    assert not Path("runs").exists()


@pytest.mark.parametrize("settings", [{"init": "teacher"}, {"init": "identity"}, {"parts": 2}])
def test_another_beginning_beside_it_is_refused(settings, first):
    with pytest.raises(TrainingError, match="leave init and parts"):
        job(first, **settings)


def test_students_that_cannot_be_trained_are_refused(tmp_path):
    assert isinstance(invoke("distill", *OPTIONS, "--start", "gone").exception, UnknownName)
    assert isinstance(invoke("distill", *OPTIONS, "--start", "bicubic").exception, CheckpointError)


def test_an_edsr_is_gone_on_from_as_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    dfkd.save_model("e.safetensors", EDSR(4, 1, (2,), 2), role="student", summary="an EDSR")
    result = invoke("distill", *OPTIONS, "--steps", 2, "--start", "e.safetensors", "--out", "run")
    assert result.exit_code == 0, result.output
    assert read_json("run/record.json")["inner"] == 2
