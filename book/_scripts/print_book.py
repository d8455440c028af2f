"""Print the built book as one PDF, and link it from the first page. Needs `make book` before, and a Chromium.

    python book/_scripts/print_book.py [_build/html]

The pages follow the order of the contents. On paper nothing moves and nothing unfolds: sliders show where they start,
with their values as a table; folded cells are opened if they show something and left out if they only check; solutions
stand at the end. The API reference and the table of execution times stay on the site, where one can search them.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from pathlib import Path

import yaml
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[2]
NAME = "super-resolution-without-data.pdf"
LEFT_OUT = ("api", "status")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TALLEST = 272  # of a slider's picture, in CSS pixels: 72 mm, so that its table fits on the page as well
FOOTER = '<div style="width: 100%; font-size: 8px; text-align: center"><span class="pageNumber"></span></div>'
ABOUT = (
    "The whole book, printed from its pages. On the page sliders move, questions answer and words explain themselves; "
    "here sliders show where they start, with their values below. Cells that only check are left out, and solutions "
    "stand at the end."
)
MARK = re.compile(r"<!-- the book as a PDF -->(?:<p class=\"dfkd-pdf\">.*?</p>)?")


def contents(root: Path = ROOT) -> list[str]:
    """Names of the printed pages in their order, without folder."""
    toc = yaml.safe_load((root / "_toc.yml").read_text())
    names = [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]
    return [name for name in (Path(name).name for name in names) if name not in LEFT_OUT]


def whole_book(folder: Path, names: list[str]) -> str:
    """The pages in `folder` as one page that can lie beside them."""
    pages = {name: BeautifulSoup((folder / f"{name}.html").read_text(), "html.parser") for name in names}
    first = pages[names[0]]
    book = BeautifulSoup('<article class="bd-article"></article>', "html.parser")
    solutions = book.new_tag("section", id="solutions")
    solutions.append(_tag(book, "h1", "Solutions"))
    for name, page in pages.items():
        section = page.select_one("article.bd-article > section")
        make_static(section)
        own_names(section, name, set(names))
        set_apart(book, section, solutions)
        book.article.append(section)
    if solutions.select_one(".solution"):
        book.article.append(solutions)
    book.h1.insert_after(_tag(book, "p", ABOUT, **{"class": "dfkd-about"}))
    styles = "".join(str(link) for link in first.head.select('link[rel="stylesheet"]'))
    return (
        f'<!doctype html><html lang="en" data-theme="light" data-mode="light"><head><meta charset="utf-8">'
        f"<title>{book.h1.get_text()}</title>{styles}"
        f'<link rel="stylesheet" href="../_static/print.css">{mathjax(pages.values())}</head>'
        f'<body><main class="bd-main"><div class="bd-content"><div class="bd-article-container">{book}'
        f"</div></div></main></body></html>"
    )


def make_static(section: Tag) -> None:
    """What needs a hand or a script goes; what was folded is opened, or goes if it holds no output."""
    for gone in section.select("script, .headerlink, .viewcode-link, .dfkd-pdf, .dfkd-wrong, .dfkd-upscaler"):
        gone.decompose()
    for cell in section.select("div.tag_hide-cell"):
        if not cell.select_one(".cell_output"):
            cell.decompose()
    for fold in section.select("details"):
        if "hide" in fold.get("class", []) and not fold.select_one(".cell_output"):
            fold.decompose()  # the code of a picture, of questions
        else:
            fold["open"] = ""
    for picture in section.select(".dfkd-slider .dfkd-framed > img"):
        fit(picture)


def fit(picture: Tag) -> None:
    """Make a slider's picture, with what is framed in it and the names above it, as low as paper allows."""
    width, height = float(picture["width"]), float(picture["height"])
    slider = picture.find_parent(class_="dfkd-slider")
    for part in (picture.parent, *slider.select(".dfkd-names")):
        part["style"] = f"max-width: {min(width, TALLEST * width / height):.0f}px"


