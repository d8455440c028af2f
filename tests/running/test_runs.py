"""A run and its folder: what it takes over after a stop, what it refuses to, and what its record says."""

import json
import os
import shutil
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import dfkd
from dfkd.cli import app
from dfkd.errors import CheckpointError, TrainingError
from dfkd.method import students
from dfkd.networks.vdsr import VDSR
from dfkd.networks.weights import fingerprint, read_state, write_state
from dfkd.running import locks, runs
from dfkd.running.jobs import DistillJob, Job, TeacherJob, distill_job
from dfkd.running.provenance import SYSTEM
from dfkd.running.records import read_json
from dfkd.running.teachers import TeacherSettings


def write_teacher(path: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    dfkd.save_model(path, VDSR(8, 3), role="teacher")
    return path


@pytest.fixture
def teacher(tmp_path) -> Path:
    return write_teacher(tmp_path / "teachers" / "own.safetensors")


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.linear_gradient("L").resize((40, 50)).save(folder / "one.png")
    return folder


def job(teacher: str | Path, method: str = "noise", images=None, width: int = 4, **settings) -> DistillJob:
    config = dict(scales=(2,), steps=4, batch=2, patch=24, imitation_steps=2, blocks=3) | settings
    return distill_job(str(teacher), width, dfkd.configure(method, **config), images=images)


def stopped(folder: Path, job: Job) -> Path:
    """The folder of a run that came as far as its first round."""
    run = runs.start_run(folder, job)
    with run.files:
        run.curves += islice(run.task.rounds(), 1)
    run.save()
    return folder


# ---- going on --------------------------------------------------------------------------------------------------------


def test_checkpoint_of_another_seed_is_refused(teacher, tmp_path):
    ours, other = (stopped(tmp_path / str(seed), job(teacher, seed=seed)) for seed in (0, 1))
    shutil.copy(other / "checkpoint.pt", ours)
    with pytest.raises(CheckpointError, match="written with other settings"):
        runs.open_run(ours)


def test_checkpoint_from_before_a_setting_was_there_is_taken_over(teacher, tmp_path):
    """The new setting has its default then."""
    folder = stopped(tmp_path / "run", job(teacher))
    state = read_state(folder / "checkpoint.pt")
    del state["settings"]["architecture"], state["settings"]["config"]["squared"]
    write_state(folder / "checkpoint.pt", state)
    assert runs.open_run(folder).resumed == 1
    state["settings"]["config"]["squared"] = 0.5
    write_state(folder / "checkpoint.pt", state)
    with pytest.raises(CheckpointError, match="written with other settings"):
        runs.open_run(folder)


def test_checkpoint_of_a_run_from_another_teacher_is_refused(teacher, tmp_path):
    ours = stopped(tmp_path / "ours", job(teacher))
    other = stopped(tmp_path / "other", job(write_teacher(tmp_path / "other.safetensors", seed=1)))
    shutil.copy(other / "checkpoint.pt", ours)
    with pytest.raises(CheckpointError, match="does not belong to the run"):
        runs.open_run(ours)


def test_teacher_that_has_changed_is_refused(teacher, tmp_path):
    folder = stopped(tmp_path / "run", job(teacher))
    write_teacher(teacher, seed=1)
    with pytest.raises(TrainingError, match=r"own\.safetensors has changed since this run began"):
        runs.open_run(folder)


@pytest.mark.parametrize("change", ["added", "taken away", "changed", "none"])
def test_pictures_that_have_changed_are_refused(change, teacher, photos, tmp_path):
    Image.radial_gradient("L").save(photos / "two.png")
    folder = stopped(tmp_path / "run", job(teacher, "real", images=str(photos)))
    if change == "added":
        Image.radial_gradient("L").save(photos / "three.png")
    elif change == "taken away":
        (photos / "two.png").unlink()
    elif change == "changed":
        Image.linear_gradient("L").save(photos / "two.png")
    (photos / "notes.txt").write_text("no picture")
    if change == "none":
        assert runs.open_run(folder).carry_out()["steps"] == 4
        return
    with pytest.raises(TrainingError, match=r"the pictures in .*photos have changed since this run began"):
        runs.open_run(folder)


def test_while_a_process_is_at_work_in_a_folder_others_are_kept_out(teacher, tmp_path):
    """They would take away what it is writing, and write each other's checkpoints."""
    folder = stopped(tmp_path / "run", job(teacher))
    work = f"lock = hold({str(folder)!r}); print('held', flush=True); sys.stdin.read()"
    work = f"import sys; from dfkd.running.locks import hold; {work}"
    with subprocess.Popen([sys.executable, "-c", work], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "held\n"
        half_written = folder / ".checkpoint.pt.abcdefgh"
        half_written.touch()
        for begin in (lambda: runs.open_run(folder), lambda: runs.start_run(folder, job(teacher))):
            with pytest.raises(TrainingError, match=r"at work in|holds a run already"):
                begin()
        assert half_written.exists()
        other.kill()
    assert runs.open_run(folder).carry_out()["steps"] == 4 and not half_written.exists()


def test_relative_teacher_is_found_from_another_folder(teacher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = stopped(tmp_path / "run", job("teachers/own.safetensors"))
    monkeypatch.chdir(teacher.parent)
    assert runs.open_run(folder).carry_out()["steps"] == 4


def test_relative_pictures_are_found_from_another_folder(teacher, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = stopped(tmp_path / "run", job(teacher, "real", images="photos"))
    monkeypatch.chdir(photos)
    assert runs.open_run(folder).carry_out()["steps"] == 4


def test_device_of_the_command_that_goes_on_reaches_the_record(teacher, tmp_path):
    folder = stopped(tmp_path / "run", job(teacher))
    # 'cpu:0' is another name of a device that is surely there.
    assert CliRunner().invoke(app, ["distill", "--resume", str(folder), "--device", "cpu:0"]).exit_code == 0
    assert read_json(folder / "record.json")["device"] == "cpu:0"


def test_teachers_training_goes_on_where_it_is_told(photos, tmp_path):
    settings = TeacherSettings(4, 1, (2,), steps=30, batch=2, patch=24)
    folder = stopped(tmp_path / "run", TeacherJob(settings, str(photos)))
    assert CliRunner().invoke(app, ["train-teacher", "--resume", str(folder), "--device", "cpu:0"]).exit_code == 0
    assert read_json(folder / "record.json")["device"] == "cpu:0"


@pytest.fixture
def _few_images_to_slice_on(monkeypatch):
    monkeypatch.setattr(students, "SLICED_ON", 8 * 48**2)


@pytest.mark.usefixtures("_few_images_to_slice_on")
def test_sliced_student_is_not_cut_out_again(teacher, tmp_path, monkeypatch):
    whole = runs.start_run(tmp_path / "whole", job(teacher, init="teacher")).carry_out()
    folder = stopped(tmp_path / "run", job(teacher, init="teacher"))
    monkeypatch.setattr(students, "slice_teacher", lambda *_, **__: pytest.fail("sliced what was sliced before"))
    assert runs.open_run(folder).carry_out()["weights_sha256"] == whole["weights_sha256"]


@pytest.mark.usefixtures("_few_images_to_slice_on")
def test_sliced_student_without_a_checkpoint_is_cut_out_anew(teacher, tmp_path):
    whole = runs.start_run(tmp_path / "whole", job(teacher, init="teacher")).carry_out()
    runs.start_run(tmp_path / "run", job(teacher, init="teacher"))
    assert runs.open_run(tmp_path / "run").carry_out()["weights_sha256"] == whole["weights_sha256"]


def test_what_a_kill_left_unfinished_is_cleared_away(teacher, tmp_path):
    folder = stopped(tmp_path / "run", job(teacher))
    for name in ("checkpoint.pt", "curves.csv", "config.json", "record.json", "student.safetensors"):
        (folder / f".{name}.0a1b2c3d").touch()
    runs.open_run(folder)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == [".lock"]


@pytest.mark.parametrize(
    "where, value",
    [(("curves",), 5), (("curves",), []), (("curves",), [{"step": "x"}]), (("spent",), {}), (("files",), [3]),
     (("resumed",), None), (("task", "part"), 0.5), (("task", "round"), -(10**18)), (("task", "step_in_part"), "x"),
     (("task", "rng"), torch.zeros(3)), (("task", "source"), None),
     (("task", "optimiser", "state", 0, "exp_avg"), torch.zeros(7)),
     (("task", "optimiser", "param_groups", 0, "betas"), "x")],
)  # fmt: skip
def test_checkpoint_that_no_run_can_go_on_from_is_one_clear_line(where, value, teacher, tmp_path):
    folder = stopped(tmp_path / "run", job(teacher))
    state = read_state(folder / "checkpoint.pt")
    *to, name = where
    place = state
    for step in to:
        place = place[step]
    place[name] = value
    write_state(folder / "checkpoint.pt", state)
    with pytest.raises(CheckpointError, match="does not belong to the run") as error:
        runs.open_run(folder).carry_out()
    assert str(error.value).isprintable()


# ---- what the record says --------------------------------------------------------------------------------------------


def strings(content) -> list[str]:
    if isinstance(content, dict):
        return [*content, *(s for value in content.values() for s in strings(value))]
    return [s for value in content for s in strings(value)] if isinstance(content, list) else [str(content)]


def finished(monkeypatch, *arguments) -> Path:
    """The folder of a run that was asked for on the command line, by absolute paths."""
    arguments = [*map(str, arguments), "--scale", "2", "--batch", "2", "--patch", "24", "--steps", "2"]
    monkeypatch.setattr(sys, "argv", ["/usr/bin/dfkd", *arguments])
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return Path(next(a.removeprefix("--out=") for a in arguments if a.startswith("--out=")))


@pytest.fixture(params=["distill", "distill real", "train-teacher"])
def published(request, teacher, photos, tmp_path, monkeypatch) -> Path:
    """The folder of a run that was made of a user's own files."""
    out = f"--out={tmp_path}/a=run"
    if request.param == "train-teacher":
        return finished(monkeypatch, "train-teacher", out, "--images", photos, "--width", 4, "--blocks", 1)
    method = ("--method", "real", "--images", photos) if "real" in request.param else ("--method", "noise")
    return finished(monkeypatch, "distill", out, "--teacher", teacher, *method)


def test_record_names_no_folder_of_this_machine(published, tmp_path):
    text = (published / "record.json").read_text()
    words = [word for string in strings(json.loads(text)) for word in string.split()]
    of_any_machine = tuple(pattern.removesuffix("*") for pattern in SYSTEM)
    assert [word for word in words if os.path.isabs(word) and not word.startswith(of_any_machine)] == []
    assert tmp_path.name not in text


def test_folder_of_the_run_knows_where_its_files_lie(published, tmp_path):
    config = read_json(published / "config.json")
    known = {config[name] for name in ("teacher", "images") if config.get(name)}
    assert known and known <= {str(tmp_path / "teachers" / "own.safetensors"), str(tmp_path / "photos")}


def test_record_says_by_their_roles_which_files_were_read(teacher, photos, tmp_path, monkeypatch):
    out = ("distill", f"--out={tmp_path}/run", "--teacher", teacher, "--method", "real", "--images", photos)
    record = read_json(finished(monkeypatch, *out) / "record.json")
    assert record["files_read"] == ["images/one.png", "teacher/own.safetensors"]
    command = "dfkd distill --out=run --teacher own.safetensors --method real --images photos "
    assert record["command"].startswith(command)


def test_record_names_its_teacher_and_the_hash_of_its_weights(teacher, tmp_path):
    record = runs.start_run(tmp_path / "run", job(teacher)).carry_out()
    assert record["teacher"] == "own.safetensors" and "from own.safetensors by noise" in record["summary"]
    assert record["teacher_sha256"] == fingerprint(dfkd.load_teacher(teacher).state_dict())


def test_run_whose_folder_was_moved_still_tells_its_own_files(teacher, tmp_path):
    stopped(tmp_path / "run", job(teacher))
    again = runs.open_run(tmp_path / "run")
    again.save()
    (tmp_path / "run").rename(tmp_path / "moved")
    record = runs.open_run(tmp_path / "moved").carry_out()
    assert record["files_read"] == ["run/checkpoint.pt", "run/config.json", "teacher/own.safetensors"]


def test_files_of_a_run_have_the_permissions_of_any_new_file(teacher, tmp_path):
    old = os.umask(0o027)
    try:
        runs.start_run(tmp_path / "run", job(teacher)).carry_out()
    finally:
        os.umask(old)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "run").iterdir()}
    assert len(modes) == 5 and set(modes.values()) == {"0o640"}, modes


def test_what_comes_before_the_first_update_is_part_of_the_cost(teacher, tmp_path, monkeypatch):
    """Slicing a teacher, for one."""
    build = DistillJob.build
    monkeypatch.setattr(DistillJob, "build", lambda *args, **kwargs: (time.sleep(1), build(*args, **kwargs))[1])
    record = runs.start_run(tmp_path / "run", job(teacher)).carry_out()
    assert record["wall_seconds"] >= 1


# ---- how fast it goes ------------------------------------------------------------------------------------------------


def test_lock_is_closed_before_it_is_taken_away_where_open_files_cannot_be(tmp_path, monkeypatch):
    """As on Windows, which has no fcntl either."""
    monkeypatch.setattr(locks, "fcntl", None)
    lock, unlink = locks.hold(tmp_path), Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda *args, **kw: unlink(*args, **kw) if lock.closed else pytest.fail("open"))
    locks.release(lock)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("imitation_steps, seconds", [(1, 11), (5, 3), (1000, 1.01)])
def test_measured_speed_counts_a_steps_share_of_the_generation_stage(teacher, imitation_steps, seconds, monkeypatch):
    """By a clock on which an update takes a second and a generation stage ten, whatever the length of a round."""
    clock = [0.0]

    def passing(seconds):
        return lambda self: clock.append(clock[-1] + seconds)

    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: clock[-1]))
    monkeypatch.setattr(dfkd.Distillation, "imitation_step", passing(1))
    monkeypatch.setattr(dfkd.Distillation, "generation_stage", passing(10))
    speed, _ = runs.measure_speed(job(teacher, steps=1000, imitation_steps=imitation_steps))
    assert 1 / speed == pytest.approx(seconds)


