"""A job is enough to build a run again: it survives JSON, and what older versions wrote can still be read."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dfkd
from dfkd.errors import DfkdError, TrainingError, UnknownName
from dfkd.networks.edsr import EDSR
from dfkd.networks.vdsr import VDSR
from dfkd.networks.weights import fingerprint
from dfkd.running import jobs, records
from dfkd.running.jobs import DistillJob, TeacherJob, distill_job, job_from_dict
from dfkd.running.teachers import TeacherSettings

RUNS = sorted(path.stem for path in (Path(dfkd.__file__).parent / "records").glob("*.csv"))


def small(method: str = "noise", **settings) -> dfkd.Config:
    return dfkd.configure(method, **{**dict(scales=(2,), steps=4, batch=2, patch=24, imitation_steps=2), **settings})


TO_CHANGE = {name for d in [DistillJob("vdsr-small", 4, small("cmi")).to_dict()] for name in {**d, **d["config"]}}


# ---- written and read again ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "job",
    [DistillJob("vdsr-small", 4, small("cmi", layers=("body.1",), lr=1e-4), "ab", None, "cuda", "dfkd distill", "now"),
     DistillJob("/a/b", 4, small("real"), images="/a/photos"),
     DistillJob("/a/b", 4, small("real"), start="/a/runs/first", start_sha256="ab"),
     TeacherJob(TeacherSettings(scales=(2, 4), warm_up=0.5), "/a/photos", "cuda", "dfkd train-teacher", "now")],
    ids=lambda job: f"{job.kind} {job.config.__class__.__name__}",
)  # fmt: skip
def test_job_comes_back_from_json_as_it_was(job):
    assert job_from_dict(json.loads(json.dumps(job.to_dict()))) == job


def test_packaged_records_hold_runs_of_both_kinds():
    assert {records.load_record(name)["kind"] for name in RUNS} == {"distill", "train-teacher"} and len(RUNS) >= 9


@pytest.mark.parametrize("name", RUNS)
def test_settings_of_a_packaged_record_are_all_kept(name):
    record = records.load_record(name)
    config = job_from_dict(record).config
    kept = {setting: value for setting, value in config.to_dict().items() if setting in record["config"]}
    assert kept == {setting: record["config"][setting] for setting in kept}
    dropped = set(record["config"]) - set(kept)  # the first edition listed the settings of methods that had no part
    assert dropped <= {"generation_steps", "generator_lr", "z_lr", "optimise_z", "w_adversarial", "w_recon", "bank",
                       "replay", "w_contrast", "temperature", "denominator", "negatives", "layers"}  # fmt: skip
    assert not dropped or record["config"]["method"] != "cmi"


@pytest.mark.parametrize("name", RUNS)
def test_job_of_a_packaged_record_comes_back_as_it_was(name):
    job = job_from_dict(records.load_record(name))
    assert job_from_dict(json.loads(json.dumps(job.to_dict()))) == job


@pytest.mark.parametrize("name", [name for name in RUNS if "squared" not in records.load_record(name)["config"]])
def test_runs_of_the_first_edition_warmed_up_for_a_hundred_updates(name):
    config = job_from_dict(records.load_record(name)).config
    assert round(config.warm_up * config.steps) == 100 and getattr(config, "parts", 1) == 1


def test_change_of_a_field_leaves_the_others():
    job = DistillJob("vdsr-small", 4, small(), device="cuda")
    assert job_from_dict(job.to_dict(), device="cpu") == DistillJob("vdsr-small", 4, small())


@pytest.mark.parametrize(
    "values",
    [{}, [], None, {"kind": "distill"}, {"kind": "protocol", "config": {}}, {"kind": "distill", "config": {}},
     {"kind": "distill", "config": {"method": "noise"}}, {"kind": "train-teacher", "config": {"width": 3}},
     {"kind": "distill", "teacher": "vdsr", "width": 4, "config": {"method": "noise", "spirit": 1, "steps": 3}}],
)  # fmt: skip
def test_what_describes_no_run_is_refused(values):
    with pytest.raises(TrainingError):
        job_from_dict(values)


@pytest.mark.parametrize(
    "setting, value",
    [("steps", 2.5), ("steps", "9"), ("steps", True), ("seed", "x"), ("lr", float("nan")), ("lr", 10**400),
     ("scales", 2), ("scales", [2.0]), ("batch", 2**40), ("patch", 24 * 2**20), ("bank", 2**40), ("scales", [2] * 99)],
)  # fmt: skip
def test_setting_of_a_wrong_kind_or_without_measure_is_refused(setting, value):
    values = DistillJob("vdsr-small", 4, small("dfsr")).to_dict()
    values["config"][setting] = value
    with pytest.raises(TrainingError):
        job_from_dict(values)


@pytest.mark.parametrize(
    "name, value", [("width", 10**6), ("width", 0), ("inner", 10**9), ("width", 1.5), ("teacher", 3)]
)
def test_shape_without_measure_is_refused(name, value):
    with pytest.raises(TrainingError):
        job_from_dict(DistillJob("vdsr-small", 4, small()).to_dict() | {name: value})


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner)
                    | st.dictionaries(st.text(), inner), max_leaves=8), st.sampled_from(sorted(TO_CHANGE)))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_any_value_anywhere_makes_a_job_or_one_clear_line(value, place):
    values = DistillJob("vdsr-small", 4, small("cmi")).to_dict()
    (values["config"] if place in values["config"] else values)[place] = value
    try:
        job_from_dict(values)
        said = ""
    except DfkdError as error:
        said = str(error)
    assert said.isprintable()


# ---- what a job refuses to build -------------------------------------------------------------------------------------


def test_job_notes_the_weights_of_its_teacher():
    job = distill_job("vdsr-small", 4, small())
    assert job.teacher == "vdsr-small" and job.teacher_sha256 == fingerprint(dfkd.load_teacher().state_dict())


def test_unknown_teacher_is_refused_when_the_job_is_made():
    with pytest.raises(UnknownName, match="no model 'gone'"):
        distill_job("gone", 4, small())


def test_scale_that_the_teacher_lacks_is_refused(tmp_path):
    torch.manual_seed(0)
    dfkd.save_model(tmp_path / "t.safetensors", EDSR(4, 1, (2, 3)))
    with pytest.raises(TrainingError, match=r"no scale \[4\]; give --scale, of \[2, 3\]"):
        distill_job(str(tmp_path / "t.safetensors"), 4, small(scales=(2, 4), patch=48)).build()


def test_folder_with_the_name_of_a_packaged_teacher_is_meant_by_its_path(tmp_path, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)
    dfkd.save_model(tmp_path / "vdsr-small" / "teacher.safetensors", VDSR(8, 3))
    assert distill_job("vdsr-small", 4, small()).build().teacher.width == 32
    assert distill_job("./vdsr-small", 4, small()).build().teacher.width == 8


def test_device_that_is_not_there_costs_no_reading_of_pictures(monkeypatch):
    monkeypatch.setattr(jobs, "read_pictures", lambda *_: pytest.fail("read pictures for nothing"))
    with pytest.raises(TrainingError, match="no device 'tpu9'"):
        TeacherJob(TeacherSettings(), device="tpu9").build()


def test_teacher_is_trained_on_the_device_of_its_job(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "read_pictures", lambda *_: [torch.rand(1, 1, 32, 32)])
    monkeypatch.setattr(jobs, "usable", str)  # 'meta' stands for a device that not every machine has
    task = TeacherJob(TeacherSettings(4, 1, (2,), patch=24), device="meta").build()
    assert {p.device.type for p in task.model.parameters()} == {"meta"}
    assert task.source.crops(2).device.type == "meta"
