"""Sliders, dividers and questions: what their HTML carries, what they refuse, and that a changed result is noticed."""

import json
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from dfkd.book.widgets import WidgetError, before_after, questions, slider, stored_frames


def grey(level):
    """A flat 8x8 image and its level."""
    return torch.full((1, 1, 8, 8), float(level)), {"level": level}


def tinted(red, green):
    image = torch.zeros(1, 3, 8, 8)
    image[:, 0], image[:, 1] = red, green
    return image, {"sum": red + green}


LEVELS = [0, 0.25, 0.5, 1]


@pytest.fixture
def greys():
    return slider(grey, level=LEVELS, start=0.5, alt="A flat grey square", title="Levels")


ASKED = {
    "Does a low loss on noise make a good student?": {
        "Yes": "Wrong: it says how well the student does on noise.",
        "No": "Right: photographs ask for other things.",
    },
    "What is the PSNR of an error of 0.1?": {
        "10 dB": "Wrong: that is the error of 0.32.",
        "20 dB": "Right: the squared error is 0.01.",
        "it depends": "Wrong: images lie in [0, 1].",
    },
}


class Page(HTMLParser):
    """Elements by name, each as its attributes, and the text inside scripts and elsewhere."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.scripts, self.text, self._open = {}, [], "", None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.setdefault(tag, []).append(dict(attrs))
        self._open = tag

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open == "script":
            self.scripts.append(data)
        elif self._open != "style":
            self.text += data

    def has_class(self, tag, name):
        return any(name in element.get("class", "") for element in self.elements.get(tag, []))


def test_one_labelled_input_a_parameter_with_its_value_in_words(greys):
    (control,) = Page(greys._repr_html_()).elements["input"]
    assert (control["type"], control["min"], control["max"], control["value"]) == ("range", "0", "3", "2")
    assert (control["aria-label"], control["aria-valuetext"]) == ("level", "0.5")
    two = slider(tinted, red=[0, 1], green=[0, 1], alt="A colour", labels={"red": "R & <more>"})
    assert [c["aria-label"] for c in Page(two._repr_html_()).elements["input"]] == ["R & <more>", "green"]


def test_without_scripts_there_is_a_still_picture_its_readings_and_a_table(greys):
    page = Page(greys._repr_html_())
    (picture,) = page.elements["img"]
    assert picture["src"].startswith("data:image/webp;base64,")
    assert picture["alt"] == "A flat grey square; level = 0.5, level 0.5"
    assert "Still picture at level = 0.5" in page.text
    assert len(page.elements["tr"]) == 1 + len(LEVELS)
    (controls,) = [e for e in page.elements["div"] if e.get("class") == "dfkd-controls"]
    assert "hidden" in controls  # a slider that cannot move is not shown
    assert "aria-live" in page.elements["output"][0]


def test_nothing_is_asked_of_another_host_and_no_id_can_clash(greys):
    for widget in (greys, before_after(grey(0)[0], grey(1)[0], alt="Two squares"), questions(ASKED)):
        page = Page(widget._repr_html_())
        addresses = [e.get("src") or e.get("href") for es in page.elements.values() for e in es]
        assert all(address.startswith("data:") for address in addresses if address)
        assert not any("id" in element for elements in page.elements.values() for element in elements)
        html = widget._repr_html_()
        assert "http" not in html
        assert "url(" not in html
        assert "import" not in html.replace("!important", "")


def test_frames_are_distinct_and_stored_in_the_order_the_script_looks_them_up():
    red, green = [0, 0.5, 1], [0, 1]
    two = slider(tinted, red=red, green=green, start=(0.5, 1), alt="A colour")
    assert list(two.frames) == [(r, g) for r in red for g in green]
    data = json.loads(Page(two._repr_html_()).scripts[0])
    sources = [frame["src"] for frame in data["frames"]]
    assert [i for i, source in enumerate(sources) if source is None] == [data["start"]] == [3]
    assert len(set(sources)) == 6
    assert [frame["readings"] for frame in data["frames"]][5] == [["sum", "2"]]
    (stored,) = stored_frames(two._repr_html_())
    assert stored[(0.5, 1)].pixels[0, 0].tolist() == [
        128,
        255,
        0,
    ]  # the still picture, not repeated in the data
    assert stored[(1, 0)].pixels[0, 0].tolist() == [255, 0, 0]


def test_text_is_the_same_each_time_and_holds_every_reading(greys):
    again = slider(grey, level=LEVELS, start=0.5, alt="A flat grey square", title="Levels")
    assert repr(again) == repr(greys)
    assert again._repr_html_() == greys._repr_html_()
    assert repr(greys).splitlines() == [
        "Slider 'Levels' over level = 0, 0.25, 0.5, 1",
        "  level = 0: level 0",
        "  level = 0.25: level 0.25",
        "  level = 0.5: level 0.5",
        "  level = 1: level 1",
    ]


def test_texts_cannot_break_out_of_the_page():
    evil = "</script><b onclick='x'>&\""
    page = Page(
        slider(lambda kind: (np.zeros((4, 4)), {evil: kind}), kind=[evil, "b"], alt=evil, title=evil)._repr_html_()
    )
    assert "b" not in page.elements
    assert json.loads(page.scripts[0])["alt"] == evil
    assert page.elements["img"][0]["alt"].startswith(evil)


@pytest.mark.parametrize(
    "picture",
    [
        np.full((6, 8), 0.2),
        np.full((6, 8, 3), 0.2),
        np.full((6, 8), 51, dtype=np.uint8),
        torch.full((3, 6, 8), 0.2),
        torch.full((1, 1, 6, 8), 0.2, requires_grad=True),
    ],
)
def test_every_usual_layout_of_an_image_is_taken(picture):
    frame = slider(lambda n: picture, n=[1, 2], alt="Dark").frames[(1,)]
    assert frame.pixels.shape[:2] == (6, 8)
    assert (frame.pixels == 51).all()


def test_a_matplotlib_figure_is_drawn_at_its_size_and_closed():
    plt = pytest.importorskip("matplotlib.pyplot")

    def plot(slope):
        figure, ax = plt.subplots(figsize=(3, 2), dpi=100)
        ax.plot([0, slope])
        return figure

    lines = slider(plot, slope=[1, -1], alt="A line")
    assert lines.frames[(1,)].pixels.shape == (200, 300, 3)
    assert not np.array_equal(lines.frames[(1,)].pixels, lines.frames[(-1,)].pixels)
    assert plt.get_fignums() == []
    assert Page(lines._repr_html_()).elements["img"][0]["width"] == "300"
    lines.check(-1)


def test_panels_stand_side_by_side_in_frames_with_nothing_between_them_and_their_names_above():
    def two(level):
        return {"an <image>": torch.zeros(1, 1, 80, 60), "its answer": torch.full((1, 1, 80, 60), level)}

    demo = slider(two, level=[0.0, 1.0], alt="Two squares")
    pixels = demo.frames[(1.0,)].pixels
    assert pixels.shape == (80, 60 + 2 + 60, 4)  # two pixels, enlarged by three
    left, gap, right = pixels[:, :60], pixels[:, 60:62], pixels[:, 62:]
    assert (left[..., :3] == 0).all() and (right == 255).all() and (left[..., 3] == 255).all() and (gap == 0).all()
    page = demo._repr_html_()
    names = page[page.index('<div class="dfkd-names"') : page.index("<img")]
    assert "<span>an &lt;image&gt;</span><span>its answer</span>" in names
    assert [line["style"] for line in Page(page).elements["i"]] == [
        "left: 0.00%; width: 49.18%",
        "left: 50.82%; width: 49.18%",
    ]
    demo.check(1.0)
    demo.check(1.0, against=stored_frames(page)[0])
    with pytest.raises(AssertionError, match="picture differs"):
        demo.check(1.0, against={(1.0,): stored_frames(page)[0][(0.0,)]})


def test_one_picture_alone_has_neither_names_nor_frames(greys):
    page = greys._repr_html_()
    assert "i" not in Page(page).elements and '<div class="dfkd-names"' not in page


def test_panels_are_of_one_size_and_keep_their_names():
    with pytest.raises(WidgetError, match=r"panels are two pictures or more of one .*\(4, 4\), \(4, 5\)"):
        slider(lambda n: {"a": np.zeros((4, 4)), "b": np.zeros((4, 5))}, n=[1, 2], alt="x")
    with pytest.raises(WidgetError, match="two pictures or more"):
        slider(lambda n: {"a": np.zeros((4, 4))}, n=[1, 2], alt="x")
    with pytest.raises(WidgetError, match="keep their names"):
        slider(lambda n: {"a": np.zeros((4, 4)), str(n): np.zeros((4, 4))}, n=[1, 2], alt="x")


def test_check_notices_a_changed_reading_and_a_changed_picture():
    offset = {"reading": 0.0, "picture": 0.0}

    def shown(level):
        image, _ = grey(level + offset["picture"])
        return image, {"level": level + offset["reading"], "kind": "flat", "opaque": True}

    demo = slider(shown, level=[0.2, 0.4], alt="A square", title="Levels")
    demo.check(0.4)
    offset["reading"] = 0.001
    with pytest.raises(AssertionError, match=r"slider 'Levels' at level = 0\.4: level was 0\.4, is now 0\.401"):
        demo.check(0.4)
    demo.check(0.4, tolerance=0.01)
    offset["reading"] = 0.0
    demo.check(0.4, against=stored_frames(demo._repr_html_())[0])
    offset.update(reading=0.0, picture=50 / 255)
    with pytest.raises(AssertionError, match="picture differs by up to 50 of 255"):
        demo.check(0.4)
    with pytest.raises(WidgetError, match="not a point of the grid"):
        demo.check(0.7)


def test_check_against_what_a_notebook_stored_even_if_it_was_compressed():
    texture = torch.rand(3, 300, 400, generator=torch.Generator().manual_seed(0))
    texture = torch.nn.functional.avg_pool2d(texture, 7, 1, 3)

    def shown(shift):
        return texture.roll(shift, -1), {"shift": shift}

    demo = slider(shown, shift=[0, 1, 2, 3], alt="Texture")
    (stored,) = stored_frames(f"<p>before</p>{demo._repr_html_()}<p>after</p>")
    assert not np.array_equal(stored[(2,)].pixels, demo.frames[(2,)].pixels)  # too large to stay lossless
    demo.check(2, against=stored)
    with pytest.raises(AssertionError, match="shift was 3, is now 2"):
        demo.check(2, against={(2,): stored[(3,)]})
    brighter = slider(lambda shift: ((texture + 0.2).clamp(0, 1), {"shift": shift}), shift=[0, 1, 2, 3], alt="Texture")
    with pytest.raises(AssertionError, match="picture differs"):
        brighter.check(2, against=stored)
    with pytest.raises(AssertionError, match="no such point"):
        demo.check(2, against={})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(level=LEVELS, alt=" "), "say in alt="),
        (dict(alt="x"), "one or two parameters"),
        (dict(a=[1, 2], b=[1, 2], c=[1, 2], alt="x"), "one or two parameters"),
        (dict(level=[], alt="x"), "at least two values"),
        (dict(level=[1, 1], alt="x"), "each once"),
        (dict(level=0.5, alt="x"), r"level=\[\.\.\.\]"),
        (dict(level=[0, float("inf")], alt="x"), "finite numbers"),
        (dict(level=[0, 1], start=0.5, alt="x"), "not a point of the grid"),
        (dict(level=[0, 1], start=(0, 1), alt="x"), "not a point of the grid"),
        (dict(level=[0, 1], labels={"lvl": "Level"}, alt="x"), "labels= names"),
        (dict(level=np.linspace(0, 1, 65), alt="x"), "65 pictures are more than the 64"),
    ],
)
def test_misuse_is_refused_before_anything_is_computed(arguments, message):
    def never(**values):
        raise RuntimeError("computed")

    with pytest.raises(WidgetError, match=message):
        slider(never, **arguments)


def test_alt_text_cannot_be_forgotten():
    with pytest.raises(TypeError, match="alt"):
        slider(grey, level=LEVELS)
    with pytest.raises(TypeError, match="alt"):
        before_after(grey(0)[0], grey(1)[0])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda n: None, "return figure"),
        (lambda n: np.full((4, 4), 128.0), "Divide by 255"),
        (lambda n: np.full((4, 4), np.nan), "NaN"),
        (lambda n: np.zeros((2, 4, 4, 3)), "shape"),
        (lambda n: (np.zeros((4, 4)), 31.2), "readings are a dict"),
        (lambda n: np.zeros((4, 4 + n)), "one \\(height, width\\)"),
        (lambda n: np.random.default_rng(n).random((600, 800, 3)), "smaller crop"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_remedy(function, message):
    with pytest.raises(WidgetError, match=message):
        slider(function, n=[0, 1], alt="x")


def test_live_controls_follow_the_grid_and_training_waits_for_a_click(greys):
    ipywidgets = pytest.importorskip("ipywidgets")
    (control, output) = greys.live().children
    assert isinstance(control, ipywidgets.FloatSlider)
    assert (control.min, control.max, control.value) == (0, 1, 0.5)
    assert isinstance(output, ipywidgets.Output)

    calls = []

    def count(weight, kind):
        calls.append((weight, kind))
        return np.zeros((4, 4))

    demo = slider(count, weight=[0.01, 0.1, 10.0], kind=["a", "b"], start=(0.1, "b"), alt="Black")
    calls.clear()
    live = demo.live(run=True)
    weight, kind, button, _ = live.children
    assert isinstance(weight, ipywidgets.FloatLogSlider)
    assert isinstance(kind, ipywidgets.Dropdown)
    assert button.description == "Run"
    weight.value = 1.0
    assert calls == []
    button.click()
    assert calls == [(1.0, "b")]


def test_pictures_are_compressed_until_they_fit_their_share_of_the_page():
    noise = dict(zip(LEVELS, np.random.default_rng(0).random((len(LEVELS), 64, 64)), strict=True))

    def size(**limit):
        return sum(map(len, slider(lambda level: noise[level], level=LEVELS, alt="Noise", **limit).sources.values()))

    assert size(max_bytes=20_000) <= 20_000 < size()
    with pytest.raises(WidgetError, match="above the 2 kB"):
        size(max_bytes=2_000)
    with pytest.raises(WidgetError, match="above the 2 kB"):
        before_after(noise[0], noise[1], alt="Noise", max_bytes=2_000)


def test_a_divider_names_both_pictures_and_refuses_a_mismatch():
    black, white = grey(0)[0], grey(1)[0]
    divider = before_after(black, white, alt="A square", labels=("bicubic", "VDSR"), start=30)
    page = Page(divider._repr_html_())
    assert [image["alt"] for image in page.elements["img"]] == ["A square; bicubic", "A square; VDSR"]
    assert page.elements["img"][0]["src"] != page.elements["img"][1]["src"]
    (control,) = page.elements["input"]
    assert (control["type"], control["value"], control["aria-valuetext"]) == ("range", "30", "30 % bicubic")
    assert "bicubic" in repr(divider)
    with pytest.raises(WidgetError, match="one \\(height, width\\)"):
        before_after(black, white[..., :4], alt="A square")
    with pytest.raises(WidgetError, match="two labels"):
        before_after(black, white, alt="A square", labels="VDSR")
    with pytest.raises(WidgetError, match="percentage"):
        before_after(black, white, alt="A square", start=200)
    with pytest.raises(WidgetError, match="alt="):
        before_after(black, white, alt="")


def test_questions_are_labelled_groups_of_choices_with_an_answer_each():
    page = Page(questions(ASKED, title="Check & yourself")._repr_html_())
    assert len(page.elements["fieldset"]) == len(page.elements["legend"]) == len(page.elements["form"]) == 2
    assert [choice["type"] for choice in page.elements["input"]] == ["radio"] * 5
    assert len(page.elements["label"]) == 5
    assert [answer["data-right"] for answer in page.elements["li"]] == ["false", "true", "false", "true", "false"]
    assert all(status["aria-live"] == "polite" for status in page.elements["p"] if status.get("role") == "status")
    assert page.elements["div"][0]["aria-label"] == "Check & yourself"
    assert repr(questions(ASKED)).splitlines() == ["Questions", *(f"  {question}" for question in ASKED)]


def test_without_scripts_questions_are_read_and_their_answers_unfolded():
    page = Page(questions(ASKED)._repr_html_())
    assert all("hidden" in choice and "disabled" in choice for choice in page.elements["input"])
    assert not any("hidden" in folded for folded in page.elements["details"])
    for question, choices in ASKED.items():
        for text in (question, *choices, *choices.values()):
            assert text in page.text


def test_texts_of_questions_cannot_break_out_of_the_page():
    evil = "</script><b onclick='x'>&\""
    asked = {evil: {evil: f"Right: {evil} x", "b": f"Wrong: {evil} x"}}
    page = Page(questions(asked, title=evil)._repr_html_())
    assert "b" not in page.elements
    assert page.text.count(evil) == 1 + 1 + 2 + 2  # title, question, a choice twice, two answers


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "give questions"),
        (["Why?"], "give questions"),
        ({" ": {"a": "Right: so.", "b": "Wrong: not so."}}, "a question is a text"),
        ({"Why?": {"a": "Right: so."}}, "at least two choices"),
        ({"Why?": ["a", "b"]}, "at least two choices"),
        ({"Why?": {"a": "Right: so.", "": "Wrong: not so."}}, "a choice is a text"),
        ({"Why?": {"a": "Right: so.", "b": "Not so."}}, "'b': answer 'Right: why'"),
        ({"Why?": {"a": "Right: so.", "b": "Wrong: "}}, "Right: why"),
        ({"Why?": {"a": "Right: so.", "b": None}}, "Right: why"),
        ({"Why?": {"a": "Wrong: so.", "b": "Wrong: not so."}}, "exactly one choice .* not 0"),
        ({"Why?": {"a": "Right: so.", "b": "Right: not so."}}, "exactly one choice .* not 2"),
    ],
)
def test_questions_without_an_answer_are_refused(asked, message):
    with pytest.raises(WidgetError, match=message):
        questions(asked)


def test_importing_the_widgets_imports_neither_matplotlib_nor_ipywidgets():
    look = "print([m for m in ('matplotlib', 'ipywidgets') if m in sys.modules])"
    code = f"import sys, dfkd.book.widgets, dfkd.book.plots; {look}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
