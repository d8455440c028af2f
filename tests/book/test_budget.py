"""The plugin that measures what chapters cost: it counts, and it fails above a limit."""

import re
import subprocess
import sys

import nbformat
import pytest
from book_pages import ROOT
from budget import LIMITS, complaints


def test_complaints_name_the_chapter_and_the_limit():
    cheap, dear = {"cpu": 10, "mb": 100}, {"cpu": 300, "mb": 2100}
    assert complaints({"01": cheap, "02": cheap}, LIMITS) == []
    said = complaints({"01": cheap, "02": dear}, LIMITS)
    assert said == ["02: chapter-cpu is 300.0, limit 270", "02: chapter-mb is 2100.0, limit 2000"]
    nine = {str(number): {"cpu": 250, "mb": 1} for number in range(9)}
    assert complaints(nine, LIMITS) == ["the book: book-cpu is 2250.0, limit 1800"]


@pytest.mark.slow
def test_a_chapter_above_its_budget_fails(tmp_path):
    busy = "import time\nkept = bytearray(150_000_000)\nwhile time.process_time() < 3:\n    pass"
    cells = [nbformat.v4.new_code_cell(source) for source in (busy, "kept[-1]")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "busy.ipynb")
    command = [sys.executable, "-m", "pytest", "-p", "tests.book.budget", "--nbval-lax", "--nbval-current-env"]
    limits = ["--chapter-cpu", "2", "--chapter-mb", "100"]
    done = subprocess.run(
        [*command, *limits, "--rootdir", tmp_path, tmp_path / "busy.ipynb"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stdout
    assert "2 passed" in done.stdout  # the cells themselves are fine
    cpu, mb = map(float, re.search(r"^busy +(\d+) +(\d+) +2$", done.stdout, re.M).groups())
    assert 3 <= cpu < 30 and 150 < mb < 600
    assert "TOO MUCH: busy: chapter-cpu" in done.stdout and "TOO MUCH: busy: chapter-mb" in done.stdout
