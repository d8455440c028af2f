"""The book's sources keep their promises: labels, alt texts, citations, exercises, outputs that can be compared."""

import importlib
import importlib.util
import pkgutil
import re
import statistics
import subprocess
import sys
import xml.etree.ElementTree as ET
from html import unescape

import book_pages
import pytest
from book_pages import (
    BOOK,
    ROOT,
    SITE,
    cells,
    images,
    notebooks,
    pages,
    path_of,
    prose,
    tags,
    toc_files,
    without_code,
)
from test_extensions import extension

import dfkd
import dfkd.book.widgets

CHAPTERS = [pytest.param(path, id=path.stem) for path in notebooks()]
PAGES = [pytest.param(path, id=path.stem) for path in pages()]

LONGEST_CELL, MEDIAN_CELL = 25, 6
MOST_WORDS = 4000  # of a chapter's text
LONGEST_LINE = 92  # letters that fit beside the two sidebars of a page 1280 pixels wide
MIN_EXERCISES = 3
WORDS_A_MINUTE, CODE_LINES_A_MINUTE = 200, 12
READING_SLACK = 10  # minutes by which a chapter's own estimate may differ from the count

# ---- what the checks look for ----------------------------------------------------------------------------------------


def unlabelled_equations(text: str) -> list[str]:
    """Display equations without a label, in either of MyST's spellings."""
    dollars = re.findall(r"^\$\$\s*(.+?)\$\$[ \t]*(\([\w:-]+\))?[ \t]*$", text, re.M | re.S)
    fences = re.findall(r"^`{3,}\{math\}\n(.*?)^`{3,}", text, re.M | re.S)
    bare = re.findall(r"^\\begin\{(?:equation|align|gather)\*?\}.*", text, re.M)  # amsmath takes no label here
    return [eq for eq, label in dollars if not label] + [eq for eq in fences if ":label:" not in eq] + bare


def images_without_alt(text: str) -> list[str]:
    """Pictures in Markdown or HTML that say nothing to a reader who cannot see them."""
    markdown = re.findall(r"!\[\s*\]\([^)]*\)", text)
    html = [tag for tag in re.findall(r"<img\b[^>]*>", text) if not re.search(r"""\balt=(["']).*?\w.*?\1""", tag, re.S)]
    fences = re.findall(r"^(?:`{3,}|:{3,})\{(?:figure|image)\}.*?^(?:`{3,}|:{3,})", text, re.M | re.S)
    return markdown + html + [fence for fence in fences if not re.search(r"^:alt:\s*\w", fence, re.M)]


