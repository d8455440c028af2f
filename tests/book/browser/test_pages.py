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


@pytest.mark.parametrize(
    ("width", "dark"),
    [(width, dark) for width in (380, 485, 1280) for dark in (False, True)],  # on a telephone headings have no links
    ids=[f"{width}-{theme}" for width in (380, 485, 1280) for theme in ("light", "dark")],
)
def test_no_page_scrolls_sideways(page_opener, pages, width, dark):
    excess = {}
    for path in pages:
        opened = page_opener(path, width=width, height=800, dark=dark)
        excess[path] = opened.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        opened.page.close()
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


# ---- terms of the glossary -------------------------------------------------------------------------------------------

WITH_TERMS = "book/03_reconstruction.html"
TEACHES = "The large network that knows. Its weights never change."


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_term_says_what_it_means_on_hover_from_disk(page_opener, dark):
    page = page_opener(WITH_TERMS, disk=True, dark=dark).page
    note = page.get_by_role("tooltip")
    assert note.count() == 0  # none is shown
    page.locator("a.dfkd-term", has_text="teacher").hover()
    assert note.inner_text() == TEACHES
    colours = note.evaluate("e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]")
    assert (brightness(colours[0]) > brightness(colours[1])) == dark
    note.hover()  # it stays while the pointer is on it
    page.wait_for_timeout(400)
    assert note.is_visible()
    page.mouse.move(5, 5)
    note.wait_for(state="hidden")


def brightness(colour: str) -> float:
    return sum(float(part) for part in colour.strip("rgba()").split(",")[:3])


def test_a_term_says_what_it_means_to_a_keyboard(page_opener):
    page = page_opener(WITH_TERMS, disk=True).page
    link = page.locator("a.dfkd-term", has_text="teacher")
    link.focus()
    note = page.get_by_role("tooltip")
    assert note.inner_text() == TEACHES
    assert page.locator(f"#{link.get_attribute('aria-describedby')}").inner_text() == TEACHES
    page.keyboard.press("Escape")
    assert note.count() == 0
    assert link.get_attribute("aria-describedby") is None
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert note.is_visible()
    page.keyboard.press("Enter")
    page.wait_for_url("**/glossary.html#term-teacher")


def test_a_term_says_what_it_means_at_a_touch_and_a_second_one_follows_the_link(chromium, site):
    context = chromium.new_context(viewport={"width": 380, "height": 800}, has_touch=True)
    page = context.new_page()
    page.goto((site / WITH_TERMS).as_uri())
    link = page.locator("a.dfkd-term", has_text="teacher")
    link.tap()
    note = page.get_by_role("tooltip")
    assert note.inner_text() == TEACHES
    box = note.bounding_box()
    assert 0 <= box["x"] and box["x"] + box["width"] <= 380
    assert page.evaluate("document.documentElement.scrollWidth") <= 380 + SLACK_PX
    page.locator(".bd-article h1").tap()  # elsewhere
    assert note.count() == 0
    link.tap()
    link.tap()
    page.wait_for_url("**/glossary.html#term-teacher")
    context.close()


def test_without_scripts_a_terms_meaning_is_its_links_title(page_opener):
    link = page_opener(WITH_TERMS, disk=True, javascript=False).page.locator("a.dfkd-term", has_text="teacher")
    assert link.get_attribute("title") == TEACHES


# ---- the first page's divider, and the diagrams ----------------------------------------------------------------------


def test_the_first_pages_divider_moves_by_keyboard_from_disk(page_opener):
    page = page_opener("book/index.html", disk=True, width=380).page
    divider = page.locator(".dfkd-divider")
    control, before = divider.locator("input"), divider.locator(".dfkd-picture").first
    clip = "e => getComputedStyle(e).clipPath"
    start = before.evaluate(clip)
    control.focus()
    page.keyboard.press("ArrowLeft")
    assert control.input_value() == "49"
    assert "bicubic" in control.get_attribute("aria-valuetext")
    assert before.evaluate(clip) != start
    assert control.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"


def test_the_first_pages_divider_is_two_pictures_without_scripts(page_opener):
    divider = page_opener("book/index.html", disk=True, javascript=False).page.locator(".dfkd-divider")
    first, second = (picture.bounding_box() for picture in divider.locator("img").all())
    assert second["y"] >= first["y"] + first["height"]
    assert not divider.locator("input").is_visible()


DRAWN = ["book/index.html", "book/07_progressive.html", "book/08_whole_algorithm.html"]


@pytest.mark.parametrize("path", DRAWN)
def test_parts_of_a_diagram_lead_to_pages(page_opener, site, path):
    page = page_opener(path).page
    links = page.locator("svg.diagram a")
    targets = {link.get_attribute("href") for link in links.all()}
    assert len(targets) > 2
    for name, _, place in (target.partition("#") for target in targets):
        html = (site / "book" / name if name else site / path).read_text()
        assert not place or f'id="{place}"' in html
    links.first.focus()
    page.keyboard.press("Tab")  # the next one, and now the browser knows that a keyboard is at work
    box = page.locator("svg.diagram a:focus-visible .box")
    assert box.evaluate("e => getComputedStyle(e).strokeWidth") == "4px"
    target = page.locator("svg.diagram a:focus-visible").get_attribute("href")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/book/{target}")


@pytest.mark.parametrize("path", DRAWN)
def test_a_diagram_follows_the_themes_switch(page_opener, path):
    page = page_opener(path).page
    ink = "getComputedStyle(document.querySelector('svg.diagram text')).fill"
    light = page.evaluate(ink)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    assert page.evaluate(ink) != light


@pytest.mark.parametrize("path", DRAWN)
def test_a_diagram_can_be_read_on_a_phone(page_opener, path):
    page = page_opener(path, width=380).page
    drawn = page.locator("svg.diagram")
    zoom = drawn.evaluate("e => e.getBoundingClientRect().width / e.viewBox.baseVal.width")
    assert 13 * zoom >= 11
    assert drawn.evaluate("e => e.scrollWidth <= e.clientWidth")


def test_chapter_numbers_are_in_the_sidebar_and_not_at_the_appendices(page_opener):
    names = page_opener("book/index.html").page.locator(".bd-sidebar-primary .toctree-l1 > a").all_inner_texts()
    numbered = [name for name in names if name[0].isdigit()]
    assert numbered[0].startswith("1. ")
    assert len(numbered) > 8
    assert {"Notation", "Glossary"} <= {name.strip() for name in names}
