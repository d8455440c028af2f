"""Widgets on a page from disk, without server or kernel: moved by keyboard and pointer, seen to change."""

import pytest
import torch

from dfkd.book.widgets import before_after, questions, slider


def tinted(red, green):
    image = torch.zeros(1, 3, 8, 8)
    image[:, 0], image[:, 1] = red, green
    return image, {"sum": red + green}


ASKED = {
    "Does a low loss on noise make a good student?": {
        "Yes": "Wrong: it says how well the student does on noise.",
        "No": "Right: photographs ask for other things, " + "at length. " * 20,
    },
    "What is the PSNR of an error of 0.1?": {
        "10 dB": "Wrong: that is the error of 0.32.",
        "20 dB": "Right: the squared error is 0.01.",
        "it depends": "Wrong: images lie in [0, 1].",
    },
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A page with two equal sliders, a third of one parameter, two dividers of unequal width, and questions twice."""
    colour = slider(tinted, red=[0, 0.5, 1], green=[0, 1], start=(0.5, 0), alt="A colour", title="Mixing")
    grey = slider(lambda level: torch.full((8, 8), level), level=[0.0, 1.0], alt="A grey")
    divider = before_after(torch.zeros(8, 8), torch.ones(8, 8), alt="A square", labels=("black", "white"))
    narrow = before_after(torch.zeros(300, 300), torch.ones(300, 300), alt="A smaller square")
    asked = questions(ASKED)
    body = "\n".join(widget._repr_html_() for widget in (colour, colour, grey, divider, narrow, asked, asked))
    path = tmp_path_factory.mktemp("page") / "page.html"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Widgets</title>'
    path.write_text(f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>', encoding="utf-8")
    return path


@pytest.fixture
def open_saved(chromium, saved):
    contexts, complaints = [], []

    def open_page(width=1280, javascript=True):
        contexts.append(chromium.new_context(viewport={"width": width, "height": 900}, java_script_enabled=javascript))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: r.url.startswith(("file:", "data:")) or complaints.append(r.url))
        page.goto(saved.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def centre_colour(page, picture):
    """The colour that is really drawn in the middle of a picture."""
    return page.evaluate(
        """async (image) => {
            await image.decode();
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 8;
            const drawing = canvas.getContext("2d");
            drawing.drawImage(image, 0, 0, 8, 8);
            return Array.from(drawing.getImageData(4, 4, 1, 1).data).slice(0, 3);
        }""",
        picture.element_handle(),
    )


def test_arrow_keys_change_picture_value_readings_and_alt_text(open_saved):
    page = open_saved()
    mixing = page.locator(".dfkd-slider").first
    red, green = mixing.locator("input").all()
    picture = mixing.locator("img")
    assert centre_colour(page, picture) == [128, 0, 0]
    page.keyboard.press("Tab")  # the first thing on the page that takes the keyboard is the slider
    page.keyboard.press("ArrowRight")
    assert centre_colour(page, picture) == [255, 0, 0]
    assert red.get_attribute("aria-valuetext") == "1"
    assert mixing.locator("output").inner_text() == "sum 1"
    assert mixing.locator(".dfkd-value").first.inner_text() == "1"
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    assert centre_colour(page, picture) == [255, 255, 0]
    assert green.get_attribute("aria-valuetext") == "1"
    assert picture.get_attribute("alt") == "A colour; red = 1, green = 1, sum 2"
    page.keyboard.press("Home")
    assert centre_colour(page, picture) == [255, 0, 0]


def test_equal_sliders_on_one_page_move_apart(open_saved):
    page = open_saved()
    first, second, third = page.locator(".dfkd-slider").all()
    second.locator("input").first.press("Home")
    third.locator("input").press("End")
    assert centre_colour(page, first.locator("img")) == [128, 0, 0]
    assert centre_colour(page, second.locator("img")) == [0, 0, 0]
    assert centre_colour(page, third.locator("img")) == [255, 255, 255]


def test_running_another_cell_leaves_a_moved_slider_alone(open_saved):
    page = open_saved()
    mixing = page.locator(".dfkd-slider").first
    mixing.locator("input").first.press("End")
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = document.querySelector(".dfkd-slider ~ script").textContent;
            document.body.append(script);
        }"""
    )
    assert centre_colour(page, mixing.locator("img")) == [255, 0, 0]
    mixing.locator("input").first.press("ArrowLeft")
    assert centre_colour(page, mixing.locator("img")) == [128, 0, 0]