def cited(text: str) -> set[str]:
    """Bibliography keys of MyST's citation roles."""
    return {key.strip() for group in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", text) for key in group.split(",")}


def exercises(text: str) -> set[str]:
    """Labels of a page's exercises."""
    blocks = re.findall(r"^[`:]{3,}\{exercise(?:-start)?\}.*?^:label:\s*(\S+)", text, re.M | re.S)
    return set(blocks)


def terms(text: str) -> list[str]:
    """The entries of the glossary that a page leads to, in its order."""
    roles = re.findall(r"\{term\}`([^`]+)`", text)
    return [" ".join(re.sub(r".*<(.+)>", r"\1", role, flags=re.S).split()) for role in roles]


def solutions(text: str) -> set[str]:
    """Labels of the exercises that a page solves."""
    return set(re.findall(r"^[`:]{3,}\{solution(?:-start)?\}\s*(\S+)", text, re.M))


def solution_code(path) -> dict[str, list[str]]:
    """The code cells between a solution's start and its end, by the exercise's label."""
    code, label = {}, None
    for cell in book_pages.nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and label:
            code[label].append(cell.source)
        elif cell.cell_type == "markdown":
            for kind, name in re.findall(r"^[`:]{3,}\{solution-(start|end)\} *(\S*)", cell.source, re.M):
                assert (kind == "end") == bool(label), f"{label or name}: solutions begin and end in turn"
                label = name or None
                code |= {name: []} if name else {}
    assert label is None, f"{label}: the solution has no end"
    return code


def broken_widgets(html: str) -> list[str]:
    """Widgets without the script that moves or answers, and sliders with nothing to move between."""
    broken = []
    for widget in re.split(r'(?=<div class="dfkd-widget)', html)[1:]:
        moved = re.search(r"</div>\s*<script>(?:(?!</script>).)*addEventListener", widget, re.S)
        frames = dfkd.book.widgets.stored_frames(widget)
        if not moved or "dfkd-slider" in widget[:60] and (not frames or len(frames[0]) < 2):
            broken.append(re.search(r'aria-label="([^"]*)"', widget)[1])
    return broken


def code_length(source: str) -> int:
    """Lines of code, without blank ones."""
    return sum(bool(line.strip()) for line in source.splitlines())


def computing(chapter) -> list:
    """The code cells of a chapter, without its folded questions: those are text to read, and not much of it."""
    return [cell for cell in cells(chapter, "code") if not cell.source.startswith("widgets.questions(")]


def alt_of(cell) -> str:
    """Alt text that a code cell's metadata give its picture."""
    return cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")


def test_the_checks_see_what_they_are_for():
    assert unlabelled_equations("$$\nx\n$$\n\nand\n\n$$\ny\n$$ (eq-y)\n") == ["x\n"]
    assert unlabelled_equations("```{math}\n:label: eq-z\nz\n```\n") == []
    assert unlabelled_equations("```{math}\nz\n```\n") == ["z\n"]
    assert images_without_alt('![a cat](c.png) ![](d.png) <img src="e"> <img alt="a dog" src="f">') == [
        "![](d.png)",
        '<img src="e">',
    ]
    assert images_without_alt("```{figure} a.png\n:name: a\n```\n")
    assert not images_without_alt("```{figure} a.png\n:alt: a cat\n```\n")
    assert cited("{cite:p}`one, two` and {cite}`three`") == {"one", "two", "three"}
    assert exercises("```{exercise} Grey\n:label: ex-grey\n```\n") == {"ex-grey"}
    assert terms("A {term}`teacher`, {term}`its\nstudents <student>` and {term}`model\ninversion`") == [
        "teacher",
        "student",
        "model inversion",
    ]
    exercise, code = "```{exercise}\n:label: a\n```\n\n", "```md\n$$x$$\n```\n"
    nested = ("````{note}\n", "```python\nx\n```\n", "````\n")
    assert without_code(exercise + code + exercise) == 2 * exercise
    assert without_code("".join(nested)) == nested[0] + nested[2]
    assert solutions("````{solution-start} ex-grey\n:class: dropdown\n````\n") == {"ex-grey"}


# ---- every page ------------------------------------------------------------------------------------------------------


def test_contents_lists_files_that_exist_and_every_chapter():
    assert [name for name in toc_files() if not path_of(name)] == []
    assert len(set(toc_files())) == len(toc_files())
    assert [path.name for path in notebooks() if path not in pages()] == []


@pytest.mark.parametrize("page", PAGES)
def test_display_equations_have_labels(page):
    assert unlabelled_equations(prose(page)) == []


@pytest.mark.parametrize("page", PAGES)
def test_pictures_in_prose_have_alt_text(page):
    assert images_without_alt(prose(page)) == []


def test_bibliography_holds_what_pages_cite_and_nothing_else():
    keys = re.findall(r"^@\w+\{([^,\s]+)", (BOOK / "references.bib").read_text(), re.M)
    assert len(set(keys)) == len(keys)
    assert set(keys) == set().union(*(cited(prose(page)) for page in pages()))


def test_glossary_is_in_order_and_without_formulas():
    text = (BOOK / "glossary.md").read_text()
    entries = re.findall(r"^(\w.*)\n  \w", text.partition("```{glossary}")[2], re.M)
    assert entries == sorted(entries, key=str.casefold)
    assert "$" not in text  # its meanings are shown beside links as plain text
    assert set().union(*(terms(prose(chapter)) for chapter in notebooks())) <= set(entries)


# ---- every chapter ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapters_are_read_in_one_sitting(chapter):
    assert sum(len(cell.source.split()) for cell in cells(chapter, "markdown")) <= MOST_WORDS


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_leads_to_the_glossary_once_for_each_term(chapter):
    marked = terms(prose(chapter))
    assert len(marked) > 3
    assert len(set(marked)) == len(marked)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_figures_have_alt_text(chapter):
    draws = [cell for cell in cells(chapter, "code") if images(cell) or "plt.show()" in cell.source]
    assert [cell.source for cell in draws if not re.search(r"\w+ \w+", alt_of(cell))] == []
    stored = [str(o.get("data", {}).get("text/html", "")) for cell in cells(chapter, "code") for o in cell.outputs]
    assert [html[:200] for html in stored if images_without_alt(html)] == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_compared_cells_have_stored_outputs(chapter):
    compared = [cell for cell in cells(chapter, "code") if "nbval-check-output" in tags(cell)]
    assert compared, "no cell's output is compared: tag one that prints a rounded number nbval-check-output"
    assert [cell.source for cell in compared if not cell.outputs] == []
    assert [cell.source for cell in compared if images(cell)] == []  # nbval cannot tell two pictures apart


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_figures_are_stored(chapter):
    """So that a chapter can be read on a host that does not run it; benchmarks' pixels are drawn, never stored."""
    draws = [cell for cell in cells(chapter, "code") if "plt.show()" in cell.source]
    assert [c.source for c in draws if not images(c) and not re.search(r"Set5|Set14|BSD100|Urban100", c.source)] == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_widgets_are_stored_with_what_moves_them(chapter):
    for cell in cells(chapter, "code"):
        stored = "".join(str(output.get("data", {}).get("text/html", "")) for output in cell.outputs)
        assert broken_widgets(stored) == [], cell.source
        assert "dfkd-framed" in stored or "dfkd-slider" not in stored, "stored by an older slider: " + cell.source
        made = re.search(r"\b(slider|before_after|questions)\(", cell.source)
        assert "dfkd-widget" in stored or not made, cell.source


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_only_cells_that_say_so_have_errors_stored(chapter):
    for cell in cells(chapter, "code"):
        errors = [output.ename for output in cell.outputs if output.output_type == "error"]
        assert not errors or "raises-exception" in tags(cell), cell.source
        # nbval lets a cell pass that no longer raises; the stored error must at least be there to be shown.
        assert errors or "raises-exception" not in tags(cell), cell.source


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_cells_are_short(chapter):
    assert max(code_length(cell.source) for cell in cells(chapter, "code")) <= LONGEST_CELL
    assert statistics.median(code_length(cell.source) for cell in computing(chapter)) <= MEDIAN_CELL


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_lines_of_code_fit_a_page(chapter):
    lines = [line for cell in cells(chapter, "code") for line in cell.source.splitlines()]
    assert [line for line in lines if len(line) > LONGEST_LINE] == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_questions_stand_before_the_exercises_and_answer_back(chapter):
    every = book_pages.nbformat.read(chapter, as_version=4).cells
    (place,) = (i for i, cell in enumerate(every) if re.search(r"^## Exercises", cell.source, re.M))
    cell = every[place - 1]
    assert "hide-input" in tags(cell)  # its code holds the answers
    asked = eval(cell.source, {"widgets": dfkd.book.widgets}).asked  # it needs no other cell
    assert len(asked) in (2, 3)
    stored = re.findall(r"<li [^>]*><strong>(.*?)</strong> <span>(.*?)</span>", cell.outputs[0].data["text/html"])
    answers = [answer for choices in asked.values() for answer in choices.items()]
    assert [tuple(map(unescape, pair)) for pair in stored] == answers


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_exercises_have_solutions(chapter):
    text = prose(chapter)
    assert len(exercises(text)) >= MIN_EXERCISES
    assert solutions(text) == exercises(text)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_solutions_assert_something(chapter):
    code = solution_code(chapter)
    assert [label for label, sources in code.items() if not any("assert" in source for source in sources)] == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_asserts_and_cites(chapter):
    assert sum("assert" in cell.source for cell in cells(chapter, "code")) > MIN_EXERCISES
    assert cited(prose(chapter))


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_metadata_is_only_what_a_reader_needs(chapter):
    notebook = book_pages.nbformat.read(chapter, as_version=4)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) <= {"kernelspec", "language_info", "mystnb"}


