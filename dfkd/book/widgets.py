"""Sliders, dividers and questions that work in a rendered page: no kernel, no network, no module loader.

A slider is a small table of pictures. `slider` computes all of them once, and what it displays is plain HTML
that looks them up; a viewer that strips scripts still shows one picture, its readings and a table of the
others. Of `questions` such a viewer shows the choices and, folded, the answers.
"""

from __future__ import annotations

import html
import itertools
import json
import math
import re
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from dfkd.book.frames import (
    MAX_BYTES,
    SHOWN_WIDTH,
    Frame,
    WidgetError,
    as_frame,
    encode,
    from_address,
    largest_difference,
    panel_places,
    to_address,
)

if TYPE_CHECKING:
    import ipywidgets

MAX_FRAMES = 64  # pictures in one slider

__all__ = [
    "Divider",
    "Frame",
    "Questions",
    "Slider",
    "WidgetError",
    "before_after",
    "questions",
    "slider",
    "stored_frames",
]

STORED = re.compile(
    r'<div class="dfkd-widget dfkd-slider".*?<img [^>]*?src="([^"]+)"'  # the picture first shown
    r'.*?<script type="application/json">(.*?)</script>',  # and all others
    flags=re.DOTALL,
)

Values = tuple  # one value a parameter, in the order the parameters were given


def slider(
    function: Callable,
    *,
    alt: str,
    title: str = "",
    start: Any = None,
    labels: Mapping[str, str] | None = None,
    progress: bool | None = None,
    max_bytes: int = MAX_BYTES,
    **grid: Iterable,
) -> Slider:
    """Compute `function` over a small grid and show it with one slider a parameter.

    The result works in the rendered book, from disk too. In a notebook with a running kernel, ``.live()``
    gives controls that recompute at any value between those of the grid. Where
    one point takes minutes, let the function look it up in a record. For example::

        def blurred(sigma):
            image = blur(photo, sigma)
            return image, {"PSNR (dB)": dfkd.psnr(image, photo)}

        slider(blurred, sigma=[0, 0.5, 1, 2], alt="A butterfly's wing, blurred")

    Args:
        function: called with one keyword a parameter. It returns a picture, or a pair (picture, readings):
            the picture a matplotlib Figure, one image in [0, 1] ([1, C, H, W], [C, H, W], [H, W] or
            [H, W, 3]; torch or NumPy), or a dict of name to image, which are shown side by side under their
            names; the readings a dict of label to number or text. A number is shown with
            four digits; give ``f"{psnr:.2f}"`` where digits should line up. All pictures have one size.
        alt: what the pictures show, in words; values and readings are added for each of them.
        title: a line above the picture.
        start: the value first shown, one for each parameter (a tuple where there are two); else the first of
            each.
        labels: what to call a parameter on the page, where its Python name is not good enough.
        progress: draw a bar while computing; by default only in a terminal, since notebooks store what is
            printed.
        max_bytes: what the pictures may take in the page; they are compressed until they fit. Where a chapter
            has several sliders, give each its share.
        grid: one or two parameters, each with its values: numbers, texts or booleans.

    Returns:
        A `Slider`, which a notebook displays.

    Raises:
        WidgetError: no alt text, no or too many parameters, values or frames, a start that is not among the
            values, pictures that differ in size or are too large to store.
    """
    grid = {name: _plain_values(name, values) for name, values in grid.items()}
    labels = {name: name.replace("_", " ") for name in grid} | dict(labels or {})
    _require_sensible(alt, grid, labels)
    start = _start(start, grid)
    points = list(itertools.product(*grid.values()))
    frames = {
        point: as_frame(function(**dict(zip(grid, point, strict=True))))
        for point in _progress(points, title or "pictures", progress)
    }
    _require_one_size(frames)
    sources = dict(zip(frames, encode([frame.pixels for frame in frames.values()], max_bytes), strict=True))
    return Slider(function, grid, frames, start, alt.strip(), title, labels, sources)


