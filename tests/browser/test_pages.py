"""Every built page opens cleanly, from a server and from disk, wide and narrow, light and dark, and asks no other host.

Pages are found when the test runs, for the book may be built after pytest has read this file; one that fails is named.
"""

import pytest

# A page that is wider than a phone by less than this does not scroll sideways in a way anyone would notice.
SLACK_PX = 2


@pytest.fixture
def pages(site):
    found = (path.relative_to(site).as_posix() for path in site.glob("book/*.html"))
    return sorted(found) + ["genindex.html", "search.html"]


def complaints(page_opener, pages, **how) -> dict[str, list[str]]:
    opened = {page: page_opener(page, **how) for page in pages}
    return {page: o.problems + o.elsewhere for page, o in opened.items() if o.problems or o.elsewhere}


def test_pages_open_without_an_error_or_a_request_to_another_host(page_opener, pages, offline):
    assert len(pages) > 4
    assert complaints(page_opener, pages) == {}


def test_pages_open_from_disk_too(page_opener, pages, offline):
    pages.remove("search.html")  # it fetches its index, which browsers forbid to a file
    assert complaints(page_opener, pages, disk=True) == {}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_page_scrolls_sideways_on_a_phone(page_opener, pages, dark):
    excess = {}
    for path in pages:
        opened = page_opener(path, width=380, height=800, dark=dark)
        excess[path] = opened.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert {path: px for path, px in excess.items() if px > SLACK_PX} == {}


def test_formulas_are_typeset_by_the_books_own_mathjax(page_opener, offline):
    page = page_opener("book/notation.html").page
    page.wait_for_selector("mjx-container")
    assert page.locator("mjx-merror").count() == 0
    assert page.evaluate("MathJax.version").startswith("3.")


def test_theme_follows_the_reader(page_opener):
    def background(dark):
        page = page_opener("book/index.html", dark=dark).page
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.strip("rgb()").split(",")[:3])

    assert background(dark=True) < 200 < 600 < background(dark=False)
