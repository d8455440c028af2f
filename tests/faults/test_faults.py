"""What goes wrong around a run is one clear line and loses nothing saved; a sample of what `make faults` does."""

import hashlib
import os
import random
import shutil
from pathlib import Path

import faults
import pytest
import torch

from dfkd.errors import CheckpointError, DataError, TrainingError
from dfkd.networks.weights import read_state, write_state
from dfkd.pixels import benchmarks
from dfkd.running import runs

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are stopped in child processes")
KINDS = (*faults.METHODS, "train-teacher")
STEPS = 6
LAST = 10**6  # write: that of the record


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Jobs by name, and the folders of their runs that were left alone."""
    folder = tmp_path_factory.mktemp("faults")
    jobs = faults.jobs(folder, STEPS)
    return jobs, {name: (folder / name, faults.undisturbed(folder / name, job)) for name, job in jobs.items()}


@pytest.mark.parametrize("name", KINDS)
def test_killed_run_goes_on_to_the_same_bits(name, whole, tmp_path):
    jobs, done = whole
    rng = random.Random(name)
    assert faults.stop_and_go_on(tmp_path / "run", jobs[name], *done[name], rng, kills=1) == []


@pytest.mark.parametrize("moment", faults.MOMENTS)
@pytest.mark.parametrize("count", [1, 3])
def test_run_killed_at_a_write_goes_on_to_the_same_bits(moment, count, whole, tmp_path):
    """The first writes are those of config.json, checkpoint and curves; weights are written once."""
    job, (undisturbed, _) = whole[0]["noise"], whole[1]["noise"]

    def work():
        faults.carry_out(tmp_path / "run", job)

    ended = faults.in_child(faults.killed_at(moment, count, work))
    assert ended == 9 or (moment == "safetensors.torch.save" and count > 1)
    assert faults.faults_of(tmp_path / "run") == []
    assert faults.in_child(work) == 0 and faults.difference(tmp_path / "run", undisturbed) == []


@pytest.mark.parametrize("name", ["noise", "train-teacher"])
@pytest.mark.parametrize("moment, count", [("replace", 3), ("replace", 6), ("fsync", 4), ("replace", LAST)])
def test_run_on_a_full_disk_goes_on_to_the_same_bits(name, moment, count, whole, tmp_path, monkeypatch):
    job, folder = whole[0][name], tmp_path / "run"
    threads, real, calls = torch.get_num_threads(), getattr(os, moment), []
    def full(*arguments):
        calls.append(arguments)
        if len(calls) == count or count == LAST and Path(str(arguments[-1])).name == "record.json":
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(f"dfkd.writing.os.{moment}", full)
    torch.set_num_threads(1)
    try:
        with pytest.raises(CheckpointError, match="No space left") as error:
            faults.carry_out(folder, job)
        assert str(error.value).isprintable() and faults.faults_of(folder) == []
        assert [path.name for path in folder.glob(".*")] == []
        monkeypatch.undo()
        faults.carry_out(folder, job)
    finally:
        torch.set_num_threads(threads)
    assert faults.difference(folder, whole[1][name][0]) == []


@pytest.mark.parametrize("name", KINDS)
def test_exploding_loss_keeps_what_was_saved(name, whole, tmp_path):
    """Not a number among the weights of a checkpoint, as after a step that was too large."""
    folder = shutil.copytree(whole[1][name][0], tmp_path / "run")
    for path in (folder / "record.json", *folder.glob("*.safetensors")):
        path.unlink()
    state = read_state(folder / "checkpoint.pt")
    student = state["task"]["model" if name == "train-teacher" else "student"]
    next(iter(student.values())).fill_(torch.nan)
    begun = {"round": 0, "step_in_part": 0, "part": state["task"].get("part", 0) - 1}
    back = {"step": 0} if name == "train-teacher" else begun
    state["task"] |= back
    state["curves"] = state["curves"][: len(state["curves"]) // 2] if state["task"].get("part") else []
    write_state(folder / "checkpoint.pt", state)
    before = (folder / "checkpoint.pt").read_bytes()
    with pytest.raises(TrainingError, match=r"became nan.*lower lr") as error:
        runs.open_run(folder).carry_out()
    assert str(error.value).isprintable() and (folder / "checkpoint.pt").read_bytes() == before
    assert not list(folder.glob("*.safetensors"))


# ---- downloads -------------------------------------------------------------------------------------------------------

NAME = "benchmarks/Set5/image_SRF_2/img_001_SRF_2_HR.png"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of downloads, and a registry of one file with the content b'right'."""
    import pooch

    monkeypatch.delenv("DFKD_DATA_DIR", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    monkeypatch.setattr(benchmarks, "registry", lambda: {NAME: hashlib.sha256(b"right").hexdigest()})
    return tmp_path / "dfkd" / NAME


def serve(monkeypatch, *contents):
    """Each download gives the next content, or breaks off after some bytes where that is an error."""
    import pooch

    retrieve, waiting = pooch.retrieve, list(contents)

    def downloader(url, output_file, _):
        content = waiting.pop(0)
        Path(output_file).write_bytes(content if isinstance(content, bytes) else b"rig")
        if isinstance(content, Exception):
            raise content

    monkeypatch.setattr(pooch, "retrieve", lambda **options: retrieve(**{**options, "downloader": downloader}))


@pytest.mark.parametrize("broken", [ConnectionError("lost\nafter 3 bytes"), OSError(28, "No space left"), b"wrong"])
def test_lost_download_is_one_line_leaves_nothing_and_can_be_repeated(broken, cache, monkeypatch):
    serve(monkeypatch, broken, b"right")
    with pytest.raises(DataError) as error:
        benchmarks.fetch(NAME)
    assert str(error.value).isprintable() and not [path for path in cache.parent.glob("*") if path.is_file()]
    assert benchmarks.fetch(NAME).read_bytes() == b"right"


def test_corrupted_cache_is_downloaded_again(cache, monkeypatch):
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"wrong")
    serve(monkeypatch, b"right")
    assert benchmarks.fetch(NAME).read_bytes() == b"right"


def test_corrupted_cache_without_a_network_is_not_taken(cache, monkeypatch):
    cache.parent.mkdir(parents=True)
    cache.write_bytes(b"wrong")
    serve(monkeypatch, ConnectionError("no network"))
    with pytest.raises(DataError, match="cannot get"):
        benchmarks.fetch(NAME)