def _plain_values(name: str, values: Iterable) -> list:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise WidgetError(f"{name} needs a list of values, {name}=[...], not {values!r}")
    plain = [value.item() if hasattr(value, "item") else value for value in values]
    for value in plain:
        if not isinstance(value, bool | int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
            raise WidgetError(f"the values of {name} must be finite numbers, texts or booleans, not {value!r}")
    if len(plain) < 2 or len(set(plain)) < len(plain):
        raise WidgetError(f"{name} needs at least two values, each once, not {plain}")
    return plain


def _require_sensible(alt: str, grid: Mapping[str, list], labels: Mapping[str, str]) -> None:
    if not isinstance(alt, str) or not alt.strip():
        raise WidgetError("say in alt= what the picture shows, for readers who cannot see it")
    if not 1 <= len(grid) <= 2:
        raise WidgetError(
            f"a slider takes one or two parameters, name=[values], not {len(grid)}; "
            "give the others a fixed value in the function"
        )
    if unknown := set(labels) - set(grid):
        raise WidgetError(f"labels= names {sorted(unknown)}, but the parameters are {list(grid)}")
    count = math.prod(map(len, grid.values()))
    if count > MAX_FRAMES:
        raise WidgetError(f"{count} pictures are more than the {MAX_FRAMES} a page should carry; give fewer values")


def _start(start: Any, grid: Mapping[str, list]) -> Values:
    if start is None:
        return tuple(values[0] for values in grid.values())
    start = tuple(start) if isinstance(start, (tuple, list)) else (start,)
    if len(start) != len(grid) or any(v not in values for v, values in zip(start, grid.values(), strict=True)):
        raise WidgetError(f"start={start} is not a point of the grid {dict(grid)}; choose one value of each parameter")
    return start


def _require_one_size(frames: Mapping[Values, Frame]) -> None:
    sizes = {frame.pixels.shape[:2] for frame in frames.values()}
    if len(sizes) > 1:
        raise WidgetError(f"all pictures need one (height, width), not {sorted(sizes)}; resize or crop them")
    if len(names := {frame.panels for frame in frames.values()}) > 1:
        raise WidgetError(f"panels keep their names from picture to picture, they are not {sorted(names)}")


def _progress(points: list, name: str, progress: bool | None) -> Iterable:
    from tqdm import tqdm

    # tqdm takes None for 'only in a terminal'; nothing is drawn for what is done in two seconds.
    return tqdm(
        points,
        desc=name,
        unit="picture",
        leave=False,
        delay=2,
        disable=None if progress is None else not progress,
    )


@dataclass(frozen=True, repr=False)
class Slider:
    """A computed grid of pictures, displayed as a slider; made by `slider`.

    Attributes:
        function: what was computed.
        grid: parameter to its values.
        frames: a tuple of values, one a parameter, to its `Frame`: ``demo.frames[(0.5,)]``.
        start: the values first shown.
    """

    function: Callable
    grid: Mapping[str, list]
    frames: Mapping[Values, Frame]
    start: Values
    alt: str
    title: str
    labels: Mapping[str, str]
    sources: Mapping[Values, str]  # each picture as an address, for the page

    def __repr__(self) -> str:
        """Every reading, so that comparing the text of two runs compares their results."""
        axes = "; ".join(f"{name} = {', '.join(map(_text, values))}" for name, values in self.grid.items())
        lines = [f"Slider{f' {self.title!r}' if self.title else ''} over {axes}"]
        lines += [
            f"  {self._where(point)}: "
            + ", ".join(f"{label} {_text(value)}" for label, value in frame.readings.items())
            for point, frame in self.frames.items()
            if frame.readings
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        first = self.frames[self.start]
        return _fill(
            "slider.html",
            label=html.escape(self.title or self.alt),
            title=_title(self.title),
            names=_names(first),
            framed=_framed(first),
            src=self.sources[self.start],
            alt=html.escape(self.alt + self._state(self.start)),
            readings=_readings(first),
            start=html.escape(self._where(self.start)),
            controls="".join(map(self._control, self.grid, self.start)),
            table=self._table(),
            data=self._data(),
            **_shown_size(first),
        )

    def check(self, *values: Any, against: Mapping[Values, Frame] | None = None, tolerance: float = 1e-3) -> None:
        """Recompute one point and compare it with what the slider holds.

        Args:
            values: the point, one value a parameter.
            against: other frames to compare with, such as `stored_frames` reads from a notebook; else its
                own.
            tolerance: how far a reading may move, relative to its size. The picture may move by 16 of 255,
                which covers another machine's rounding and, for stored frames, compression.

        Raises:
            AssertionError: a reading or the picture differs; the message names slider, point and difference.
            WidgetError: `values` is not a point of the grid.
        """
        if values not in self.frames:
            raise WidgetError(f"{values} is not a point of the grid {dict(self.grid)}")
        where = f"slider {self.title or self.alt!r} at {self._where(values)}"
        held = self.frames if against is None else against
        if values not in held:
            raise AssertionError(f"{where}: the stored slider has no such point; run its cell again")
        now, then = as_frame(self.function(**dict(zip(self.grid, values, strict=True)))), held[values]
        if now.readings.keys() != then.readings.keys():
            raise AssertionError(f"{where}: it read {list(then.readings)}, now {list(now.readings)}")
        for label, value in now.readings.items():
            if not _close(value, then.readings[label], tolerance):
                raise AssertionError(f"{where}: {label} was {_text(then.readings[label])}, is now {_text(value)}")
        difference = largest_difference(now.pixels, then.pixels, block=1 if against is None else 4)
        if difference > 16:
            raise AssertionError(f"{where}: the picture differs by up to {difference} of 255")

    def live(self, run: bool = False) -> ipywidgets.Widget:
        """Controls that recompute at any value between those of the grid, while a kernel runs.

        Args:
            run: wait for a click on Run before computing. For functions that train something.
        """
        try:
            import ipywidgets
        except ImportError as error:
            raise WidgetError("live controls need ipywidgets: pip install ipywidgets") from error
        from IPython.display import HTML, display

        def show(**values):
            frame = as_frame(self.function(**values))
            src, alt, width = to_address(frame.pixels), html.escape(self.alt), _shown_size(frame)["width"]
            display(HTML(f'{_names(frame)}<img src="{src}" alt="{alt}" width="{width}"><p>{_readings(frame)}</p>'))

        controls = {
            name: _live_control(ipywidgets, self.labels[name], self.grid[name], value)
            for name, value in zip(self.grid, self.start, strict=True)
        }
        return ipywidgets.interactive(show, {"manual": run, "manual_name": "Run"}, **controls)

    def _where(self, point: Values) -> str:
        return ", ".join(f"{self.labels[name]} = {_text(value)}" for name, value in zip(self.grid, point, strict=True))

    def _state(self, point: Values) -> str:
        """What is added to the alt text at this point."""
        readings = [f"{label} {_text(value)}" for label, value in self.frames[point].readings.items()]
        return "; " + ", ".join([self._where(point), *readings])

    def _control(self, name: str, value: Any) -> str:
        values, text, label = self.grid[name], html.escape(_text(value)), html.escape(self.labels[name])
        low, high = html.escape(_text(values[0])), html.escape(_text(values[-1]))
        return (
            f'<label class="dfkd-control"><span class="dfkd-row"><span>{label}</span>'
            f'<span class="dfkd-value">{text}</span></span>'
            f'<input type="range" min="0" max="{len(values) - 1}" step="1" value="{values.index(value)}" '
            f'disabled autocomplete="off" aria-label="{label}" aria-valuetext="{text}">'
            f'<span class="dfkd-row dfkd-ends" aria-hidden="true"><span>{low}</span><span>{high}</span>'
            "</span></label>"
        )

    def _table(self) -> str:
        """All readings as a table, for those who cannot or would rather not slide."""
        columns = list(self.frames[self.start].readings)
        if not columns:
            return ""
        head = "".join(
            f'<th scope="col">{html.escape(text)}</th>' for text in [*map(self.labels.get, self.grid), *columns]
        )
        rows = [
            "".join(f"<td>{html.escape(_text(cell))}</td>" for cell in [*point, *map(frame.readings.get, columns)])
            for point, frame in self.frames.items()
        ]
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f"<details><summary>All values as a table</summary><div>{table}</div></details>"

    def _data(self) -> str:
        """What the page's script reads, as JSON."""
        frames = [
            {
                "at": point,
                "src": None if point == self.start else self.sources[point],
                "alt": self._state(point),
                "readings": [[label, _text(value)] for label, value in frame.readings.items()],
            }
            for point, frame in self.frames.items()
        ]
        values = [list(map(_text, values)) for values in self.grid.values()]
        data = {
            "alt": self.alt,
            "start": list(self.frames).index(self.start),
            "values": values,
            "frames": frames,
        }
        return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")  # no text may end the script element


def stored_frames(page: str) -> list[dict[Values, Frame]]:
    """Read sliders back from HTML, to hold what a notebook stored against what the code now computes.

    Args:
        page: the ``text/html`` of an output, or a whole page.

    Returns:
        For every slider on it, what `Slider.frames` was, the readings as the texts that are shown.
    """
    sliders = []
    for still, data in STORED.findall(page):
        frames = json.loads(data)["frames"]
        sliders.append({tuple(f["at"]): Frame(from_address(f["src"] or still), dict(f["readings"])) for f in frames})
    return sliders


def _close(now: Any, then: Any, tolerance: float) -> bool:
    try:
        now, then = float(now), float(then)
    except (TypeError, ValueError):  # texts, None, or a boolean held against the text stored for it
        return _text(now) == _text(then)
    return math.isclose(now, then, rel_tol=tolerance, abs_tol=1e-12) or (math.isnan(now) and math.isnan(then))


def _live_control(ipywidgets: Any, label: str, values: list, value: Any) -> ipywidgets.Widget:
    """A slider over the range of numbers, logarithmic where it spans a factor of fifty; else a menu."""
    style = {"description": label, "style": {"description_width": "initial"}}
    low, high = (None, None) if {type(v) for v in values} - {int, float} else (min(values), max(values))
    if low is None:
        return ipywidgets.Dropdown(options=values, value=value, **style)
    if all(isinstance(v, int) for v in values):
        return ipywidgets.IntSlider(value, low, high, continuous_update=False, **style)
    if low > 0 and high / low > 50:
        return ipywidgets.FloatLogSlider(
            value,
            min=math.log10(low),
            max=math.log10(high),
            step=0.05,
            readout_format=".3g",
            continuous_update=False,
            **style,
        )
    return ipywidgets.FloatSlider(
        value,
        min=low,
        max=high,
        step=(high - low) / 100,
        readout_format=".3g",
        continuous_update=False,
        **style,
    )


@dataclass(frozen=True, repr=False)
class Divider:
    """Two pictures of one thing with a movable border between them; made by `before_after`."""

    pictures: tuple[Frame, Frame]
    labels: tuple[str, str]
    alt: str
    title: str
    start: int
    sources: tuple[str, str]

    def __repr__(self) -> str:
        return f"Divider between {self.labels[0]!r} and {self.labels[1]!r}: {self.alt}"

    def _repr_html_(self) -> str:
        return _fill(
            "divider.html",
            label=html.escape(self.title or self.alt),
            title=_title(self.title),
            before=self.sources[0],
            after=self.sources[1],
            before_alt=html.escape(f"{self.alt}; {self.labels[0]}"),
            after_alt=html.escape(f"{self.alt}; {self.labels[1]}"),
            before_label=html.escape(self.labels[0]),
            after_label=html.escape(self.labels[1]),
            start=self.start,
            **_shown_size(self.pictures[0]),
        )


def before_after(
    before: Any,
    after: Any,
    *,
    alt: str,
    labels: tuple[str, str] = ("before", "after"),
    title: str = "",
    start: int = 50,
    max_bytes: int = MAX_BYTES,
) -> Divider:
    """Lay two pictures over each other with a border that the reader moves.

    Args:
        before: shown left of the border; a picture as `slider` takes it.
        after: shown right of it, same size.
        alt: what both show, in words.
        labels: what each is called, for example ``("bicubic, 31.2 dB", "VDSR, 34.9 dB")``.
        title: a line above the pictures.
        start: where the border first is, in percent from the left.
        max_bytes: what the two may take in the page; they are compressed until they fit.

    Raises:
        WidgetError: no alt text, not two labels, sizes that differ, a start outside 0 to 100, or pictures too
            large.
    """
    if not isinstance(alt, str) or not alt.strip():
        raise WidgetError("say in alt= what the pictures show, for readers who cannot see them")
    if isinstance(labels, str) or len(labels) != 2:
        raise WidgetError(f'two pictures need two labels, such as labels=("bicubic", "VDSR"), not {labels!r}')
    if not 0 <= start <= 100:
        raise WidgetError(f"start={start} is a percentage, 0 to 100")
    pictures = {("before",): as_frame(before), ("after",): as_frame(after)}
    _require_one_size(pictures)
    return Divider(
        tuple(pictures.values()),
        tuple(labels),
        alt.strip(),
        title,
        int(start),
        tuple(encode([frame.pixels for frame in pictures.values()], max_bytes)),
    )


@dataclass(frozen=True, repr=False)
class Questions:
    """Questions with choices that answer back; made by `questions`.

    Attributes:
        asked: question to its choices, each with its answer.
    """

    asked: Mapping[str, Mapping[str, str]]
    title: str

    def __repr__(self) -> str:
        return "\n".join(["Questions", *(f"  {question}" for question in self.asked)])

    def _repr_html_(self) -> str:
        return _fill(
            "questions.html",
            label=html.escape(self.title or "Questions to check yourself"),
            title=_title(self.title),
            questions="\n  ".join(itertools.starmap(_question, self.asked.items())),
        )


def questions(asked: Mapping[str, Mapping[str, str]], *, title: str = "") -> Questions:
    """Ask questions whose choices answer back: why this one is right, or why it is not.

    A choice may be changed as often as the reader likes; nothing is counted. For example::

        questions({
            "A flat grey image has no reconstruction loss. Is it a good training image?": {
                "Yes, its loss says so": "Wrong: the teacher corrects nothing on it, so it teaches nothing.",
                "No": "Right: a photograph has a low loss, but not all that has one is a photograph.",
            },
        })

    Args:
        asked: each question with its choices, and each choice with its answer: ``"Right: "`` or
            ``"Wrong: "`` and a sentence why. Plain text; symbols are Unicode's.
        title: a line above the questions.

    Raises:
        WidgetError: no question, fewer than two choices, an answer that does not say whether the choice is
            right, or not why, or not exactly one right choice.
    """
    if not isinstance(asked, Mapping) or not asked:
        raise WidgetError(f"give questions with their choices, {{question: {{choice: answer}}}}, not {asked!r}")
    for question, choices in asked.items():
        _require_answerable(question, choices)
    return Questions(asked, title)


def _require_answerable(question: str, choices: Mapping[str, str]) -> None:
    if not isinstance(question, str) or not question.strip():
        raise WidgetError(f"a question is a text that asks something, not {question!r}")
    if not isinstance(choices, Mapping) or len(choices) < 2:
        raise WidgetError(f"{question!r} needs at least two choices, {{choice: answer}}, not {choices!r}")
    for choice, answer in choices.items():
        if not isinstance(choice, str) or not choice.strip():
            raise WidgetError(f"{question!r}: a choice is a text, not {choice!r}")
        if not isinstance(answer, str) or not re.fullmatch(r"(Right|Wrong): .*\w.*", answer, re.DOTALL):
            raise WidgetError(f"{question!r}, {choice!r}: answer 'Right: why' or 'Wrong: why', not {answer!r}")
    if (right := sum(map(_is_right, choices.values()))) != 1:
        raise WidgetError(f"{question!r} needs exactly one choice whose answer begins with 'Right: ', not {right}")


def _is_right(answer: str) -> bool:
    return answer.startswith("Right: ")


def _question(question: str, choices: Mapping[str, str]) -> str:
    """One question as HTML. The choices of a form know of each other by the form they are in, and need no ids."""
    # JupyterLab would otherwise take the arrow keys for itself.
    start = '<form autocomplete="off" data-lm-suppress-shortcuts="true"><fieldset>'
    radios = "".join(
        '<div><label><input type="radio" name="choice" disabled hidden>'
        f"<span>{html.escape(choice)}</span></label></div>"
        for choice in choices
    )
    answers = "".join(
        f'<li data-right="{str(_is_right(answer)).lower()}">'
        f"<strong>{html.escape(choice)}</strong> <span>{html.escape(answer)}</span></li>"
        for choice, answer in choices.items()
    )
    return (
        f"{start}<legend>{html.escape(question)}</legend>{radios}"
        '<p class="dfkd-answer" role="status" aria-live="polite"></p>'
        f"<details><summary>The answers</summary><ul>{answers}</ul></details></fieldset></form>"
    )


def _text(value: Any) -> str:
    """A value as readers see it: four digits are plenty, and the same on every machine."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _title(title: str) -> str:
    return f'<p class="dfkd-title">{html.escape(title)}</p>' if title else ""


def _readings(frame: Frame) -> str:
    pairs = [(html.escape(label), html.escape(_text(value))) for label, value in frame.readings.items()]
    return " ".join(f"<span>{label} <strong>{text}</strong></span>" for label, text in pairs)


def _names(frame: Frame) -> str:
    """The names of pictures that stand side by side, each above its own."""
    if not frame.panels:
        return ""
    (_, width), (left, _) = panel_places(frame)[:2]
    style = f"max-width: {_shown_size(frame)['width']}px; column-gap: {left - width:.2f}%"
    spans = "".join(f"<span>{html.escape(name)}</span>" for name in frame.panels)
    return f'<div class="dfkd-names" style="{style}">{spans}</div>'


def _framed(frame: Frame) -> str:
    """A thin line around each of the pictures side by side, so that a blank one has an edge."""
    lines = [f'<i style="left: {left:.2f}%; width: {width:.2f}%"></i>' for left, width in panel_places(frame)]
    return "".join(lines)


def _shown_size(frame: Frame) -> dict[str, Any]:
    """Width and height on the page, and whether pixels are enlarged and so should stay sharp squares."""
    height, width = frame.pixels.shape[:2]
    zoom = 1 if frame.is_figure else max(1, SHOWN_WIDTH // width)
    return {"width": zoom * width, "height": zoom * height, "pixels": " dfkd-pixels" if zoom > 1 else ""}


def _fill(template: str, **texts: Any) -> str:
    folder = resources.files("dfkd.book") / "templates"
    css = (folder / "widget.css").read_text(encoding="utf-8").strip()
    return string.Template((folder / template).read_text(encoding="utf-8")).substitute(css=css, **texts)