# ---- numbers of chapters, times --------------------------------------------------------------------------------------


def title(path) -> str:
    """The first heading of a page."""
    return re.search(r"^# (.+)$", prose(path), re.M)[1]


def minutes_to_read(chapter) -> float:
    """From its words and lines of code, those of the solutions included."""
    words = len(re.findall(r"\w[\w'’-]*", prose(chapter)))
    lines = sum(code_length(cell.source) for cell in computing(chapter))
    return words / WORDS_A_MINUTE + lines / CODE_LINES_A_MINUTE


def stated_times(chapter) -> tuple[int, int]:
    """What a chapter's first cell says: minutes to read, seconds to run."""
    text = " ".join(cells(chapter, "markdown")[0].source.split())
    read = re.search(r"\*\*Time:\*\* (\d+) minutes to read", text)
    run = re.search(r"\*\*To run:\*\* about (?:(a|\d+) minutes?|(\d+) seconds)", text)
    assert read and run, "say **Time:** N minutes to read. **To run:** about N seconds (or a minute)"
    return int(read[1]), int(run[2]) if run[2] else 60 * int(run[1].replace("a", "1"))


@pytest.mark.parametrize("page", PAGES)
def test_chapters_and_nothing_else_have_numbers(page):
    number = re.match(r"(\d+)_", page.stem)
    assert re.findall(r"^\d+(?=\. )", title(page)) == ([str(int(number[1]))] if number else [])


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_reading_time_is_what_the_words_take(chapter):
    counted = minutes_to_read(chapter)
    assert abs(stated_times(chapter)[0] - counted) <= READING_SLACK, f"{counted:.0f} minutes by its words and code"


