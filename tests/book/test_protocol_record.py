"""The figures that chapter 1 cites for Set5 are what its own cells measure there."""

import importlib.util

import book_pages
import pytest
import torch

from dfkd.running.records import load_record

SCRIPT = book_pages.BOOK / "_scripts" / "measure_protocol.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("measure_protocol", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def chapter(script):
    return script.chapter_names(script.CHAPTER, *script.CELLS)


@pytest.fixture(scope="module")
def choices(chapter):
    return chapter["CHOICES"] | chapter["MORE"]


def test_record_has_every_choice_of_the_chapter_at_every_scale(script, choices):
    rows = [(row["choice"], row["scale"]) for row in load_record("protocol-set5")["choices"]]
    assert rows == [(choice, scale) for scale in script.SCALES for choice in choices]


@pytest.mark.data
def test_bicubic_on_set5_is_as_recorded(script, chapter, choices, data_dir):
    photos = script.photographs("Set5", 3)
    for row in load_record("protocol-set5")["choices"]:
        if row["scale"] == 3:
            options = choices[row["choice"]]
            measured = script.mean(chapter["measure"](torch.zeros_like, rgb, 3, **options) for rgb in photos)
            assert measured == pytest.approx(row["bicubic"], abs=2e-4), row["choice"]
