"""A data-free run reads no image: what was read is written down, and a source that cheats is found out."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from dfkd import cli
from dfkd.cli import app
from dfkd.errors import CheckpointError
from dfkd.method.settings import configure
from dfkd.method.sources import NoiseSource, noise
from dfkd.networks.weights import write_weights
from dfkd.networks.zoo import load_model
from dfkd.pixels.files import read_image
from dfkd.running import runs
from dfkd.running.jobs import distill_job
from dfkd.running.provenance import FilesRead, places, unexplained
from dfkd.running.records import read_json

OPTIONS = "--teacher vdsr-small --width 4 --scale 2 --steps 4 --batch 2 --patch 24 --imitation-steps 2".split()  # noqa: SIM905


@pytest.fixture
def photograph(tmp_path) -> Path:
    path = tmp_path / "photograph.png"
    Image.new("L", (64, 64), 90).save(path)
    return path


def distil(folder: Path, method: str) -> tuple[dict, str]:
    result = CliRunner().invoke(app, ["distill", "--method", method, "--out", str(folder), *OPTIONS])
    assert result.exit_code == 0, result.output
    return read_json(folder / "record.json"), result.output


# ---- listening -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "read",
    [
        lambda path: path.read_bytes(),
        lambda path: os.close(os.open(path, os.O_RDONLY)),
        lambda path: open(os.fsencode(path), "rb").close(),
        read_image,
        Image.open,
    ],
)
def test_every_way_of_reading_is_heard(read, photograph):
    with FilesRead() as files:
        read(photograph)
    assert str(photograph) in files.paths


def test_weights_read_outside_pythons_sight_are_heard(tmp_path):
    write_weights(tmp_path / "w.safetensors", {"a": torch.zeros(1)}, {})
    with FilesRead() as files, pytest.raises(CheckpointError):
        load_model(tmp_path / "w.safetensors")
    assert str(tmp_path / "w.safetensors") in files.paths


def test_only_reading_within_the_block_counts(photograph, tmp_path):
    photograph.read_bytes()
    with FilesRead() as outer:
        (tmp_path / "new.txt").write_text("written, not read")
        os.listdir(tmp_path)
        with FilesRead() as inner:
            photograph.read_bytes()
    photograph.with_name("later.png").touch()
    assert inner.paths == {str(photograph)} <= outer.paths
    assert not any("new.txt" in path or "later.png" in path for path in outer.paths)


def test_places_hide_this_machine_and_pythons_modules(tmp_path, monkeypatch):
    monkeypatch.setenv("DFKD_DATA_DIR", str(tmp_path / "data"))
    package = Path(cli.__file__).parent
    found = places(
        [
            str(tmp_path / "run" / "config.json"), str(tmp_path / "data" / "benchmarks" / "baby.png"),
            str(package / "weights" / "x.safetensors"), str(package / "cli.py"), torch.__file__, "/proc/cpuinfo",
        ],
        tmp_path / "run",
    )  # fmt: skip
    assert found == ["/proc/cpuinfo", "data/benchmarks/baby.png", "dfkd/weights/x.safetensors", "run/config.json"]
    assert unexplained(found, "vdsr") == ["data/benchmarks/baby.png"]


def test_a_bundled_photograph_of_another_package_is_not_explained():
    from skimage import data

    with FilesRead() as files:
        data.coffee()
    assert any(file.endswith("skimage/data/coffee.png") for file in unexplained(places(files.paths), "vdsr"))


def test_the_teachers_own_file_is_explained(tmp_path):
    teacher = tmp_path / "teacher.safetensors"
    assert unexplained([str(teacher)], str(teacher)) == []
    assert unexplained([str(teacher)], "vdsr") == [str(teacher)]


@pytest.mark.parametrize("name", ["teacher.safetensors", "a [b] teacher.safetensors", "run-folder"])
def test_the_teachers_own_file_is_explained_wherever_it_lies(name, tmp_path, monkeypatch):
    """Also under a folder that `places` gives a name of its own, as the temporary one and that of the data are."""
    monkeypatch.setenv("DFKD_DATA_DIR", str(tmp_path))
    read = [str(tmp_path / name / "student.safetensors") if name == "run-folder" else str(tmp_path / name)]
    found = places([*read, str(tmp_path / "baby.png")])
    assert found[-1].startswith("data/") and unexplained(found, str(tmp_path / name)) == ["data/baby.png"]


# ---- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["noise", "dead-leaves", "untrained", "dfsr", "cmi"])
def test_data_free_runs_read_no_image(method, tmp_path):
    record, output = distil(tmp_path / "run", method)
    assert unexplained(record["files_read"], "vdsr-small") == []
    assert "no file was read but" in output


def test_of_the_packaged_weights_only_those_used_are_read(tmp_path):
    record, _ = distil(tmp_path / "run", "noise")
    weights = [file for file in record["files_read"] if file.endswith(".safetensors")]
    assert weights == ["dfkd/weights/vdsr-small.safetensors"]


def cheat(monkeypatch, photograph: Path, where: str = "sample") -> None:
    """Method 'noise' reads a photograph, with every batch or when it is made."""

    class Cheat(NoiseSource):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            if where == "make":
                read_image(photograph)

        def sample(self, batch, scale):
            if where == "sample":
                read_image(photograph)
            return super().sample(batch, scale)

    monkeypatch.setattr(noise, "NoiseSource", Cheat)


@pytest.mark.parametrize("where", ["sample", "make"])
def test_a_source_that_reads_a_photograph_is_found_out(where, photograph, tmp_path, monkeypatch):
    cheat(monkeypatch, photograph, where)
    record, output = distil(tmp_path / "run", "noise")
    (found,) = unexplained(record["files_read"], "vdsr-small")
    assert found.endswith("photograph.png") and found in output


def test_a_folder_with_the_name_of_the_packaged_teacher_hides_nothing(photograph, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vdsr-small").mkdir()
    cheat(monkeypatch, photograph.rename(tmp_path / "vdsr-small" / "photograph.png"))
    record, output = distil(tmp_path / "run", "noise")
    (found,) = unexplained(record["files_read"], "vdsr-small")
    assert found.endswith("vdsr-small/photograph.png") and found in output


def test_what_was_read_before_a_stop_is_not_forgotten(photograph, tmp_path):
    folder = tmp_path / "run"
    config = configure("noise", scales=(2,), steps=4, batch=2, patch=24, imitation_steps=2, blocks=1)
    run = runs.start_run(folder, distill_job("vdsr-small", 4, config))
    with run.files:
        read_image(photograph)
    run.save()
    record = runs.open_run(folder).carry_out()
    assert any(file.endswith("photograph.png") for file in record["files_read"])
    assert "run/checkpoint.pt" in record["files_read"]