def test_first_page_lists_every_chapter_with_number_and_times():
    row = re.compile(r"^\| \[(\d+)\. .+?\]\((\w+)\) \| .+ \| (\d+) \| (\d+) \|$", re.M)
    rows = row.findall((BOOK / "index.md").read_text())
    listed = {name: (int(number), int(read), int(run)) for number, name, read, run in rows}
    assert listed == {path.stem: (int(path.stem[:2]), *stated_times(path)) for path in notebooks()}


# ---- diagrams and the divider of the first page ----------------------------------------------------------------------

DIAGRAMS = [pytest.param(path, id=path.stem) for path in sorted((BOOK / "images").glob("*.svg"))]
PHONE = 380  # a diagram is drawn for a width that needs no shrinking there, but for the margins


@pytest.mark.parametrize("diagram", DIAGRAMS)
def test_diagrams_are_shown_and_lead_to_pages(diagram):
    hrefs = [link.get("href") for link in ET.parse(diagram).iter("{http://www.w3.org/2000/svg}a")]
    targets = {(diagram.parent / href.partition("#")[0]).resolve() for href in hrefs}
    assert targets
    assert targets <= {page.resolve() for page in pages()}
    assert any(f"(images/{diagram.name})" in prose(page) for page in pages())


@pytest.mark.parametrize("diagram", DIAGRAMS)
def test_diagrams_have_a_title_two_themes_and_letters_for_a_phone(diagram):
    root, text = ET.parse(diagram).getroot(), diagram.read_text()
    assert root.findtext("{http://www.w3.org/2000/svg}title")
    assert 'html[data-theme="dark"] .diagram' in text
    assert "prefers-color-scheme: dark" in text  # where it is a picture, as in Jupyter
    assert float(root.get("viewBox").split()[2]) <= PHONE
    sizes = [root.get("font-size"), *re.findall(r"font-size[:=] ?\"?([\d.]+)(?=px|\")", text)]
    assert min(map(float, sizes)) >= 13


