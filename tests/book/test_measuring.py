"""What the scripts that make records share: a record is filled entry by entry, and nothing in it is measured twice."""

import json
import time
from dataclasses import replace

import choose_step_sizes
import measure_benchmarks
import measure_diversity
import measure_equal_seconds
import measure_scoreboard
import measure_seeds
import measure_slicing
import measuring
import pytest
import typer
from distil_students import STUDENTS
from measuring import fill, side_by_side
from typer.testing import CliRunner

from dfkd.cli import app
from dfkd.errors import DataError
from dfkd.method.settings import read_config
from dfkd.method.sources import DeadLeavesSource
from dfkd.networks.vdsr import VDSR
from dfkd.networks.zoo import load_teacher
from dfkd.running.records import load_record, read_json

WANTED = [{"row": row, "seed": seed} for seed in (0, 1) for row in ("a", "b")]


def measured(run: tuple) -> dict:
    return {"length": len(str(run))}


def test_a_record_is_written_after_each_entry_and_goes_on_where_it_was_stopped(tmp_path):
    file, asked = tmp_path / "record.json", []

    def until_stopped(run):
        asked.append(run)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return {"psnr": len(asked)}

    options = dict(by=("row", "seed"), workers=0)
    with pytest.raises(KeyboardInterrupt):
        fill(file, {"kind": "trial"}, WANTED, until_stopped, **options)
    assert read_json(file)["runs"] == [{"row": "a", "seed": 0, "psnr": 1}, {"row": "b", "seed": 0, "psnr": 2}]
    record = fill(file, {"kind": "again"}, reversed(WANTED), until_stopped, **options)
    assert asked == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 1)]
    assert record == read_json(file) and record["kind"] == "again" and "finished" in record
    assert [(run["row"], run["seed"], run["psnr"]) for run in record["runs"][2:]] == [("b", 1, 4), ("a", 1, 5)]


def test_entries_are_told_apart_by_what_one_says_and_nothing_else(tmp_path):
    file = tmp_path / "record.json"
    old = {"settings": {"lr": 0.1}, "found": 3}
    file.write_text(json.dumps({"outcomes": [old, {"row": "teacher"}], "note": "stays"}))
    wanted = [{"group": g, "settings": {"lr": lr}} for g, lr in (("x", 0.1), ("x", 0.2), ("y", 0.2))]
    record = fill(file, {}, wanted, lambda run: {"found": run[0]["lr"]}, by=("settings",), under="outcomes", workers=0)
    assert record["outcomes"] == [old, {"row": "teacher"}, {"group": "x", "settings": {"lr": 0.2}, "found": 0.2}]
    assert record["note"] == "stays"


def test_what_lacks_a_name_is_told_apart_too(tmp_path):
    wanted = [{"row": "bicubic"}, {"row": "noise", "seed": 0}]
    for _ in range(2):
        record = fill(tmp_path / "r.json", {}, wanted, lambda run: {"asked": run[1]}, by=("row", "seed"), workers=0)
        assert [run["asked"] for run in record["runs"]] == [None, 0]
    assert record["runs"][0] == {"row": "bicubic", "asked": None}


@pytest.mark.slow
def test_processes_measure_the_same(tmp_path):
    found = dict(side_by_side(measured, ["a", "bcd"], 2))
    assert found == dict(side_by_side(measured, ["a", "bcd"], 0)) == {"a": {"length": 1}, "bcd": {"length": 3}}


def slow(item: int) -> int:
    time.sleep(0.3)
    if item == 2:
        raise ValueError("the third one fails")
    return item


@pytest.mark.slow
def test_an_item_that_fails_stops_the_others():
    started = time.monotonic()
    with pytest.raises(ValueError, match="the third one fails"):
        list(side_by_side(slow, range(200), 2))
    assert time.monotonic() - started < 25  # all of them would take thirty seconds


def test_what_another_process_wrote_meanwhile_stays(tmp_path):
    file = tmp_path / "record.json"

    def measure(run):
        if run == ("a", 0):
            fill(file, {}, [{"row": "other", "seed": 0}], measured, by=("row", "seed"), workers=0)
        return {}

    record = fill(file, {}, WANTED, measure, by=("row", "seed"), workers=0)
    assert [run["row"] for run in record["runs"]] == ["other", "a", "b", "a", "b"] and record == read_json(file)


@pytest.fixture
def tiny_ways(monkeypatch):
    """The chapter's cells for the script on slicing, with the book's teacher."""
    return measure_slicing.chapter(load_teacher("vdsr-small"))


@pytest.mark.parametrize("fit", [False, True])
def test_the_ways_of_slicing_of_chapter_10_run_in_their_script(fit, tiny_ways):
    some = tiny_ways["look"](DeadLeavesSource(side=96, pool=1), 6)
    assert tiny_ways["slice_badly"](some, 8, fit=fit).width == 8


def test_benchmarks_that_cannot_be_read_do_not_empty_the_record(monkeypatch):
    before = measure_benchmarks.RECORD.read_bytes()
    monkeypatch.setattr(measure_benchmarks, "load_model", lambda name: None)

    def gone(*_):
        raise DataError("no network")

    monkeypatch.setattr(measure_benchmarks, "evaluate", gone)
    with pytest.raises(SystemExit, match="Set14, Set5"):
        measure_benchmarks.main()
    assert measure_benchmarks.RECORD.read_bytes() == before


RECORDED = [
    name for name, typed in STUDENTS.items()
    if (measuring.RECORDS / f"{name}.json").exists() and "--minutes" not in typed
]  # fmt: skip


@pytest.mark.parametrize("name", RECORDED)
def test_a_student_made_again_has_the_settings_of_its_record(name, monkeypatch):
    """Also one of the first edition, which warmed up otherwise."""
    asked = []

    def note(folder, job, save_every, team=None):
        asked.append(job)
        raise typer.Exit

    monkeypatch.setattr("dfkd.cli.runs.start_run", note)
    for place in ("dfkd.cli.zoo.load_teacher", "dfkd.running.jobs.load_teacher"):
        monkeypatch.setattr(place, lambda name: VDSR(64, 18))
    CliRunner().invoke(app, ["distill", *STUDENTS[name].split()])
    mine, its = asked[0].config, read_config(load_record(name)["config"])
    assert mine.warm_up_updates(mine.steps) == its.warm_up_updates(its.steps)
    assert replace(mine, warm_up=None) == replace(its, warm_up=None)


COMPLETE = [
    (measure_diversity, ()), (measure_equal_seconds, ()), (measure_scoreboard, ()), (measure_seeds, ()),
    (choose_step_sizes, ([],)),
]  # fmt: skip


@pytest.mark.parametrize("script, arguments", COMPLETE, ids=lambda one: getattr(one, "__name__", ""))
def test_packaged_records_hold_what_their_scripts_want(script, arguments, monkeypatch):
    asked, before = [], script.RECORD.read_bytes()
    monkeypatch.setattr(measuring, "side_by_side", lambda measure, items, workers: asked.extend(items) or ())
    script.main(*arguments)
    assert asked == [] and script.RECORD.read_bytes() == before
