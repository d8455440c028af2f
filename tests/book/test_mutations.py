"""The checks of `test_book.py` can fail: each is shown a spoilt chapter and has to say what is wrong and where.

What only a run can find (a wrong number, a wrong solution) is shown to nbval, with the options of `make chapters`.
"""

import re
import shlex
import subprocess
import sys

import nbformat
import pytest
import test_book
from book_pages import BOOK, ROOT, images, notebooks, tags

CHAPTER = BOOK / "03_reconstruction.ipynb"


class Spoilt:
    """A chapter's copy, to be changed."""

    def __init__(self, folder):
        self.path = folder / CHAPTER.name
        self.notebook = nbformat.read(CHAPTER, as_version=4)

    def first(self, kind: str, wanted):
        """The first cell of a kind for which `wanted` holds."""
        return next(cell for cell in self.notebook.cells if cell.cell_type == kind and wanted(cell))

    def replace(self, pattern: str, by: str) -> None:
        """Change the first place in the prose where a pattern occurs."""
        cell = self.first("markdown", lambda cell: re.search(pattern, cell.source, re.M | re.S))
        cell.source = re.sub(pattern, by, cell.source, count=1, flags=re.M | re.S)

    def saved(self):
        nbformat.write(self.notebook, self.path)
        return self.path


@pytest.fixture
def spoilt(tmp_path):
    return Spoilt(tmp_path)


def complaint(check, path) -> str:
    """What a check of the book says about a file it must not accept."""
    with pytest.raises(AssertionError) as error:
        check(path)
    return str(error.value)


def opening(cell) -> str:
    """By which a complaint names a cell; the rest may be cut off."""
    return cell.source.splitlines()[0][:30]


def is_compared(cell) -> bool:
    return "nbval-check-output" in tags(cell)


def has_widget(cell) -> bool:
    return "dfkd-widget" in str(cell.outputs)


# ---- outputs ---------------------------------------------------------------------------------------------------------


def test_stripped_numbers(spoilt):
    cell = spoilt.first("code", is_compared)
    cell.outputs = []
    assert opening(cell) in complaint(test_book.test_compared_cells_have_stored_outputs, spoilt.saved())


def test_stripped_figure(spoilt):
    cell = spoilt.first("code", images)
    cell.outputs = []
    assert opening(cell) in complaint(test_book.test_figures_are_stored, spoilt.saved())


def test_stripped_widget(spoilt):
    cell = spoilt.first("code", has_widget)
    cell.outputs = []
    assert opening(cell) in complaint(test_book.test_widgets_are_stored_with_what_moves_them, spoilt.saved())


@pytest.mark.parametrize("part", [r"<script>.*?</script>", r'<script type="application/json">.*?</script>'])
def test_widget_without_a_script(spoilt, part):
    cell = spoilt.first("code", has_widget)
    (output,) = cell.outputs
    output.data["text/html"] = re.sub(part, "", output.data["text/html"], flags=re.S)
    assert opening(cell) in complaint(test_book.test_widgets_are_stored_with_what_moves_them, spoilt.saved())


def test_widget_without_a_script_on_a_built_page(spoilt, tmp_path, monkeypatch):
    html = spoilt.first("code", has_widget).outputs[0].data["text/html"]
    (tmp_path / "book").mkdir()
    monkeypatch.setattr(test_book, "SITE", tmp_path)
    (tmp_path / "book" / "03.html").write_text(f"<article>{html}</article><script>addEventListener(x)</script>")
    test_book.test_built_sliders_have_what_moves_them()
    dead = re.sub(r"<script>.*?</script>", "", html, flags=re.S)
    (tmp_path / "book" / "03.html").write_text(f"<article>{dead}</article><script>addEventListener(x)</script>")
    with pytest.raises(AssertionError, match=r"03\.html"):
        test_book.test_built_sliders_have_what_moves_them()


def test_stored_error(spoilt):
    cell = spoilt.first("code", is_compared)
    cell.outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="", traceback=[])]
    assert opening(cell) in complaint(test_book.test_only_cells_that_say_so_have_errors_stored, spoilt.saved())


def test_error_that_is_not_there(spoilt):
    cell = spoilt.first("code", is_compared)
    cell.metadata.tags = ["raises-exception"]
    assert opening(cell) in complaint(test_book.test_only_cells_that_say_so_have_errors_stored, spoilt.saved())


# ---- pictures in words -----------------------------------------------------------------------------------------------


def test_dropped_alt_text(spoilt):
    cell = spoilt.first("code", images)
    del cell.metadata["mystnb"]
    assert opening(cell) in complaint(test_book.test_figures_have_alt_text, spoilt.saved())


def test_dropped_alt_text_of_a_widget(spoilt):
    (output,) = spoilt.first("code", has_widget).outputs
    output.data["text/html"] = re.sub(r'\balt="[^"]*"', "", output.data["text/html"])
    assert "dfkd-" in complaint(test_book.test_figures_have_alt_text, spoilt.saved())