def own_names(section: Tag, name: str, printed: set[str]) -> None:
    """Make names on a page unique in the book, and let links between pages lead to them."""
    seen = set()
    for tag in [section, *section.find_all(True)]:
        if tag.get("id") in seen:
            del tag["id"]  # sphinx-exercise gives all its blocks one
        seen.add(tag.get("id"))
        for key, value in list(tag.attrs.items()):
            if key in ("id", "for", "aria-labelledby", "aria-describedby"):
                tag[key] = " ".join(f"{name}--{word}" for word in str(value).split())
            elif isinstance(value, str) and "url(#" in value:
                tag[key] = value.replace("url(#", f"url(#{name}--")
            elif key in ("href", "xlink:href"):
                lead_on(tag, key, name, printed)
    section.insert(0, BeautifulSoup(f'<a id="{name}--"></a>', "html.parser"))  # where a link to the page leads


def lead_on(tag: Tag, key: str, name: str, printed: set[str]) -> None:
    """Turn a link to a printed page into one within the book; a link to what is not printed becomes its text."""
    target, _, anchor = tag[key].partition("#")
    page = Path(target).stem if target.endswith(".html") else name
    if re.match(r"[a-z]+:", tag[key]) or (not target and not anchor):
        return
    if page in printed and (not target or target.endswith(".html")):
        tag[key] = f"#{page}--{anchor}"
    elif tag.name == "a":
        del tag[key]


def set_apart(book: BeautifulSoup, section: Tag, solutions: Tag) -> None:
    """Move a page's solutions to the end, under the page's title."""
    found = section.select("div.solution")
    if found:
        solutions.append(_tag(book, "h2", section.h1.get_text()))
    for solution in found:
        solutions.append(solution.extract())


def mathjax(pages) -> str:
    """The scripts that typeset formulas, from a page that has some."""
    for page in pages:
        scripts = page.select("script")
        kept = [s for s in scripts if "mathjax/" in s.get("src", "") or "window.MathJax" in (s.string or "")]
        if kept:
            return "".join(str(script) for script in kept)
    return ""


def _tag(book: BeautifulSoup, kind: str, text: str, **attributes) -> Tag:
    tag = book.new_tag(kind, attrs=attributes)
    tag.string = text
    return tag


def print_page(page: Path, pdf: Path, chromium: Browser) -> None:
    """Let a Chromium typeset a page's formulas and print it."""
    tab = chromium.new_page()
    tab.set_default_timeout(300_000)
    tab.goto(page.as_uri(), wait_until="load")
    tab.evaluate("() => window.MathJax?.startup?.promise")
    tab.pdf(
        path=pdf, format="A4", print_background=True, prefer_css_page_size=True, outline=True, tagged=True,
        display_header_footer=True, header_template="<span></span>", footer_template=FOOTER,
    )  # fmt: skip
    tab.close()


def pages_of(pdf: Path) -> int:
    """How many pages a PDF has that Chromium printed."""
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf.read_bytes()))


def link(first: Path, pdf: Path) -> None:
    """Say on the first page where the PDF is and how large; a second time, say it anew."""
    size = f"{pages_of(pdf)} pages, {pdf.stat().st_size / 1e6:.0f} MB"
    said = f'<p class="dfkd-pdf"><a href="../{pdf.name}">The whole book as a PDF</a> ({size})</p>'
    text, found = MARK.subn(f"<!-- the book as a PDF -->{said}", first.read_text())
    if not found:
        sys.exit(f"{first} has no place for the link to the PDF")
    first.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", nargs="?", type=Path, default=ROOT / "_build" / "html", help="the built book")
    site = parser.parse_args().site.resolve()
    browser = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        sys.exit(f"no Chromium found: none of {', '.join(BROWSERS)} is on the path, and CHROMIUM is not set")
    if not (site / "book" / "index.html").exists():
        sys.exit(f"no book in {site}: run `make book` first")
    page = site / "book" / "whole_book.html"
    try:
        page.write_text(whole_book(site / "book", contents()))
        with sync_playwright() as driver:
            chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
            print_page(page, site / NAME, chromium)
            chromium.close()
    finally:
        page.unlink(missing_ok=True)
    link(site / "book" / "index.html", site / NAME)
    print(f"{site / NAME}: {pages_of(site / NAME)} pages")


if __name__ == "__main__":
    main()
