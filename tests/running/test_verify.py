"""A record can be checked by repeating it, and a false one does not pass."""

import json
import math
import shutil

import pytest
import torch
from typer.testing import CliRunner

from dfkd.cli import app
from dfkd.errors import CheckpointError, DfkdError, UnknownName
from dfkd.networks.vdsr import VDSR
from dfkd.networks.zoo import save_model
from dfkd.pixels.benchmarks import VDSR_CHECKPOINT
from dfkd.running import records
from dfkd.running.verify import repeat

OPTIONS = "--teacher vdsr-small --width 4 --scale 2 --batch 2 --patch 24 --imitation-steps 2 --method dfsr".split()  # noqa: SIM905


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a hundred-step run."""
    folder = tmp_path_factory.mktemp("verify") / "run"
    assert invoke("distill", "--steps", 100, "--out", folder, *OPTIONS).exit_code == 0
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def change(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


@pytest.mark.slow
def test_hundred_steps_repeated_from_the_record_give_the_same_weights(finished):
    verdict = repeat(*records.find(finished), rounds=50)
    assert (verdict.rounds, verdict.steps) == (50, 100)
    assert verdict.weights is True and verdict.same_machine and verdict.holds(0)
    assert set(verdict.differences.values()) == {0.0}


def test_first_part_alone_says_nothing_of_the_weights(finished):
    result = invoke("verify", finished, "--rounds", 3)
    assert result.exit_code == 0 and "3 rounds repeated, 6 steps" in result.output and "weights" not in result.output
    assert repeat(*records.find(finished), rounds=3).weights is None


def test_a_curve_that_is_not_the_runs_is_found_out(copy):
    lines = (copy / "curves.csv").read_text().splitlines()
    column = lines[0].split(",").index("distillation")
    cells = lines[2].split(",")
    cells[column] = repr(float(cells[column]) * 1.02)
    (copy / "curves.csv").write_text("\n".join([*lines[:2], ",".join(cells), *lines[3:]]) + "\n")
    assert repeat(*records.find(copy), rounds=3).differences["distillation"] == pytest.approx(0.02, rel=0.05)
    assert "did not repeat" in str(invoke("verify", copy, "--rounds", 3).exception)
    assert invoke("verify", copy, "--rounds", 3, "--tolerance", 0.05).exit_code == 0
    assert invoke("verify", copy, "--rounds", 1).exit_code == 0  # the change comes later


def test_a_curve_that_only_the_repeat_has_is_found_out(copy):
    rows = [line.split(",") for line in (copy / "curves.csv").read_text().splitlines()]
    column = rows[0].index("generation.reconstruction")
    (copy / "curves.csv").write_text("".join(",".join(row[:column] + row[column + 1 :]) + "\n" for row in rows))
    verdict = repeat(*records.find(copy), rounds=2)
    assert verdict.differences["generation.reconstruction"] == math.inf and not verdict.holds()


def test_a_curve_that_only_the_record_has_is_found_out(copy):
    lines = (copy / "curves.csv").read_text().splitlines()
    (copy / "curves.csv").write_text("\n".join([lines[0] + ",invented", *(line + ",1.0" for line in lines[1:])]) + "\n")
    verdict = repeat(*records.find(copy), rounds=2)
    assert verdict.differences["invented"] == math.inf and not verdict.holds()


def test_another_seed_or_setting_is_found_out(copy):
    change(copy / "record.json", lambda record: record["config"].update(seed=1))
    assert not repeat(*records.find(copy), rounds=2).holds()


def test_weights_of_another_run_are_found_out_on_the_same_machine_only(copy):
    change(copy / "record.json", lambda record: record.update(weights_sha256="0" * 64))
    record, curve = records.find(copy)
    short = {name: column[:2] for name, column in curve.items()}
    verdict = repeat(record, short, rounds=2)
    assert verdict.weights is False and not verdict.holds()
    elsewhere = repeat(record | {"hardware": {"processor": "another"}}, short, rounds=2)
    assert elsewhere.weights is False and elsewhere.holds()


def test_a_run_made_elsewhere_is_told_from_one_that_is_wrong(copy):
    change(copy / "record.json", lambda record: record["config"].update(seed=1))
    assert "same conditions" not in str(invoke("verify", copy, "--rounds", 1).exception)
    here = records.hardware()["processor"]
    change(copy / "record.json", lambda record: record["hardware"].update(processor="another"))
    said = str(invoke("verify", copy, "--rounds", 1).exception)
    assert f"processor: another, here {here}." in said and "--tolerance" in said and "torch" not in said
    change(copy / "record.json", lambda record: record.update(versions="none"))
    assert "versions: none, here None" in str(invoke("verify", copy, "--rounds", 1).exception)


def test_record_file_with_its_curve_beside_it(copy, tmp_path):
    shutil.move(copy / "record.json", tmp_path / "mine.json")
    shutil.move(copy / "curves.csv", tmp_path / "mine.csv")
    record, curve = records.find(tmp_path / "mine.json")
    assert record["steps"] == curve["step"][-1] == 100


@pytest.mark.parametrize("wrong", [{"processes": None}, {"device": None}, {"processes": "two"}, {"start": 3}])
def test_a_record_with_nonsense_in_it_is_refused_in_one_line(wrong, copy):
    for name in ("record.json", "config.json"):
        change(copy / name, lambda content: content.update(wrong))
    assert isinstance(invoke("verify", copy).exception, DfkdError)


@pytest.mark.parametrize(
    "record, role", [("vdsr-half-best", "start"), ("vdsr-small", "start"), ("vdsr-small", "teacher")]
)
def test_a_network_that_the_run_never_had_is_refused(record, role):
    result = invoke("verify", record, f"--{role}", "vdsr-half-cmi")
    assert isinstance(result.exception, DfkdError) and f"had no {role}: leave out --{role}" in str(result.exception)


@pytest.fixture
def own_teacher(tmp_path, monkeypatch):
    """A finished run in the working directory, from a teacher's file that was named relative to it."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_model("own.safetensors", VDSR(8, 3))
    result = invoke("distill", "--steps", 4, *OPTIONS, "--teacher", "own.safetensors", "--out", "run")
    assert result.exit_code == 0 and "no file was read but" in result.output
    return tmp_path / "run"


