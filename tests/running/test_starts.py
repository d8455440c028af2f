"""A run can go on from a finished student: its weights are taken over, and the record says whose they were."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import dfkd
from dfkd.cli import app
from dfkd.errors import CheckpointError, TrainingError, UnknownName
from dfkd.networks.edsr import EDSR
from dfkd.networks.vdsr import VDSR
from dfkd.networks.weights import fingerprint
from dfkd.running import runs
from dfkd.running.jobs import DistillJob, distill_job
from dfkd.running.lineage import methods_behind
from dfkd.running.provenance import unexplained
from dfkd.running.records import load_record, read_json, write_json

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
    assert record["start_methods"] == "noise"
    assert "no file was read but" in result.output and "first came of noise, without an image" in result.output


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


def test_it_repeats_wherever_one_stands_and_from_a_record_alone(first, tmp_path, monkeypatch):
    invoke("distill", *OPTIONS, "--steps", 6, "--start", "first", "--out", "second")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = invoke("verify", tmp_path / "second")
    monkeypatch.chdir(tmp_path)
    assert result.exit_code == 0 and "the same bits" in result.output and "no file was read but" in result.output
    shutil.move("second/record.json", "mine.json")
    shutil.move("second/curves.csv", "mine.csv")
    shutil.move("first", "moved")
    assert "say where it is with --start" in str(invoke("verify", "mine.json").exception)
    assert "the same bits" in invoke("verify", "mine.json", "--start", "moved").output


def test_other_weights_in_its_place_are_refused(first):
    described = job(first)
    shutil.copy(first / "student.safetensors", "kept")
    dfkd.save_model(first / "student.safetensors", VDSR(4, 3), role="student", summary="another")
    with pytest.raises(TrainingError, match="it has other weights"):
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


@pytest.mark.parametrize("shape", [(), ("--student", "vdsr:4x3")])
def test_students_that_cannot_be_trained_are_refused(shape):
    assert isinstance(invoke("distill", *OPTIONS, "--start", "gone", *shape).exception, UnknownName)
    assert isinstance(invoke("distill", *OPTIONS, "--start", "bicubic", *shape).exception, CheckpointError)


def test_scales_are_those_of_the_start_where_it_names_some(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    dfkd.save_model("e.safetensors", EDSR(4, 1, (2,)), role="student", summary="an EDSR")
    unscaled = "--teacher vdsr-small --batch 2 --patch 24 --imitation-steps 2 --method noise --steps 2".split()  # noqa: SIM905
    result = invoke("distill", *unscaled, "--start", "e.safetensors", "--out", "run")
    assert result.exit_code == 0, result.output
    assert read_json("run/record.json")["config"]["scales"] == [2]


# ---- what the start had learnt from ----------------------------------------------------------------------------------


@pytest.fixture
def photographs(tmp_path) -> Path:
    (tmp_path / "photographs").mkdir()
    Image.effect_noise((64, 64), 60).save(tmp_path / "photographs" / "one.png")
    return tmp_path / "photographs"


def of_images(photographs: Path) -> list:
    """Options of a run on pictures."""
    return [*OPTIONS, "--method", "real", "--images", photographs, "--steps", 2]


@pytest.mark.parametrize("between", [False, True])
def test_a_start_that_had_seen_images_is_told_of_however_far_back(between, photographs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    invoke("distill", *of_images(photographs), "--width", 4, "--blocks", 3, "--out", "seeing")
    if between:
        invoke("distill", *OPTIONS, "--steps", 2, "--start", "seeing", "--out", "between")
    after = "between" if between else "seeing"
    result = invoke("distill", *OPTIONS, "--steps", 2, "--start", after, "--out", "after")
    assert f"{after} had learnt from images (real{' then noise' if between else ''})" in result.stderr
    assert "not data-free" in invoke("verify", "after").stderr


def test_a_packaged_student_came_of_its_method():
    assert methods_behind("vdsr-half-best", load_record("vdsr-half-best")["weights_sha256"]) == "dead-leaves"
    assert methods_behind("vdsr-small", load_record("vdsr-small")["weights_sha256"]) == "real"  # a teacher


def test_of_a_file_without_a_record_or_with_another_ones_nothing_is_known(first, tmp_path):
    shutil.copy(first / "student.safetensors", "alone.safetensors")
    result = invoke("distill", *OPTIONS, "--steps", 2, "--start", "alone.safetensors", "--out", "run")
    assert "no record says what alone.safetensors had learnt from" in result.stderr
    assert read_json("run/record.json")["start_methods"] is None
    assert methods_behind(str(first), "0" * 64) is None
    sha256 = read_json(first / "record.json")["weights_sha256"]
    assert methods_behind(str(first / "student.safetensors"), sha256) == methods_behind(str(first), sha256) == "noise"


def test_a_start_whose_record_names_a_picture_had_seen_images(first):
    record = read_json(first / "record.json")
    write_json(first / "record.json", record | {"files_read": [*record["files_read"], "data/baby.png"]})
    assert methods_behind(str(first), record["weights_sha256"]) == "real"


def test_an_edsr_is_gone_on_from_as_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    dfkd.save_model("e.safetensors", EDSR(4, 1, (2,), 2), role="student", summary="an EDSR")
    result = invoke("distill", *OPTIONS, "--steps", 2, "--start", "e.safetensors", "--out", "run")
    assert result.exit_code == 0, result.output
    assert read_json("run/record.json")["inner"] == 2