def test_divider_shows_what_the_packaged_student_makes():
    spec = importlib.util.spec_from_file_location("draw_divider", BOOK / "_scripts" / "draw_divider.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = script.pictures()
    labels = " | ".join(f"{name}, {decibels:.2f} dB" for name, (_, decibels) in made.items())
    assert f":labels: {labels}\n" in (BOOK / "index.md").read_text()
    for name, (square, _) in made.items():
        stored = dfkd.pixels.files.read_image(BOOK / "images" / f"patch_{name}.webp")
        assert (stored - square).abs().mean() < 0.02


# ---- code on the first pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["book/index.md", "README.md"])
def test_first_lines_of_code_run(name, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.M | re.S)
    assert blocks
    done = subprocess.run([sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- the built book --------------------------------------------------------------------------------------------------

not_built = pytest.mark.skipif(not (SITE / "objects.inv").exists(), reason="the book is not built; `make book` does it")


def built(test):
    """A test of the built pages, which `make pages` runs."""
    return pytest.mark.pages(not_built(test))



def public_objects() -> set[str]:
    """Functions and classes that public modules define: those in `__all__`, else all without an underscore."""
    found = set()
    for info in pkgutil.walk_packages(dfkd.__path__, prefix="dfkd."):
        if any(part.startswith("_") for part in info.name.split(".")):
            continue
        module = importlib.import_module(info.name)
        names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
        things = {name: getattr(module, name) for name in names}
        found |= {f"{info.name}.{n}" for n, thing in things.items() if is_own(thing, n, info.name)}
    return found


def is_own(thing, name: str, module: str) -> bool:
    """Whether a module defines a function or class itself, under that name."""
    return getattr(thing, "__module__", None) == module and getattr(thing, "__name__", None) == name


@built
def test_api_reference_has_every_public_object():
    from sphinx.util.inventory import InventoryFile

    with (SITE / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, path: path)
    listed = {name for kind, names in inventory.items() if kind.startswith("py:") for name in names}
    assert len(public_objects()) > 10
    assert public_objects() - listed == set()  # an object without a docstring is left out, and so named here


def test_every_public_object_says_what_it_is():
    """The API reference lists what has a docstring, so this is also what no page would mention."""
    listed = extension("package_modules").public_modules("dfkd")
    things = {name: name.rpartition(".") for name in public_objects()}
    assert {name for name, (module, _, _) in things.items() if module not in listed} == set()
    silent = [n for n, (module, _, own) in things.items() if not getattr(importlib.import_module(module), own).__doc__]
    assert silent == []


@built
def test_built_sliders_have_what_moves_them():
    broken = {page.name: broken_widgets(page.read_text()) for page in sorted((SITE / "book").glob("*.html"))}
    assert {name: found for name, found in broken.items() if found} == {}


@built
def test_built_pictures_have_alt_text():
    missing = {}
    for page in sorted((SITE / "book").glob("*.html")):
        article = re.search(r"<article.*?</article>", page.read_text(), re.S)[0]
        alts = re.findall(r"""<img\b[^>]*?\balt="([^"]*)\"""", article)
        # Without alt text of its own, a picture gets its file's name for one.
        bad = images_without_alt(article) + [alt for alt in alts if re.search(r"_images/|\.(png|svg|jpe?g)$", alt)]
        if bad:
            missing[page.name] = bad
    assert missing == {}
