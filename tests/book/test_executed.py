"""What nbval executed is handed to the book; what failed, or ran in part, is not."""

import subprocess
import sys

import executed
import nbformat
import pytest


@pytest.fixture
def chapter(tmp_path):
    """A notebook of two cells, one of which compares what it prints."""
    cells = [nbformat.v4.new_code_cell("x = 6"), nbformat.v4.new_code_cell("print(7 * x)")]
    cells[1].metadata.tags = ["nbval-check-output"]
    for count, cell in enumerate(cells, start=1):
        cell.execution_count = count
    cells[1].outputs = [nbformat.v4.new_output("stream", name="stdout", text="42\n")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}

    def write(second="print(7 * x)"):
        cells[1].source = second
        nbformat.write(notebook, tmp_path / "chapter.ipynb")
        return tmp_path / "chapter.ipynb"

    return write


RUN = """
import pathlib, sys, executed, pytest
executed.cache_folder = lambda: pathlib.Path(sys.argv[1])
sys.exit(pytest.main(["-q", "-p", "executed", "-p", "no:cacheprovider", "--keep-executed", "--nbval-lax",
                      "--nbval-current-env", *sys.argv[2:]]))
"""


def kept(path, cache, cell=""):
    """The executed notebook in the book's cache, after nbval ran all of it or one cell; None if it is not there."""
    from jupyter_cache import get_cache

    command = [sys.executable, "-c", RUN, str(cache), f"{path}{cell}"]
    subprocess.run(command, cwd=executed.ROOT / "tests" / "book", capture_output=True, check=False)
    notebook = nbformat.read(path, as_version=4)
    try:
        return get_cache(cache).merge_match_into_notebook(notebook)[1]
    except KeyError:
        return None


def test_executed_notebook_is_found_by_the_books_cache(chapter, tmp_path):
    notebook = kept(chapter(), tmp_path / "cache")
    assert [cell.execution_count for cell in notebook.cells] == [1, 2]
    assert notebook.cells[1].outputs[0].text == "42\n"


def test_notebook_whose_output_differs_is_not_kept(chapter, tmp_path):
    assert kept(chapter("print(7 * x + 1)"), tmp_path / "cache") is None


def test_notebook_that_ran_in_part_is_not_kept(chapter, tmp_path):
    assert kept(chapter(), tmp_path / "cache", "::Cell 0") is None
