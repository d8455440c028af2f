"""Every decimal number in a chapter's prose is shown by a cell, or is in a record that the paragraph names."""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from dfkd.running.records import load_record

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted((ROOT / "book").glob("[01]*.ipynb"))
RECORDS = {path.stem for path in (ROOT / "dfkd" / "records").glob("*.json")}
PUBLISHED = ("paper",)  # figures of others, which may be named with their source
DECIMAL = re.compile(r"(?<![\w.])\d*\.\d+(?![\w]|\.\d)")
# Not figures: formulas, code, where a link leads, parts of a paper.
ELSEWHERE = (
    r"\$\$.*?\$\$", r"\$[^$]*\$", r"`[^`]*`", r"(?<=\])\([^)]*\)", r"[Ss]ections? \d\.\d( and \d\.\d)*",
)  # fmt: skip


def figures(text: str) -> list[str]:
    """The decimal numbers of a text, as they are written."""
    for pattern in ELSEWHERE:
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    return [found.group() for found in DECIMAL.finditer(text)]


def numbers(value: object) -> Iterator[float]:
    """All numbers in a record, those in its texts included."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)
    elif isinstance(value, str):
        yield from map(float, re.findall(r"\d+\.?\d*", value))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield abs(value)


def shown(notebook) -> Iterator[float]:
    """What the chapter's code says or prints. A record that it merely loads shows nothing."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            texts = [cell.source, *(out.get("text", "") for out in cell.outputs)]
            texts += [out.data.get("text/plain", "") for out in cell.outputs if "data" in out]
            for text in texts:
                yield from map(float, re.findall(r"\d*\.?\d+(?:e-?\d+)?", text))


def named(text: str) -> Iterator[float]:
    """What is in the records that a text names; a text that cites authors may quote what they report."""
    for name in RECORDS:
        if f"`{name}`" in text if name not in PUBLISHED else "{cite" in text:
            yield from numbers(load_record(name))


def traced(figure: str, known: list[float]) -> bool:
    """Whether a number is one of the known, rounded as it is written."""
    digits = len(figure.partition(".")[2])
    return any(abs(abs(value) - float(figure)) <= 0.5 * 10**-digits * (1 + 1e-6) for value in known)


def derived(figure: str, cell) -> bool:
    """Whether the cell's metadata say how a number comes about: an expression over records, which is computed here."""
    said = cell.metadata.get("numbers", {}).get(figure)
    return said is not None and traced(figure, [float(eval(said, {"load_record": load_record}))])


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_numbers_in_prose_are_shown_by_a_cell_or_named_with_their_record(path):
    notebook = nbformat.read(path, 4)
    known = list(shown(notebook))
    lost = [
        (cell.id, figure)
        for cell in notebook.cells if cell.cell_type == "markdown"
        for figure in figures(cell.source)
        if not traced(figure, [*known, *named(cell.source)]) and not derived(figure, cell)
    ]  # fmt: skip
    assert lost == []


def test_numbers_from_nowhere_are_found():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 0.25")])
    known = list(shown(notebook))
    assert traced("0.25", known) and traced("0.2", [0.2499]) and not traced("0.26", known)
    assert figures("3.5 dB, $0.1$, `0.2`, [a](b/0.3), section 3.2 and .096") == ["3.5", ".096"]
    cell = nbformat.v4.new_markdown_cell("0.5", metadata={"numbers": {"0.5": "1 / 2", "0.6": "1 / 2"}})
    assert derived("0.5", cell) and not derived("0.6", cell) and not derived("0.7", cell)
