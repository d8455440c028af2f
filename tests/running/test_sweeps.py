"""Sweeps: plans that are refused before anything runs, runs that go on, intervals by hand, processes and jobs."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from itertools import islice, takewhile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

import dfkd
from dfkd.cli import app
from dfkd.errors import DfkdError, TrainingError, UnknownName
from dfkd.method.settings import configure
from dfkd.networks.vdsr import VDSR
from dfkd.networks.weights import fingerprint, read_weights
from dfkd.running import plans, records, runs, sweeps
from dfkd.running.jobs import DistillJob
from dfkd.running.plans import LARGEST, Plan, Slurm, read_plan
from dfkd.running.provenance import unexplained
from dfkd.running.summaries import measures, paired, summarise, table
from dfkd.running.sweeps import Errand, carry_out, in_processes, on_cluster, prepare

SETTINGS = {"scales": [2], "steps": 4, "batch": 2, "patch": 24, "imitation_steps": 2, "blocks": 3}
ROWS = {"noise": {"method": "noise"}, "leaves": {"method": "dead-leaves", "side": 32, "pool": 2}}


@pytest.fixture
def teacher(tmp_path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "teacher.safetensors"
    dfkd.save_model(path, VDSR(8, 3), role="teacher")
    return path


@pytest.fixture(autouse=True)
def few_held_out(monkeypatch):
    """In this process; those that a sweep starts draw them all."""
    for name, value in {"side": 64, "pool": 2, "images": 2}.items():
        monkeypatch.setitem(sweeps.HELD_OUT, name, value)


@pytest.fixture
def one_thread():
    """As the runs of a sweep have it: bits depend on how work is divided."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def plan(teacher: str | Path, **changes) -> Plan:
    said = dict(plan="noise or leaves?", teacher=str(teacher), width=4, rows=ROWS, seeds=(0, 1), settings=SETTINGS)
    return Plan(**said | changes)


def toml(teacher: Path, head: str = "", rows: str = '[rows.noise]\nmethod = "noise"') -> str:
    shared = "\n".join(f"{name} = {json.dumps(value)}" for name, value in SETTINGS.items())
    head = head or "seeds = [0, 1]"
    return f'plan = "a trial"\nteacher = "{teacher}"\nwidth = 4\n{head}\n[settings]\n{shared}\n{rows}\n'


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "plan.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def invoke(*arguments):
    return CliRunner().invoke(app, ["sweep", *map(str, arguments)])


def example() -> str:
    """The plan in the docstring: lines that are set in, between others that are not."""
    lines = plans.__doc__.partition("::\n")[2].splitlines()
    return textwrap.dedent("\n".join(takewhile(lambda line: not line or line.startswith("    "), lines)))


# ---- plans -----------------------------------------------------------------------------------------------------------


def test_the_plan_of_the_docstring_is_one(tmp_path):
    found = read_plan(written(tmp_path, example()))
    assert list(found.rows) == ["noise", "dfsr, without L_R", "dfsr"] and found.jobs_ask_for().partition == "short"
    assert found.config("dfsr, without L_R", 2) == configure("dfsr", w_recon=0.0, scales=[2, 3], steps=240, seed=2)


WRONG = {
    "an unknown key": ("seed = [0]", "knows no 'seed', only plan, teacher, rows, seeds"),
    "a seed that is a text": ('seeds = ["0"]', r"seeds is a list, each of it a whole number, not \['0'\]"),
    "a seed that is true": ("seeds = [true]", "seeds is a list"),
    "no list of seeds": ("seeds = 3", "seeds is a list"),
    "no seeds": ("seeds = []", "no seeds"),
    "a seed twice": ("seeds = [1, 0, 1]", "seeds are named twice: 1"),
    "a seed of the held-out images": ("seeds = [10000]", "below 10000"),
    "too many runs": (f"seeds = {list(range(6001))}\nrows.a.lr = 1\nrows.b.lr = 2", "are .* runs, above 10000"),
    "workers, none": ("seeds = [0]\nworkers = 0", "workers and width must be at least 1"),
    "workers, halves": ("seeds = [0]\nworkers = 1.5", "workers is a whole number, not 1.5"),
    "a baseline that is no row": ('seeds = [0]\nbaseline = "cmi"', "unknown row for the baseline 'cmi'; choose one"),
    "a data set that is none": ('seeds = [0]\ndatasets = ["Set6"]', "unknown data set 'Set6'"),
    "a student that is none": ('seeds = [0]\nstudent = "vgg"', "unknown student 'vgg'"),
    "a device that is none": ('seeds = [0]\ndevice = "tpu"', "device is 'cpu' or 'cuda'"),
    "an unknown wish of a cluster": ("seeds = [0]\nslurm.cpus = 3", "slurm knows no 'cpus'"),
    "a script in a partition": (r'seeds = [0]' '\n' r'slurm.partition = "a\n#SBATCH --wrap=x"', "partition is letters"),
    "a table for a text": ("seeds = [0]\nimages.a = 1", "images is a text"),
}