def test_the_divider_follows_keyboard_and_pointer(open_saved):
    page = open_saved()
    divider = page.locator(".dfkd-divider").first
    control, stage = divider.locator("input"), divider.locator(".dfkd-stage")
    control.press("ArrowRight")
    assert control.input_value() == "51"
    assert control.get_attribute("aria-valuetext") == "51 % black"
    clip = "e => getComputedStyle(e).clipPath"
    middle = stage.locator(".dfkd-picture").first.evaluate(clip)
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 40)
    page.mouse.up()
    assert control.input_value() == "20"
    assert stage.locator(".dfkd-picture").first.evaluate(clip) != middle
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 40)  # no button is held now
    assert control.input_value() == "20"


def test_each_divider_is_as_wide_as_its_pictures(open_saved):
    page = open_saved()
    for divider, width in zip(page.locator(".dfkd-divider").all(), (480, 300), strict=True):
        assert divider.locator(".dfkd-stage").bounding_box()["width"] == width
        assert divider.locator("img").first.bounding_box()["width"] == width
        assert divider.locator("input").bounding_box()["width"] == width


def test_questions_are_answered_by_keyboard(open_saved):
    page = open_saved()
    asked = page.locator(".dfkd-questions").first
    first, second = asked.get_by_role("group").all()
    assert [group.get_by_role("radio").count() for group in (first, second)] == [2, 3]
    assert "loss on noise" in first.locator("legend").inner_text()
    page.locator(".dfkd-divider input").last.focus()
    page.keyboard.press("Tab")
    assert first.get_by_role("status").inner_text() == ""  # to arrive is not to answer
    page.keyboard.press("Space")
    assert first.get_by_role("status").inner_text() == "Wrong: it says how well the student does on noise."
    page.keyboard.press("ArrowDown")
    assert first.get_by_role("status").inner_text().startswith("Right: photographs")
    assert first.get_by_label("No", exact=True).is_checked()
    assert first.locator("input:focus-visible").evaluate("e => getComputedStyle(e).outlineStyle") != "none"
    page.keyboard.press("Enter")  # submits nothing
    assert first.get_by_label("No", exact=True).is_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowUp")  # from the first choice to the last
    assert second.get_by_role("status").inner_text() == "Wrong: images lie in [0, 1]."
    page.keyboard.press("ArrowUp")
    assert second.get_by_role("status").inner_text() == "Right: the squared error is 0.01."


def test_an_answer_says_right_or_wrong_by_more_than_its_colour(open_saved):
    status = open_saved().locator(".dfkd-questions").first.get_by_role("status").last
    edge = "e => getComputedStyle(e).borderLeftColor"
    seen = {}
    for choice in ("10 dB", "20 dB"):
        status.locator("xpath=..").get_by_label(choice, exact=True).check()
        seen[choice] = (status.inner_text().partition(":")[0], status.evaluate(edge))
    assert [word for word, _ in seen.values()] == ["Wrong", "Right"]
    assert len({colour for _, colour in seen.values()}) == 2


def test_equal_questions_on_one_page_are_answered_apart(open_saved):
    page = open_saved()
    first, second = page.locator(".dfkd-questions").all()
    first.get_by_label("20 dB", exact=True).check()
    second.get_by_label("10 dB", exact=True).check()
    second.get_by_label("Yes", exact=True).check()
    assert first.get_by_label("20 dB", exact=True).is_checked()
    assert [status.inner_text()[:5] for status in first.get_by_role("status").all()] == ["", "Right"]
    assert [status.inner_text()[:5] for status in second.get_by_role("status").all()] == ["Wrong", "Wrong"]
    assert not page.locator(".dfkd-questions details").first.is_visible()


def test_a_narrow_screen_needs_no_sideways_scrolling(open_saved):
    page = open_saved(width=380)
    page.locator(".dfkd-questions").first.get_by_label("No", exact=True).check()
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    assert page.locator(".dfkd-slider input").first.bounding_box()["width"] >= 300


def test_without_scripts_pictures_stay_and_dead_controls_are_hidden(open_saved):
    page = open_saved(javascript=False)
    assert page.locator(".dfkd-slider img").first.is_visible()
    assert page.locator(".dfkd-divider img").nth(0).is_visible()
    assert page.locator(".dfkd-divider img").nth(1).is_visible()
    assert not any(control.is_visible() for control in page.locator("input").all())
    assert page.locator(".dfkd-still").first.is_visible()
    page.locator("summary").first.click()
    assert page.locator("table").first.is_visible()
    asked = page.locator(".dfkd-questions").first
    assert asked.get_by_text("20 dB", exact=True).first.is_visible()
    answer = asked.get_by_text("Right: the squared error is 0.01.")
    assert not answer.is_visible()
    asked.get_by_text("The answers").last.click()
    assert answer.is_visible()