def test_measured_speed_of_a_run_of_one_long_round_is_that_of_its_steps(teacher):
    short, long = (
        runs.measure_speed(job(teacher, steps=1000, imitation_steps=length), seconds=0.3)[0] for length in (2, 1000)
    )
    assert 0.2 < short / long < 5


def test_measured_speed_is_that_of_the_grown_student(teacher, monkeypatch):
    """The first part alone is shallower and faster than the run will be."""
    build, built = DistillJob.build, []
    monkeypatch.setattr(DistillJob, "build", lambda self: built.append(build(self)) or built[0])
    runs.measure_speed(job(teacher, blocks=2, parts=2), seconds=0.1)
    assert built[0].student.blocks == 2


def test_measured_speed_knows_that_answers_are_used_again(teacher, monkeypatch):
    build, asked, updates = DistillJob.build, [], []

    def counting(self):
        task = build(self)
        task.teacher.register_forward_hook(lambda *_: asked.append(1))
        task.student.register_forward_hook(lambda *_: updates.append(1))
        return task

    monkeypatch.setattr(DistillJob, "build", counting)
    runs.measure_speed(job(teacher, steps=10_000, reuse=4), seconds=0)
    assert len(updates) >= 8 and abs(len(asked) - len(updates) / 4) <= 1