def test_run_from_a_file_repeats_wherever_one_stands(own_teacher, monkeypatch):
    monkeypatch.chdir("/")
    result = invoke("verify", own_teacher)
    assert result.exit_code == 0 and "the same bits" in result.output and "no file was read but" in result.output


def test_record_alone_repeats_with_its_teacher(own_teacher):
    """Published elsewhere, it does not know where the teacher lies."""
    shutil.move(own_teacher / "record.json", "mine.json")
    shutil.move(own_teacher / "curves.csv", "mine.csv")
    shutil.move("own.safetensors", "moved.safetensors")
    said = str(invoke("verify", "mine.json").exception)
    assert "own.safetensors, does not lie there; say where it is with --teacher" in said
    assert invoke("verify", "mine.json", "--teacher", "moved.safetensors").exit_code == 0


def test_record_does_not_repeat_with_another_teacher(own_teacher):
    assert "has changed" in str(invoke("verify", own_teacher, "--teacher", "vdsr-small").exception)


def test_run_folder_with_the_name_of_a_packaged_record_is_meant_by_its_path(copy, monkeypatch):
    monkeypatch.chdir(copy.parent)
    copy.rename("vdsr-small")
    assert records.find("vdsr-small")[0]["kind"] == "train-teacher"
    result = invoke("verify", "./vdsr-small", "--rounds", 1)
    assert result.exit_code == 0 and "generation.total" in result.output


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["vdsr-half-best", "vdsr-half-cmi"])
def test_first_round_of_a_packaged_run_repeats(name, data_dir):
    if not (data_dir / VDSR_CHECKPOINT).is_file():
        pytest.skip(f"DFKD_DATA_DIR ({data_dir}) lacks {VDSR_CHECKPOINT}")
    verdict = repeat(*records.find(name), rounds=1)
    assert verdict.rounds == 1 and verdict.holds(), verdict


def test_what_cannot_be_verified_says_why(tmp_path, copy):
    with pytest.raises(UnknownName, match=r"no record 'nosuchrun': .* none of .*generated, "):
        records.find("nosuchrun")
    (copy / "curves.csv").unlink()
    with pytest.raises(CheckpointError, match="no curve beside it"):
        records.find(copy)
    with pytest.raises(CheckpointError, match="describes no run"):
        repeat({"kind": "protocol"}, {"step": [1.0]})


def test_curves_are_read_as_columns():
    curve = records.parse_curve("step,a,b\n1,0.5,\n2,0.25,3\n")
    assert curve["step"] == [1, 2] and curve["a"] == [0.5, 0.25]
    assert math.isnan(curve["b"][0]) and curve["b"][1] == 3


@pytest.mark.parametrize("text", ["step\n1,2\n", "step\nx\n", "step\n\"" + "1" * 200_000, "step\n1\0e\n"])
def test_what_is_no_curve_is_one_clear_line(text):
    with pytest.raises(CheckpointError) as error:
        records.parse_curve(text)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("content", [b"[1]", b"3", b"[" * 100_000, b"\xff", b"", b"{"])
@pytest.mark.parametrize("name", ["record.json", "config.json"])
def test_what_is_no_record_is_one_clear_line(name, content, copy):
    (copy / name).write_bytes(content)
    with pytest.raises(CheckpointError):
        records.find(copy)


def test_record_without_measure_is_refused_before_it_is_read(copy):
    with open(copy / "curves.csv", "ab") as file:
        file.truncate(2**34)
    with pytest.raises(CheckpointError, match="too many for a record"):
        records.find(copy)


@pytest.mark.parametrize("what", ["x" * 300, "a\0b"])
def test_what_no_file_can_be_called_is_an_unknown_name(what):
    with pytest.raises(UnknownName):
        records.find(what)