def test_dropped_alt_text_in_prose(spoilt):
    spoilt.replace(r"\A", "![](images/before_after.jpg)\n\n")
    assert "![](images/before_after.jpg)" in complaint(test_book.test_pictures_in_prose_have_alt_text, spoilt.saved())


# ---- prose -----------------------------------------------------------------------------------------------------------


def test_unlabelled_equation(spoilt):
    spoilt.replace(r"^\$\$ \(eq-[\w-]+\)", "$$")
    assert r"\\mathcal" in complaint(test_book.test_display_equations_have_labels, spoilt.saved())


@pytest.mark.parametrize("what", ["uncited", "unknown"])
def test_bibliography_and_citations_that_differ(what, tmp_path, monkeypatch):
    entries = (BOOK / "references.bib").read_text()
    uncited, unknown = entries + "\n@misc{nobody2000,\n}\n", entries.replace("{keys1981cubic,", "{keys,")
    (tmp_path / "references.bib").write_text(uncited if what == "uncited" else unknown)
    monkeypatch.setattr(test_book, "BOOK", tmp_path)
    with pytest.raises(AssertionError, match="nobody2000" if what == "uncited" else "keys1981cubic"):
        test_book.test_bibliography_holds_what_pages_cite_and_nothing_else()


def test_exercise_without_a_solution(spoilt):
    spoilt.replace(r"\{solution-start\} \S+", "{note}")
    assert "ex-" in complaint(test_book.test_exercises_have_solutions, spoilt.saved())


def test_solution_without_an_end(spoilt):
    spoilt.replace(r"\{solution-end\}", "{note}")
    assert "ex-" in complaint(test_book.test_solutions_assert_something, spoilt.saved())


def test_solution_that_asserts_nothing(spoilt):
    start = next(i for i, cell in enumerate(spoilt.notebook.cells) if "{solution-start}" in cell.source)
    for cell in spoilt.notebook.cells[start : start + 3]:
        cell.source = cell.source.replace("assert", "print") if cell.cell_type == "code" else cell.source
    assert "ex-" in complaint(test_book.test_solutions_assert_something, spoilt.saved())


def test_long_cell(spoilt):
    spoilt.first("code", is_compared).source += "\nx = 1" * test_book.LONGEST_CELL
    assert f"<= {test_book.LONGEST_CELL}" in complaint(test_book.test_cells_are_short, spoilt.saved())


def test_metadata_of_an_editor(spoilt):
    spoilt.notebook.metadata["vscode"] = {}
    assert "vscode" in complaint(test_book.test_metadata_is_only_what_a_reader_needs, spoilt.saved())


def test_public_function_that_no_page_mentions(monkeypatch):
    import dfkd.method.losses

    def silent_loss():
        return 0.0

    silent_loss.__module__ = "dfkd.method.losses"
    monkeypatch.setattr(dfkd.method.losses, "silent_loss", silent_loss, raising=False)
    with pytest.raises(AssertionError, match=r"dfkd\.method\.losses\.silent_loss"):
        test_book.test_every_public_object_says_what_it_is()


def test_the_chapter_itself_is_accepted(spoilt):
    """Else what fails above might not be what was changed."""
    assert CHAPTER in notebooks()
    path = spoilt.saved()
    for name, check in vars(test_book).items():
        if any(mark.name == "parametrize" and mark.args[0] in ("chapter", "page") for mark in marks(check)):
            assert check(path) is None, name


def marks(check) -> list:
    return getattr(check, "pytestmark", [])


# ---- what a run finds ------------------------------------------------------------------------------------------------


def options() -> list[str]:
    """How `make chapters` calls pytest."""
    recipe = re.search(r"^chapters:.*?-m pytest (.*?)\$\(CHAPTERS\)", (ROOT / "Makefile").read_text(), re.M | re.S)[1]
    return shlex.split(recipe.replace("\\\n", " "))


def printing(code: str, stored: str, *tags: str):
    output = nbformat.v4.new_output("stream", name="stdout", text=f"{stored}\n")
    return nbformat.v4.new_code_cell(code, execution_count=1, outputs=[output], metadata={"tags": list(tags)})


@pytest.mark.slow
def test_nbval_finds_a_changed_number_and_a_wrong_solution(tmp_path):
    cells = [
        printing("print('27.31 dB in 12 s')", "27.31 dB in 3 s", "nbval-check-output"),  # only the duration differs
        printing("print('27.31 dB')", "27.32 dB", "nbval-check-output"),
        printing("print('| dfsr | 31.0 |')", "| dfsr | 31.1 |", "nbval-check-output"),
        nbformat.v4.new_code_cell("assert abs(27.31 - 27.5) < 0.1, 'not the solution'"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "spoilt.ipynb")
    command = [sys.executable, "-m", "pytest", *options(), "-rA", "--rootdir", tmp_path, tmp_path / "spoilt.ipynb"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    assert re.findall(r"^(PASSED|FAILED) \S*::(Cell \d)", said, re.M) == [
        ("PASSED", "Cell 0"), ("FAILED", "Cell 1"), ("FAILED", "Cell 2"), ("FAILED", "Cell 3"),
    ]  # fmt: skip
    assert "27.32" in said and "31.1" in said and "not the solution" in said