@pytest.mark.parametrize("head, message", WRONG.values(), ids=WRONG)
def test_wrong_plan_is_refused_in_a_line(head, message, teacher, tmp_path):
    with pytest.raises(DfkdError, match=message) as caught:
        read_plan(written(tmp_path, toml(teacher, head)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("missing", ["plan", "teacher", "seeds", "rows"])
def test_what_a_plan_cannot_do_without_is_named(missing, teacher, tmp_path):
    lines = [line for line in toml(teacher).splitlines() if not line.startswith(missing)]
    if missing == "rows":
        lines = lines[: lines.index("[rows.noise]")]
    with pytest.raises(TrainingError, match=f"lacks {missing}$"):
        read_plan(written(tmp_path, "\n".join(lines)))
    with pytest.raises(TrainingError, match="plan is empty"):
        plan(teacher, plan=" \n")


NAMES = [
    "../x", "/", "/etc/x", "a/b", "..", ".", ".hidden", "", " ", "a ", "a.", "a\\b", "C:x", "a\0b", "a\nb", "é" * 51,
    "a\u202eb", "x" * 101, "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_rows_whose_names_are_no_folders_are_refused(name, teacher):
    with pytest.raises(TrainingError, match="cannot be a row's name") as caught:
        plan(teacher, rows={name: {}})
    assert str(caught.value).isprintable()


@given(st.text(max_size=120))
@settings(max_examples=300, deadline=None)
def test_a_name_is_refused_or_its_folder_lies_below_the_sweeps(name):
    try:
        Plan(plan="x", teacher="bicubic", rows={name: {}}, seeds=(0,))
    except TrainingError:
        return
    rows = Path("/sweep/rows")
    assert Path(os.path.normpath(rows / name)).parent == rows and len(os.fsencode(name)) <= 100


def test_rows_that_some_file_systems_take_for_the_same_are_refused(teacher):
    with pytest.raises(TrainingError, match="rows 'Noise' and 'noise' would share a folder"):
        plan(teacher, rows={"Noise": {}, "noise": {}})


FILES = {
    "no TOML": (b"plan = ", "cannot read the plan"),
    "a row twice": (b'[rows."a"]\n[rows.a]\n', "cannot read the plan"),
    "not UTF-8": (b'plan = "\xff"', "cannot read the plan"),
    "nested out of all measure": (b"plan = " + b"[" * 50_000, "cannot read the plan"),
    "a number of 5000 digits": (b"seeds = " + b"9" * 5000, "cannot read the plan"),
    "too large": (b"#" * (LARGEST + 1), "larger than 200,000 bytes"),
}


@pytest.mark.parametrize("content, message", FILES.values(), ids=FILES)
def test_file_that_is_no_plan_is_refused_in_a_line(content, message, tmp_path):
    with pytest.raises(TrainingError, match=message) as caught:
        read_plan(written(tmp_path, content))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_mutated_plan_is_refused_in_a_line_or_is_one(tmp_path_factory, data):
    content = bytearray(example().encode())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4) | st.sampled_from(
            [b"-", b"\"", b"[[", b"9" * 30, b"nan", b"inf", b"true", b"1979-05-27", b"{}", b"../", b"\n[rows.", b"."]
        ))  # fmt: skip
    said = ""
    try:
        found = read_plan(written(tmp_path_factory.mktemp("plan"), bytes(content)))
        for row in found.rows:
            found.config(row, 0)
    except DfkdError as error:
        said = str(error)
    assert len(said) < 1000 and "\n" not in said


def test_what_is_no_file_is_no_plan(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "nothing", tmp_path / "a\0b", tmp_path / ("x" * 300)):
        with pytest.raises(TrainingError, match=r"is no file|cannot read the plan"):
            read_plan(path)


# ---- rows ------------------------------------------------------------------------------------------------------------

SENSELESS = {
    "a setting of another method": ({"method": "noise", "w_recon": 1.0}, "row 'a': .* does not use w_recon"),
    "a setting of none": ({"stepz": 1}, "row 'a': method 'cmi' does not use stepz"),
    "a method that is none": ({"method": "dsfr"}, "row 'a': unknown method 'dsfr'"),
    "a method that is a number": ({"method": 3}, "row 'a': method is a text, not 3"),
    "a seed": ({"seed": 3}, "row 'a': seed is no setting"),
    "a source": ({"source": "x"}, "row 'a': method 'cmi' does not use source"),
    "steps in words": ({"steps": "many"}, "row 'a': steps is a whole number, not 'many'"),
    "steps that are true": ({"steps": True}, "row 'a': steps is a whole number, not True"),
    "half a step": ({"steps": 1.5}, "row 'a': steps is a whole number"),
    "steps beyond all measure": ({"steps": 10**30}, "row 'a': steps is a whole number"),
    "a step size that is none": ({"lr": math.nan}, "row 'a': lr is a number, not nan"),
    "an endless step size": ({"lr": math.inf}, "row 'a': lr is a number, not inf"),
    "one scale": ({"scales": 2}, "row 'a': scales is a list, each of it a whole number, not 2"),
    "a table": ({"batch": {"a": {"b": 1}}}, "row 'a': batch is a whole number"),
    "values that do not go together": ({"batch": 0}, "row 'a': batch must be at least 1"),
    "a shape": ({"method": "noise", "width": 4}, "row 'a': method 'noise' does not use width"),
    "a scale that the patch does not fit": ({"scales": [5]}, "row 'a': scales"),
}


@pytest.mark.parametrize("row, message", SENSELESS.values(), ids=SENSELESS)
def test_row_that_makes_no_sense_is_refused_by_name_before_any_runs(row, message, teacher, tmp_path):
    with pytest.raises(DfkdError, match=message):
        prepare(plan(teacher, rows=ROWS | {"a": row}), tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_unknown_setting_is_refused_in_the_words_of_configure(teacher, tmp_path):
    with pytest.raises(TrainingError) as ours:
        prepare(plan(teacher, rows={"a": {"method": "noise", "bank": 3}}), tmp_path / "sweep")
    with pytest.raises(TrainingError) as theirs:
        configure("noise", bank=3)
    assert str(ours.value) == f"row 'a': {theirs.value}"


def test_row_that_could_not_begin_is_known_before_the_others_run(teacher, tmp_path, monkeypatch):
    """Nothing in the settings themselves says so: it takes the teacher, and memory."""
    edsr = tmp_path / "edsr.safetensors"
    dfkd.save_model(edsr, dfkd.networks.edsr.EDSR(8, 2, (2,)), role="teacher")
    with pytest.raises(TrainingError, match=r"row 'noise': the teacher .* has no scale \[3\]"):
        prepare(plan(edsr, settings=SETTINGS | {"scales": [2, 3]}), tmp_path / "sweep")

    def too_large(job, resuming):
        raise RuntimeError("not enough memory:\nyou tried to allocate too much")

    monkeypatch.setattr(DistillJob, "build", too_large)
    with pytest.raises(TrainingError, match="row 'noise' cannot begin: not enough memory: you tried"):
        prepare(plan(teacher), tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_rows_with_the_same_settings_are_refused(teacher, tmp_path):
    with pytest.raises(TrainingError, match="rows 'noise' and 'again' have the same settings"):
        prepare(plan(teacher, rows=ROWS | {"again": {"method": "noise", "steps": 4}}), tmp_path / "sweep")


@pytest.mark.parametrize("name", ["no-such-teacher", "x" * 300, "a\0b", "x" * 300 + ".pth"], ids=ascii)
def test_teacher_that_is_none_is_refused(name, tmp_path):
    with pytest.raises(DfkdError) as caught:
        prepare(plan(name), tmp_path / "sweep")
    assert "\n" not in str(caught.value)


def test_a_teachers_scales_and_half_of_its_shape_are_what_is_meant(tmp_path):
    path = tmp_path / "edsr.safetensors"
    dfkd.save_model(path, dfkd.networks.edsr.EDSR(8, 2, (2,)), role="teacher")
    with pytest.raises(DfkdError, match="cannot halve a EDSR"):
        prepare(plan(path, width=None), tmp_path / "none")
    small = {"steps": 2, "batch": 2, "patch": 48, "imitation_steps": 2}
    rows = {"noise": ROWS["noise"]}
    first, *_ = prepare(plan(path, width=None, student="edsr:4x1", rows=rows, settings=small), tmp_path / "sweep")
    assert (first.job.config.scales, first.job.config.blocks, first.job.architecture) == ((2,), 1, "edsr")
    torch.manual_seed(0)
    dfkd.save_model(tmp_path / "vdsr.safetensors", VDSR(8, 3), role="teacher")
    first, *_ = prepare(plan(tmp_path / "vdsr.safetensors", width=None, rows=rows, settings=small), tmp_path / "other")
    assert (first.job.width, first.job.config.blocks) == (4, 3)


# ---- figures ---------------------------------------------------------------------------------------------------------


def test_interval_is_students():
    """Differences 1, 2, 3, 6: mean 3, s = sqrt(14 / 3), t of three degrees of freedom 3.182446 (from a table)."""
    found = paired([1.0, 2.0, 3.0, 6.0])
    half = 3.182446 * math.sqrt(14 / 3) / 2
    assert found["mean"] == 3.0 and found["seeds"] == 4
    assert found["low"] == pytest.approx(3 - half, abs=1e-5) and found["high"] == pytest.approx(3 + half, abs=1e-5)


def test_two_seeds_have_a_wide_interval_and_one_has_none():
    two = paired([0.0, 2.0])  # s = sqrt(2), over sqrt(2) it is 1: the half is t of one degree, 12.7062
    assert (two["low"], two["high"]) == (pytest.approx(1 - 12.7062, abs=1e-4), pytest.approx(1 + 12.7062, abs=1e-4))
    assert paired([2.0]) == {"mean": 2.0, "low": None, "high": None, "seeds": 1}


def test_rows_are_compared_seed_by_seed_over_the_seeds_that_both_have():
    runs = [("base", 0, {"a": 1.0}), ("base", 1, {"a": 5.0}), ("base", 2, {"a": 100.0})]
    runs += [("other", 1, {"a": 7.0}), ("other", 0, {"a": 2.0}), ("other", 3, {"a": -50.0})]
    found = summarise(runs, "base")["a"]
    assert found["base"] == {"mean": pytest.approx(106 / 3), "sd": pytest.approx(math.sqrt(9421 / 3)), "seeds": 3}
    assert found["other"]["difference"]["mean"] == 1.5 and found["other"]["difference"]["seeds"] == 2
    assert "difference" not in summarise(runs)["a"]["other"] and "difference" not in found["base"]


def test_measures_are_means_over_scales_and_data_sets_that_were_asked_for():
    scores = [{"dataset": name, "scale": s, "psnr": 30.0 + s} for name in ("Set5", "Set14") for s in (2, 4)]
    record = {"agreement": {"x2": 40.0, "x4": 37.0}, "scores": scores}
    assert measures(record) == {"agreement x2 x4": 38.5, "agreement x2": 40.0, "agreement x4": 37.0}
    assert set(measures(record, ["Set14"])) == {*measures(record), "Set14 x2 x4", "Set14 x2", "Set14 x4"}
    assert measures({"agreement": {"x2": 40.0}}) == {"agreement x2": 40.0}


def test_student_that_is_its_teacher_has_a_mean_and_no_spread():
    found = summarise([("a", seed, {"x": math.inf}) for seed in (0, 1)])["x"]["a"]
    assert found == {"mean": math.inf, "sd": None, "seeds": 2}


def test_table_says_each_figure_once():
    values = {"noise": (30.0, 31.0), "dfsr": (32.0, 33.5)}
    runs = [(row, seed, {"x2": value}) for row, of_row in values.items() for seed, value in enumerate(of_row)]
    header, noise, dfsr = table(summarise(runs, "noise"), "noise")
    assert "against 'noise', 95% interval" in header
    assert noise.split() == ["x2", "noise", "2", "30.500", "0.707"]
    assert dfsr.split() == ["dfsr", "2", "32.750", "1.061", "+2.250", "[-0.927,", "+5.427]"]


# ---- going on --------------------------------------------------------------------------------------------------------


def test_done_run_is_not_repeated_and_a_half_done_one_goes_on_from_its_checkpoint(teacher, tmp_path, one_thread):
    errands = {(e.row, e.seed): e for e in prepare(plan(teacher), tmp_path / "sweep")}
    done, half = errands["noise", 0], errands["noise", 1]
    assert carry_out(done) is None and (done.record()["steps"], done.record()["resumed"]) == (4, 0)
    before = {path.name: path.stat().st_mtime_ns for path in done.folder.iterdir() if path.name != ".lock"}

    run = runs.start_run(half.folder, half.job)
    with run.files:
        run.curves += islice(run.task.rounds(), 1)
    run.save()
    again = {(e.row, e.seed): e for e in prepare(plan(teacher), tmp_path / "sweep")}
    assert {key for key, errand in again.items() if errand.record() is None} == {*errands} - {("noise", 0)}
    assert carry_out(again["noise", 0]) is None and carry_out(again["noise", 1]) is None
    assert {path.name: path.stat().st_mtime_ns for path in done.folder.iterdir() if path.name != ".lock"} == before
    assert half.record()["resumed"] == 1

    whole = Errand("noise", 1, tmp_path / "whole", half.job)
    assert carry_out(whole) is None
    assert whole.record()["weights_sha256"] == half.record()["weights_sha256"]
    assert whole.record()["agreement"] == half.record()["agreement"]


def test_run_that_is_done_but_not_scored_is_scored_and_not_repeated(teacher, tmp_path):
    errand, *_ = prepare(plan(teacher), tmp_path / "sweep")
    runs.start_run(errand.folder, errand.job).carry_out()
    weights = (errand.folder / "student.safetensors").stat().st_mtime_ns
    assert errand.record() is None and carry_out(errand) is None
    student, _ = read_weights(errand.folder / "student.safetensors")
    assert set(errand.record()["agreement"]) == {"x2"}
    assert errand.record()["weights_sha256"] == fingerprint(student)
    assert (errand.folder / "student.safetensors").stat().st_mtime_ns == weights


def test_agreement_is_that_of_the_student_with_the_teacher_on_images_of_a_seed_of_their_own(teacher, tmp_path):
    errand, *_ = prepare(plan(teacher), tmp_path / "sweep")
    carry_out(errand)
    source = dfkd.method.sources.DeadLeavesSource(48, seed=10_000, side=64, pool=2)
    networks = dfkd.load_teacher(teacher), dfkd.load_student(errand.folder)
    expected = dfkd.running.evaluation.agreement(*networks, source, 2, 2)
    assert errand.record()["agreement"] == {"x2": pytest.approx(expected, abs=1e-3)}


def test_rows_that_differ_from_what_was_run_are_refused_by_name(teacher, tmp_path):
    for errand in prepare(plan(teacher), tmp_path / "sweep")[:2]:
        assert carry_out(errand) is None
    changed = {"noise": ROWS["noise"], "leaves": ROWS["leaves"] | {"lr": 0.002}}
    with pytest.raises(TrainingError, match="other settings or pictures: 'leaves'; give them other names"):
        prepare(plan(teacher, rows=changed), tmp_path / "sweep")
    with pytest.raises(TrainingError, match="or pictures: 'noise', 'leaves'"):
        prepare(plan(teacher, width=5), tmp_path / "sweep")
    more = plan(teacher, rows=ROWS | {"untrained": {"method": "untrained"}}, seeds=(1, 0, 2), workers=7)
    assert sum(errand.record() is not None for errand in prepare(more, tmp_path / "sweep")) == 2
    dfkd.save_model(teacher, VDSR(8, 3), role="teacher")  # another one in its place
    with pytest.raises(TrainingError, match="or pictures: 'noise', 'leaves'"):
        prepare(plan(teacher), tmp_path / "sweep")


def test_words_of_a_plan_are_written_down_before_the_runs_and_later_ones_beside_them(teacher, tmp_path):
    folder = tmp_path / "sweep"
    errand, *_ = prepare(plan(teacher), folder)
    first = records.read_json(folder / "plan.json")
    assert [(p["plan"], p["runs_begun"], p["teacher"]) for p in first] == [("noise or leaves?", 0, teacher.name)]
    carry_out(errand)
    prepare(plan(teacher, workers=1), folder)  # how many at a time is no part of what is asked
    assert records.read_json(folder / "plan.json") == first
    prepare(plan(teacher, plan="leaves, of course"), folder)
    later = records.read_json(folder / "plan.json")
    assert later[:1] == first and [(p["plan"], p["runs_begun"]) for p in later[1:]] == [("leaves, of course", 1)]


@pytest.mark.parametrize("content", ["{}", "[3]", "{", "\ud800"], ids=ascii)
def test_folder_with_something_else_is_refused(content, teacher, tmp_path):
    (tmp_path / "plan.json").write_text(content, errors="surrogatepass")
    with pytest.raises(DfkdError, match=r"plan\.json"):
        prepare(plan(teacher), tmp_path)


def test_damaged_run_is_named(teacher, tmp_path):
    errand, *_ = prepare(plan(teacher), tmp_path)
    carry_out(errand)
    (errand.folder / "record.json").write_text("[]")
    with pytest.raises(DfkdError, match=r"record\.json is no record of a run"):
        prepare(plan(teacher), tmp_path)
    (errand.folder / "config.json").write_text("{}")
    with pytest.raises(TrainingError, match="row 'noise', seed 0"):
        prepare(plan(teacher), tmp_path)


def test_two_processes_are_not_at_work_in_one_folder(teacher, tmp_path):
    pytest.importorskip("fcntl")
    errand, *_ = prepare(plan(teacher), tmp_path)
    holding = "from dfkd.running.locks import hold; lock = hold(sys.argv[1], '.sweep.lock'); print('held', flush=True)"
    command = [sys.executable, "-c", f"import sys; {holding}; sys.stdin.read()", str(errand.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        assert "another process is at work in" in carry_out(errand)
        other.communicate()
    assert not (errand.folder / "config.json").exists() and carry_out(errand) is None
    assert not [path for path in errand.folder.iterdir() if path.name.endswith("lock")]


def test_a_run_of_a_sweep_takes_no_lock_that_its_sweep_holds(teacher, tmp_path, monkeypatch):
    """Where both kinds of locks are one (macOS, NFS), a second one on the same file would be refused."""
    from dfkd.running import locks

    errand, *_ = prepare(plan(teacher), tmp_path)
    held, lockf = [], locks.fcntl.lockf

    def once(lock, how):
        assert lock.name not in held
        held.append(lock.name)
        lockf(lock, how)

    monkeypatch.setattr(locks, "fcntl", SimpleNamespace(lockf=once, LOCK_EX=2, LOCK_NB=4))
    assert carry_out(errand) is None and len(held) == 2


def test_seeds_of_other_pictures_do_not_join_a_row(teacher, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()

    def put(name: str, seed: int) -> None:
        pixels = np.random.default_rng(seed).integers(256, size=(40, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / name)

    put("a.png", 0)
    put("b.png", 1)
    wanted = dict(images=str(pictures), rows={"a": {"method": "real"}})
    first, *_ = prepare(plan(teacher, **wanted, seeds=(0,)), tmp_path / "sweep")
    assert carry_out(first) is None
    put("b.png", 2)
    with pytest.raises(TrainingError, match="other settings or pictures: 'a'"):
        prepare(plan(teacher, **wanted, seeds=(0, 1)), tmp_path / "sweep")


def test_threads_are_one_for_a_run_and_afterwards_as_before(teacher, tmp_path, monkeypatch):
    errand, *_ = prepare(plan(teacher), tmp_path)
    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr(sweeps, "_train", lambda errand: seen.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    try:
        carry_out(errand)
        assert seen == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_nobody_foresaw_is_a_line_and_tells_more_beside_the_run(teacher, tmp_path, monkeypatch):
    errand, *_ = prepare(plan(teacher), tmp_path)
    monkeypatch.setattr(sweeps, "_train", lambda errand: {}["an odd\nkey"])
    assert carry_out(errand) == "KeyError: 'an odd\\nkey'"
    assert "Traceback" in (errand.folder / "error.txt").read_text()


# ---- processes and jobs ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_workers_share_the_runs_and_one_that_is_killed_or_fails_stops_no_other(teacher, tmp_path):
    errands = prepare(plan(teacher, seeds=(0,), rows=ROWS | {"lost": {"method": "noise", "lr": 0.5}}), tmp_path)
    lost = errands[2]
    lost.folder.mkdir(parents=True)
    (lost.folder / "checkpoint.pt").write_bytes(b"no checkpoint")  # it cannot go on from this
    records.write_json(lost.folder / "config.json", lost.job.to_dict())
    found = {errand.row: why for errand, why in in_processes(errands, 2)}
    assert {row for row, why in found.items() if why is None} == set(ROWS)
    assert "checkpoint.pt" in found["lost"]


def test_process_that_is_gone_is_noticed(teacher, tmp_path, monkeypatch):
    errands = prepare(plan(teacher, seeds=(0,)), tmp_path)
    monkeypatch.setattr(sweeps, "_report", _vanish)
    assert [why for _, why in in_processes(errands[:1], 1)] == ["its process ended with exit code -9"]


def _vanish(errand, sender) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_no_more_processes_than_workers_and_none_that_outlives_the_sweep(teacher, tmp_path, monkeypatch):
    errands = prepare(plan(teacher, seeds=(0, 1)), tmp_path)
    started = []
    context = sweeps.get_context("spawn")
    start = context.Process.start
    monkeypatch.setattr(context.Process, "start", lambda process: (started.append(process), start(process)))
    monkeypatch.setattr(sweeps, "_report", _sleep)
    outcomes = in_processes(errands, 3)
    monkeypatch.setattr(sweeps.connection, "wait", _give_up)
    with pytest.raises(KeyboardInterrupt):
        next(outcomes)
    assert len(started) == 3 and not any(process.is_alive() for process in started)


def _sleep(errand, sender) -> None:
    time.sleep(60)


def _give_up(connections):
    raise KeyboardInterrupt


def test_jobs_of_a_cluster_are_the_same_runs(teacher, tmp_path):
    pytest.importorskip("submitit")
    planned = plan(teacher, seeds=(0,))
    errands = prepare(planned, tmp_path / "sweep")
    assert [why for _, why in on_cluster(errands[:1], 2, tmp_path / "jobs", Slurm(), "debug")] == [None]
    jobs = on_cluster(errands[1:], 2, tmp_path / "jobs", Slurm(), "local")
    outcomes = {errand.row: why for errand, why in jobs}
    assert outcomes == {"leaves": None} and all(errand.record() for errand in errands)
    whole = Errand("leaves", 0, tmp_path / "whole", errands[1].job)
    assert carry_out(whole) is None
    assert whole.record()["weights_sha256"] == errands[1].record()["weights_sha256"]
    assert unexplained(errands[1].record()["files_read"], str(teacher)) == []


def test_job_that_fails_is_told_and_so_is_one_that_was_cancelled(teacher, tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    errands = prepare(plan(teacher, seeds=(0,)), tmp_path / "sweep")
    errands[0].folder.mkdir(parents=True)
    (errands[0].folder / "config.json").write_text("{")
    outcomes = on_cluster(errands, 2, tmp_path / "jobs", Slurm(), "debug")
    errand, why = next(outcomes)
    assert errand == errands[0] and "config.json" in why

    def cancelled(job):
        raise submitit.core.utils.UncompletedJobError("Job 7 was\ncancelled.")

    monkeypatch.setattr(submitit.local.debug.DebugJob, "result", cancelled)
    assert next(outcomes) == (errands[1], "Job 7 was cancelled.")


def test_job_that_runs_out_of_time_is_queued_again_as_it_was(teacher, tmp_path):
    pytest.importorskip("submitit")
    errand, *_ = prepare(plan(teacher), tmp_path)
    again = sweeps.Resumable().checkpoint(errand)
    assert again.result() is None and errand.record()


def test_slurm_is_asked_for_an_array(teacher, tmp_path, monkeypatch):
    """Without a cluster: a stand-in for sbatch keeps the script that it is given."""
    pytest.importorskip("submitit")
    submit = f'cp "$1" {tmp_path}/script; echo Submitted batch job 12'
    for name, does in {"srun": "", "sbatch": submit, "sacct": ""}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    errands = prepare(plan(teacher), tmp_path / "sweep")
    monkeypatch.setattr("submitit.helpers.as_completed", lambda jobs, poll_frequency: iter(()))
    assert list(on_cluster(errands, 3, tmp_path / "jobs", Slurm(90, partition="short"), "slurm")) == []
    script = (tmp_path / "script").read_text()
    asked = {line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH --")}
    assert {"array=0-3%3", "time=90", "partition=short", "cpus-per-task=1", "mem=4GB", "job-name=dfkd-sweep"} <= asked


def test_cluster_that_is_not_there_is_a_line(teacher, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    for cluster in ("slurm", "moon"):
        with pytest.raises(TrainingError, match=f"cannot hand the runs to '{cluster}'") as caught:
            next(on_cluster(prepare(plan(teacher), tmp_path / "sweep"), 1, tmp_path / "jobs", Slurm(), cluster))
        assert "\n" not in str(caught.value)


def test_without_submitit_one_is_told_what_to_install(teacher, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    result = invoke(written(tmp_path, toml(teacher)), "--out", tmp_path / "sweep", "--cluster", "slurm")
    assert isinstance(result.exception, TrainingError)
    assert str(result.exception) == 'a cluster needs the package submitit: pip install "dfkd[sweep]"'


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def here(monkeypatch):
    """Runs go on in this process, which costs a test less."""
    monkeypatch.setattr(sweeps, "in_processes", lambda errands, workers: ((e, carry_out(e)) for e in errands))


TWO = '[rows.noise]\nmethod = "noise"\n[rows."leaves, drawn"]\nmethod = "dead-leaves"\nside = 32\npool = 2'


def test_command_gives_a_table_a_file_and_a_figure(teacher, tmp_path, here):
    path = written(tmp_path, toml(teacher, 'seeds = [0, 1]\nbaseline = "noise"', TWO))
    result = invoke(path, "--out", tmp_path / "sweep")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[:3]] == ["dB", "agreement x2", ""]
    found = records.read_json(tmp_path / "sweep" / "sweep.json")
    assert found["kind"] == "sweep" and found["missing"] == [] and found["plans"][0]["runs_begun"] == 0
    assert [(run["row"], run["seed"]) for run in found["runs"]] == [
        ("noise", 0), ("leaves, drawn", 0), ("noise", 1), ("leaves, drawn", 1),
    ]  # fmt: skip
    one = records.read_json(tmp_path / "sweep" / "rows" / "noise" / "seed-0" / "record.json")
    assert {**found["runs"][0]} == {"row": "noise", "seed": 0, **one}
    by_row = {row: [r["agreement"]["x2"] for r in found["runs"] if r["row"] == row] for row in found["rows"]}
    difference = [b - a for a, b in zip(*by_row.values(), strict=True)]
    assert found["figures"]["agreement x2"]["leaves, drawn"]["difference"] == paired(difference)
    assert str(tmp_path) not in json.dumps(found)
    assert (tmp_path / "sweep" / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_command_given_again_does_what_is_left(teacher, tmp_path, here, monkeypatch):
    path = written(tmp_path, toml(teacher))
    assert invoke(path, "--out", tmp_path / "sweep").exit_code == 0
    first = records.read_json(tmp_path / "sweep" / "sweep.json")
    monkeypatch.setattr(sweeps, "carry_out", lambda errand: pytest.fail("it ran again"))
    assert invoke(path, "--out", tmp_path / "sweep", "--workers", 1).exit_code == 0
    again = records.read_json(tmp_path / "sweep" / "sweep.json")
    assert (again["runs"], again["figures"]) == (first["runs"], first["figures"])


def test_command_names_the_runs_that_failed_and_says_so_by_its_exit_code(teacher, tmp_path, monkeypatch):
    def some_fail(errands, workers):
        return ((e, "its loss is not finite" if (e.row, e.seed) == ("noise", 1) else carry_out(e)) for e in errands)

    monkeypatch.setattr(sweeps, "in_processes", some_fail)
    path = written(tmp_path, toml(teacher, 'seeds = [0, 1]\nbaseline = "noise"', TWO))
    result = invoke(path, "--out", tmp_path / "sweep")
    assert result.exit_code == 1 and result.stderr.splitlines()[-1] == "failed: noise, seed 1: its loss is not finite"
    found = records.read_json(tmp_path / "sweep" / "sweep.json")
    assert found["missing"] == [{"row": "noise", "seed": 1}] and len(found["runs"]) == 3
    assert found["figures"]["agreement x2"]["leaves, drawn"]["difference"]["seeds"] == 1


def test_sweep_that_is_stopped_says_how_it_goes_on(teacher, tmp_path, monkeypatch):
    def stopped(errands, workers):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(sweeps, "in_processes", stopped)
    result = invoke(written(tmp_path, toml(teacher)), "--out", tmp_path / "sweep")
    assert result.exit_code == 130 and "the same command goes on" in result.stderr


def test_without_matplotlib_there_is_a_table_and_a_word(teacher, tmp_path, here, monkeypatch):
    monkeypatch.setattr("dfkd.cli.find_spec", lambda name: None)
    result = invoke(written(tmp_path, toml(teacher)), "--out", tmp_path / "sweep")
    assert result.exit_code == 0 and 'pip install "dfkd[sweep]"' in result.stderr
    assert not (tmp_path / "sweep" / "sweep.png").exists()


@pytest.mark.data
def test_benchmarks_are_scored_where_a_plan_asks_for_them(teacher, tmp_path, data_dir):
    errand, *_ = prepare(plan(teacher, datasets=("Set5",)), tmp_path)
    assert carry_out(errand) is None
    expected = dfkd.evaluate(dfkd.load_student(errand.folder), "Set5", 2).psnr
    assert [(s["dataset"], s["scale"], s["psnr"]) for s in errand.record()["scores"]] == [("Set5", 2, expected)]


def test_benchmarks_that_cannot_be_had_are_known_before_any_run(teacher, tmp_path, no_network, monkeypatch):
    monkeypatch.delenv("DFKD_DATA_DIR", raising=False)
    monkeypatch.setattr("dfkd.pixels.benchmarks.cache_folder", lambda: tmp_path / "cache")
    with pytest.raises(DfkdError):
        prepare(plan(teacher, datasets=("Set5",)), tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_killed_sweep_leaves_nobody_behind_and_goes_on(teacher, tmp_path):
    """As people type it, in processes of its own."""
    out = tmp_path / "sweep"
    path = written(tmp_path, toml(teacher, "seeds = [0]\nworkers = 1", '[rows.noise]\nmethod = "noise"\nsteps = 500'))
    command = [sys.executable, "-m", "dfkd", "sweep", str(path), "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sweep:
        wait_for(lambda: (out / "rows" / "noise" / "seed-0" / "config.json").exists())
        sweep.kill()
    (errand,) = prepare(read_plan(path), out)
    wait_for(lambda: free(errand.folder))
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "[1/1] noise, seed 0: " in done.stderr and "agreement x2" in done.stdout
    assert "no file was read but the teacher's and the package's own" in done.stdout


def wait_for(condition) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def free(folder: Path) -> bool:
    try:
        with sweeps._alone_in(folder):
            return True
    except TrainingError:
        return False


def test_wrong_plan_is_one_line_and_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "dfkd", "sweep", str(written(tmp_path, "seeds = [0, 0]"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("dfkd: ")


def test_unknown_names_are_of_the_kind_that_the_package_raises(teacher):
    with pytest.raises(UnknownName):
        plan(teacher, baseline="cmi")
