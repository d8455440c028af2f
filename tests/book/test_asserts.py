"""What `make asserts` does, on a chapter of two cells: the real ones take minutes."""

import sys
from pathlib import Path

import nbformat
from asserts import main


def _chapter(folder: Path, *cells: str) -> Path:
    made = [nbformat.v4.new_code_cell(cell, id=f"c{i}") for i, cell in enumerate(cells)]
    nbformat.write(nbformat.v4.new_notebook(cells=made), folder / "chapter.ipynb")
    return folder / "chapter.ipynb"


def test_assert_that_fails_is_named_with_its_cell(tmp_path, monkeypatch, capsys):
    chapter = _chapter(tmp_path, "import os", "assert os.environ['OMP_NUM_THREADS'] == '1', 'two'")
    before = chapter.read_bytes()
    monkeypatch.setattr(sys, "argv", ["asserts", "--threads", "2", str(chapter)])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert main() == 1 and "chapter.ipynb, cell c1: AssertionError: two" in capsys.readouterr().out
    assert chapter.read_bytes() == before
