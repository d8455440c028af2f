"""The scoreboard: its paired differences against the record's own numbers by hand, and starts that two rows share."""

from copy import deepcopy
from statistics import mean, stdev

import pytest
import torch

from dfkd.book import scoreboard
from dfkd.errors import TrainingError, UnknownName
from dfkd.running.records import load_record

RUNS = [
    {"row": "new", "seed": 1, "psnr": {"x2": 31.0, "x3": 29.0, "x4": 27.0}},
    {"row": "new", "seed": 0, "psnr": {"x2": 32.0, "x3": 29.1, "x4": 27.0}},
    {"row": "old", "seed": 0, "psnr": {"x2": 31.0, "x3": 29.0, "x4": 27.3}},
    {"row": "old", "seed": 1, "psnr": {"x2": 30.0, "x3": 29.0, "x4": 27.0}},
    {"row": "old", "seed": 2, "psnr": {"x2": 10.0, "x3": 10.0, "x4": 10.0}},  # has no partner
]


@pytest.fixture
def record(monkeypatch):
    monkeypatch.setattr(scoreboard, "load_record", lambda name: {"runs": RUNS})


def test_rows_are_compared_seed_by_seed(record):
    found = scoreboard.gains("new", "old")
    assert found["x2"]["mean"] == 1.0 and found["x2"]["low"] == found["x2"]["high"] == 1.0  # the same gain twice
    assert found["x3"]["mean"] == pytest.approx(0.05) and found["x3"]["seeds"] == 2
    assert found["mean"]["mean"] == pytest.approx(mean([(1 + 0.1 - 0.3) / 3, 1 / 3]))
    half = 12.7062 * stdev([(1 + 0.1 - 0.3) / 3, 1 / 3]) / 2**0.5  # Student's t, one degree of freedom
    assert found["mean"]["high"] - found["mean"]["mean"] == pytest.approx(half, rel=1e-4)


def test_a_star_marks_what_leaves_zero_out_and_nothing_else(record):
    (_, line) = scoreboard.gains_table({"is it better?": ("new", "old")}).splitlines()
    assert line.startswith("is it better?") and line.endswith(" 2") and line.count("*") == 1
    assert "+1.00 ± 0.00*" in line


def test_rows_are_those_of_the_record():
    with pytest.raises(UnknownName, match="dfsr"):
        scoreboard.gains("dsfr", "untrained")
    runs = load_record("departures")["runs"]
    a, b = ({r["seed"]: r["psnr"]["x2"] for r in runs if r["row"] == row} for row in ("cmi", "dfsr"))
    both = a.keys() & b.keys()
    assert scoreboard.gains("cmi", "dfsr")["x2"]["mean"] == pytest.approx(mean(a[s] - b[s] for s in both))


def test_a_sliced_start_can_be_shared_by_two_rows():
    begun = scoreboard.begin("sliced, then dead leaves", pool=4)
    shared = scoreboard.begin("sliced, SOAP", sliced=begun, pool=4)
    alone = scoreboard.begin("sliced, SOAP", pool=4)
    for mine, own in zip(shared.student.parameters(), alone.student.parameters(), strict=True):
        assert torch.equal(mine, own)
    before, drawn = deepcopy(begun.student.state_dict()), begun.source.state_dict()["batches"]
    assert shared.imitation_step() == alone.imitation_step()  # of the same images, drawn from where slicing stopped
    assert all(torch.equal(value, before[name]) for name, value in begun.student.state_dict().items())
    assert begun.source.state_dict()["batches"] == drawn  # neither its student nor its source has moved
    for other in ({"seed": 1}, {"pool": 5}):
        with pytest.raises(TrainingError, match="before its first update"):
            scoreboard.begin("sliced, SOAP", sliced=begun, **{"pool": 4} | other)
    with pytest.raises(TrainingError, match="before its first update"):
        scoreboard.begin("sliced, then dead leaves", sliced=shared, pool=4)
