"""The book on paper: one page of all pages, whose names are its own, with nothing left that needs a hand."""

import importlib.util
import re

import pytest
from book_pages import BOOK, toc_files
from bs4 import BeautifulSoup

spec = importlib.util.spec_from_file_location("print_book", BOOK / "_scripts" / "print_book.py")
print_book = importlib.util.module_from_spec(spec)
spec.loader.exec_module(print_book)

PAGE = """<!doctype html><html><head><title>{title}</title><link rel="stylesheet" href="../_static/book.css"></head>
<body><article class="bd-article"><section id="top"><h1>{title}<a class="headerlink" href="#top">#</a></h1>
<!-- the book as a PDF -->
{body}</section></article></body></html>"""
FIRST = """<p>See <a href="second.html">the next page</a>, <a href="second.html#eq">its equation</a>,
<a href="#here">this</a>, <a href="api.html#f">a function</a>, <a href="https://example.org/x.html#y">a site</a>.</p>
<p id="here">here</p><p id="twice">1</p><p id="twice">2</p>
<svg aria-labelledby="here twice"><rect fill="url(#here)"></rect><a href="second.html"></a></svg>"""
SECOND = """<p id="eq">x</p>
<div class="cell tag_hide-cell"><details class="hide above-input"><pre>assert a</pre></details></div>
<div class="cell tag_hide-cell"><details class="hide above-input"><pre>print(b)</pre><div class="cell_output">b</div>
</details></div>
<div class="cell tag_hide-input"><details class="hide above-input"><pre>draw()</pre></details>
<div class="cell_output">c</div></div>
<div class="cell_output"><div class="dfkd-widget"><details><summary>All</summary>7</details><script>move()</script>
</div></div><div class="exercise" id="ex">Show it.</div>
<div class="solution" id="sol"><a href="#ex">to</a> It is so.</div>"""


@pytest.fixture
def site(tmp_path):
    """A built book of two pages."""
    folder = tmp_path / "book"
    folder.mkdir()
    for name, title, body in (("index", "One", FIRST), ("second", "Two", SECOND)):
        (folder / f"{name}.html").write_text(PAGE.format(title=title, body=body))
    return tmp_path


@pytest.fixture
def whole(site):
    """The two pages as one."""
    return BeautifulSoup(print_book.whole_book(site / "book", ["index", "second"]), "html.parser")


def dangling(book) -> list[str]:
    """Links within a page that lead nowhere."""
    names = {tag["id"] for tag in book.find_all(id=True)}
    return [tag["href"] for tag in book.find_all(href=re.compile("^#")) if tag["href"][1:] not in names]


def test_the_pages_are_those_of_the_contents_without_what_belongs_to_the_site():
    names = print_book.contents()
    assert len(names) == len(toc_files()) - len(print_book.LEFT_OUT)
    assert names[:2] == ["index", "01_super_resolution"]


def test_links_between_pages_lead_on_within_the_book(whole):
    leads = {tag.get_text(): tag.get("href") for tag in whole.select("p a")}
    assert leads["the next page"] == "#second--"
    assert leads["its equation"] == "#second--eq"
    assert leads["this"] == "#index--here"
    assert leads["a function"] is None  # not printed
    assert leads["a site"] == "https://example.org/x.html#y"
    assert dangling(whole) == []


def test_names_are_unique_and_followed_by_what_refers_to_them(whole):
    names = [tag["id"] for tag in whole.find_all(id=True)]
    assert len(set(names)) == len(names)
    assert whole.svg["aria-labelledby"] == "index--here index--twice"
    assert whole.rect["fill"] == "url(#index--here)"


def test_folds_are_opened_if_they_show_something_and_left_out_otherwise(whole):
    text = whole.get_text()
    assert "print(b)" in text and "assert a" not in text and "draw()" not in text
    assert all(fold.has_attr("open") for fold in whole.find_all("details"))
    assert [output.get_text(strip=True) for output in whole.select(".cell_output")][:2] == ["b", "c"]
    assert "7" in whole.select_one(".dfkd-widget").get_text()
    assert not whole.find_all("script") and not whole.select(".headerlink")


def test_solutions_stand_at_the_end_under_their_pages_title(whole):
    sections = [section["id"] for section in whole.article.find_all("section", recursive=False)]
    assert sections == ["index--top", "second--top", "solutions"]
    assert [heading.get_text() for heading in whole.select("#solutions > :is(h1, h2)")] == ["Solutions", "Two"]
    assert whole.select_one("#solutions .solution a")["href"] == "#second--ex"


def test_the_first_page_says_once_where_the_pdf_is(site):
    pdf = site / "book.pdf"
    pdf.write_bytes(b"%PDF-1.4 /Type /Pages /Type /Page /Type /Page " + bytes(2_000_000))
    first = site / "book" / "index.html"
    for _ in range(2):
        print_book.link(first, pdf)
    text = first.read_text()
    assert text.count('<a href="../book.pdf">The whole book as a PDF</a> (2 pages, 2 MB)') == 1
    assert "as a PDF</a>" not in print_book.whole_book(site / "book", ["index", "second"])
    (site / "book" / "second.html").write_text("<p>nothing</p>")
    with pytest.raises(SystemExit, match="no place for the link"):
        print_book.link(site / "book" / "second.html", pdf)


def test_the_books_first_page_has_a_place_for_the_link():
    assert print_book.MARK.search((BOOK / "index.md").read_text())


@pytest.mark.parametrize("height, shown", [(100, 450), (900, 136)])
def test_a_sliders_picture_is_as_wide_as_its_names_and_not_too_tall(height, shown):
    slider = BeautifulSoup(
        '<div class="dfkd-slider"><p class="dfkd-names" style="max-width: 450px"><span>a</span></p>'
        f'<div class="dfkd-framed" style="max-width: 450px"><img width="450" height="{height}"></div></div>',
        "html.parser",
    )
    print_book.make_static(slider)
    styles = {slider.select_one(part)["style"] for part in (".dfkd-names", ".dfkd-framed")}
    assert styles == {f"max-width: {shown}px"} and shown * height / 450 <= print_book.TALLEST
