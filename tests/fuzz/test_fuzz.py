"""A sample of what `make fuzz` does: bad inputs are read or refused in one line, and nothing in them runs."""

import os
import random
import subprocess
from pathlib import Path

import pytest
from fuzz import MEMORY, SLOWEST, fuzz
from readers import READERS, Reader

from dfkd.errors import DfkdError


@pytest.mark.parametrize("name", READERS)
def test_bad_inputs_are_read_or_refused_in_one_line(name):
    outcome = fuzz(name, round(25 * READERS[name].share), seed=1)
    assert outcome.faults == []
    assert outcome.counts.total() == round(25 * READERS[name].share) and outcome.slowest[0] < SLOWEST


@pytest.mark.parametrize("name", sorted(set(READERS) - {"foreign", "arguments"}))
def test_inputs_are_bad_only_by_what_was_done_to_them(name, tmp_path, monkeypatch):
    for made, kept in (("bytes_of", 0), ("zip_of", 0), ("safetensors_of", 0), ("json_of", 0)):
        monkeypatch.setattr(f"mutations.{made}", lambda *arguments, kept=kept: arguments[kept])
    read = 0
    for number in range(6):
        (folder := tmp_path / str(number)).mkdir()
        monkeypatch.chdir(folder)
        READERS[name].write(random.Random(number), folder)
        try:
            READERS[name].read(folder)
            read += 1
        except DfkdError:  # a few are traps, or of a kind that is not read
            pass
    assert read >= 3


def _does(what):
    return Reader(lambda rng, folder: None, what)


@pytest.mark.parametrize(
    "what, words",
    [(lambda _: subprocess.run(["true"], check=True), "subprocess.Popen"), (lambda _: os.system("true"), "os.system"),
     (lambda f: (f.parent / "escaped").touch(), "escaped"), (lambda _: {}["a"], "KeyError: \"'a'\" at test_fuzz.py"),
     (lambda _: _raise(DfkdError("")), "no line"), (lambda _: _raise(DfkdError("x" * 2000)), "no line"),
     (lambda _: bytearray((MEMORY + 200) * 10**6), "MB")],
)  # fmt: skip
def test_what_must_not_be_is_seen(what, words, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if words == "MB" and not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not say how much memory was taken")
    monkeypatch.setitem(READERS, "bad", _does(what))
    found = [text for _, text in fuzz("bad", 1).faults]
    assert found and all(words in fault for fault in found)


def _raise(error):
    raise error


def test_a_hang_is_ended(monkeypatch):
    monkeypatch.setattr("fuzz.SLOWEST", 0.2)
    monkeypatch.setitem(READERS, "bad", _does(lambda _: _forever()))
    assert "took longer" in fuzz("bad", 1).faults[0][1]


def _forever():
    while True:
        pass
