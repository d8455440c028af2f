"""Figures of the chapters: the right pixels in order, told apart without colour, and clear refusals."""

import numpy as np
import pytest
import torch

from dfkd.book import scoreboard
from dfkd.book.plots import (
    LINE_STYLES,
    PALETTE,
    compare_crops,
    show_curves,
    show_dots,
    show_images,
    show_sweep,
    use_style,
)
from dfkd.errors import ImageError, UnknownName
from dfkd.running.summaries import measures, summarise

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
plt = matplotlib.pyplot if hasattr(matplotlib, "pyplot") else pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _clean():
    with matplotlib.rc_context():
        yield
    plt.close("all")


def drawn(figure):
    """The arrays shown, in reading order."""
    return [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]


def test_images_are_shown_exactly_and_grey_on_the_common_scale():
    images = torch.stack([torch.full((1, 4, 6), level) for level in (0.2, 0.4, 0.6)])
    figure = show_images(images, ["a", "b", "c"], columns=2)
    assert [array.flat[0] for array in drawn(figure)] == [51, 102, 153]
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "c", ""]
    assert [ax.axison for ax in figure.axes] == [True, True, True, False]  # a frame around each, none around no image
    assert not any(len(ax.get_xticks()) + len(ax.get_yticks()) for ax in figure.axes[:3])
    image = figure.axes[0].images[0]
    assert image.get_clim() == (0, 255)  # a dark image stays dark
    assert (image.get_cmap().name, image.get_interpolation()) == ("gray", "nearest")


def test_rows_have_names():
    figure = show_images(torch.zeros(4, 1, 4, 4), columns=2, rows=["x2", "x3"])
    assert [ax.get_ylabel() for ax in figure.axes] == ["x2", "", "x3", ""]


def test_a_list_may_mix_sizes_and_channels_and_values_are_clamped():
    grey, colour = drawn(show_images([torch.full((1, 4, 4), 1.2), torch.full((1, 3, 5, 6), -0.1)]))
    assert grey.shape == (4, 4)
    assert grey.max() == 255
    assert colour.shape == (5, 6, 3)
    assert colour.min() == 0


def test_crops_show_the_same_box_of_each_with_its_reading():
    ramp = torch.arange(80.0).reshape(1, 1, 8, 10) / 255
    figure = compare_crops({"bicubic": ramp, "VDSR": ramp * 2}, (2, 3, 4, 5), {"VDSR": "31.2 dB"})
    first, second = drawn(figure)
    assert np.array_equal(first, (ramp[0, 0, 2:6, 3:8] * 255).round().byte().numpy())
    assert np.array_equal(second, 2 * first)
    assert [ax.get_title() for ax in figure.axes] == ["bicubic", "VDSR\n31.2 dB"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: show_images([]), "no image"),
        (lambda x: show_images(x, ["a", "b"]), "as many titles"),
        (lambda x: show_images(x, rows=["a", "b"]), "as many names"),
        (lambda x: show_images(x[0]), "channels, height, width"),
        (lambda x: compare_crops({}, (0, 0, 2, 2)), "one size"),
        (lambda x: compare_crops({"a": x, "b": x[..., :4]}, (0, 0, 2, 2)), "one size"),
        (lambda x: compare_crops({"a": x}, (0, 0, 9, 2)), "does not lie inside"),
        (lambda x: compare_crops({"a": x}, (0, 0, 2, 2), {"b": 1}), "readings for"),
    ],
)
def test_misuse_is_an_image_error(call, message):
    with pytest.raises(ImageError, match=message):
        call(torch.zeros(1, 1, 8, 8))


def test_curves_differ_in_colour_and_in_line_style():
    figure = show_curves({str(i): [0.0, i, 2.0 * i] for i in range(len(PALETTE))}, ylabel="PSNR (dB)")
    lines = figure.axes[0].lines
    assert [line.get_color() for line in lines] == list(PALETTE)
    assert len({str((line.get_linestyle(), line._dash_pattern)) for line in lines}) == len(LINE_STYLES) == len(PALETTE)
    assert figure.axes[0].get_ylabel() == "PSNR (dB)"
    assert len(figure.axes[0].get_legend().get_texts()) == len(PALETTE)


def test_curves_over_given_x_and_on_a_log_scale():
    ax = show_curves([([10, 20], [1, 100])], ["loss"], ylabel="loss", xlabel="seconds", log=True).axes[0]
    assert ax.lines[0].get_xdata().tolist() == [10, 20]
    assert (ax.get_yscale(), ax.get_xlabel()) == ("log", "seconds")


def test_curves_need_labels_and_must_stay_distinguishable():
    with pytest.raises(ValueError, match="one label each"):
        show_curves([[1, 2]], ylabel="loss")
    with pytest.raises(ValueError, match="at most 7"):
        show_curves({str(i): [0, 1] for i in range(8)}, ylabel="loss")


def test_drawing_leaves_the_readers_settings_alone_until_the_style_is_asked_for():
    before = dict(matplotlib.rcParams)
    show_curves({"a": [1, 2]}, ylabel="loss")
    show_images(torch.zeros(1, 1, 4, 4))
    assert dict(matplotlib.rcParams) == before
    use_style()
    assert matplotlib.rcParams["figure.dpi"] == 100
    assert plt.subplots()[1].plot([0, 1])[0].get_color() == PALETTE[0]


def sweep(baseline=None, seeds=3) -> dict:
    runs = [
        {"row": row, "seed": seed, "agreement": {"x2": level + (seed + 1) * spread, "x3": level}}
        for row, level, spread in (("noise", 30.0, 0.5), ("dfsr", 32.0, 0.2)) for seed in range(seeds)
    ]  # fmt: skip
    figures = summarise(((run["row"], run["seed"], measures(run)) for run in runs), baseline)
    return {"runs": runs, "figures": figures, "baseline": baseline, "datasets": []}


def test_a_sweep_shows_every_run_the_means_and_the_intervals():
    found = sweep("noise")
    left, right = show_sweep(found, "agreement x2").axes
    dots = {tuple(line.get_ydata()): sorted(line.get_xdata()) for line in left.lines if len(line.get_xdata()) == 3}
    assert dots == {(0, 0, 0): [30.5, 31.0, 31.5], (1, 1, 1): pytest.approx([32.2, 32.4, 32.6])}
    means = [line.get_xdata()[0] for line in left.lines if len(line.get_xdata()) == 1]
    assert means == pytest.approx([31.0, 32.4])
    assert [label.get_text() for label in left.get_yticklabels()] == ["noise", "dfsr"]
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first row is on top
    interval, difference, zero = right.lines
    expected = found["figures"]["agreement x2"]["dfsr"]["difference"]
    assert list(interval.get_xdata()) == [expected["low"], expected["high"]] and set(interval.get_ydata()) == {1}
    assert difference.get_xdata()[0] == pytest.approx(1.4) and set(zero.get_xdata()) == {0}
    assert "difference from noise" in right.get_xlabel() and "95%" in right.get_xlabel()


def test_a_sweep_of_one_seed_has_no_intervals_and_one_without_baseline_no_differences():
    _, right = show_sweep(sweep("noise", seeds=1)).axes
    assert len(right.lines) == 2  # the difference, and zero
    (only,) = show_sweep(sweep()).axes
    assert only.get_xlabel() == "agreement x2 x3 (dB)"


def test_a_measure_that_a_sweep_lacks_is_refused():
    with pytest.raises(ValueError, match="no measure 'Set5 x2' in this sweep, only agreement x2 x3, agreement x2"):
        show_sweep(sweep(), "Set5 x2")
    with pytest.raises(ValueError, match="none at all"):
        show_sweep(sweep(seeds=0))


def marks(ax, row):
    """What is drawn at a row: label to x."""
    return {line.get_label(): list(line.get_xdata()) for line in ax.lines if set(line.get_ydata()) == {row}}


def test_dots_show_runs_mean_and_interval_of_each_row_in_each_panel():
    panels = {"x2": {"noise": [29.0, 30.0, 31.0], "L_R alone": [28.0]}, "x3": {"noise": [1.0, 1.0], "L_R alone": [2.0]}}
    figure = show_dots(panels, {"x2": {"bicubic": 31.06, "teacher": 32.95}}, new=["L_R alone"])
    left, right = figure.axes
    assert [ax.get_title() for ax in figure.axes] == ["x2", "x3"]
    noise = marks(left, 0)
    assert (noise["one run"], noise["known from before"]) == ([29, 30, 31], [30])
    half = 4.302653 / 3**0.5  # Student's t with two degrees of freedom; the standard deviation is 1
    assert noise["95% interval of the mean"] == pytest.approx([30 - half, 30 + half])
    assert marks(left, 1) == {"new in this chapter": [28]}  # one run has no interval
    assert marks(right, 1) == {"new in this chapter": [2]}
    assert {line.get_label(): line.get_xdata()[0] for line in left.lines[:2]} == {"bicubic": 31.06, "teacher": 32.95}
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first row is on top


def test_new_rows_are_told_apart_without_colour_and_symbols_are_typeset():
    ax = show_dots({"x2": {"noise": [1.0, 2.0], "contrast, W_C = 1": [2.0, 3.0]}}, new=["contrast, W_C = 1"]).axes[0]
    names = ax.get_yticklabels()
    assert [name.get_text() for name in names] == ["noise", r"contrast, $\mathcal{W}_{C}$ = 1"]
    assert [name.get_fontweight() for name in names] == ["normal", "bold"]
    markers = {line.get_label(): line.get_marker() for line in ax.lines}
    assert markers["new in this chapter"] != markers["known from before"]
    (legend,) = ax.figure.legends
    assert sorted(text.get_text() for text in legend.get_texts()) == sorted(markers)


@pytest.mark.parametrize(
    ("panels", "new", "message"),
    [
        ({}, (), "at least one"),
        ({"x2": {}}, (), "at least one"),
        ({"x2": {"a": [1.0]}, "x3": {"b": [1.0]}}, (), "the same rows"),
        ({"x2": {"a": [1.0]}}, ("b",), r"no rows \['b'\] to mark"),
    ],
)
def test_dots_that_cannot_be_drawn_are_refused(panels, new, message):
    with pytest.raises(ValueError, match=message):
        show_dots(panels, new=new)


def test_where_no_row_is_new_the_legend_says_what_a_dot_is():
    (legend,) = show_dots({"x2": {"noise": [1.0, 2.0]}}).legends
    assert [text.get_text() for text in legend.get_texts()][-1] == "mean"


def test_the_scoreboard_grows_by_the_rows_of_each_chapter():
    assert sorted(row for rows in scoreboard.SINCE.values() for row in rows) == sorted(scoreboard.ROWS)
    assert scoreboard.known(2) == ("noise filter", "noise", "real photographs")
    assert scoreboard.known(5) == scoreboard.known(4) != scoreboard.known(6)
    assert set(scoreboard.known(10)) == {"noise filter", *scoreboard.ROWS}
    assert {scoreboard.known(chapter)[-1] for chapter in scoreboard.SINCE} == {"real photographs"}


def test_picture_and_table_of_the_scoreboard_say_the_same():
    ax = scoreboard.dots(3).axes[0]
    assert [name.get_fontweight() for name in ax.get_yticklabels()] == ["normal", "normal", "bold", "bold", "normal"]
    (low, high), (middle,) = (marks(ax, 1)[label] for label in ("95% interval of the mean", "known from before"))
    table = scoreboard.standings(*scoreboard.known(3)).splitlines()
    assert table[2].split() == ["noise", "filter", f"{marks(ax, 0)['known from before'][0]:.2f}", *table[2].split()[3:]]
    assert table[3].split()[:2] == ["noise", f"{middle:.2f}±{(high - low) / 2:.2f}"]
    assert [line.split()[0] for line in (table[1], table[-1])] == ["bicubic", "teacher"]


def test_some_rows_of_the_scoreboard_in_the_order_asked_for():
    ax = scoreboard.dots(10, "dead leaves", "noise").axes[0]
    names = ax.get_yticklabels()
    assert [name.get_text() for name in names] == ["dead leaves", "noise"]
    assert [name.get_fontweight() for name in names] == ["bold", "normal"]
    with pytest.raises(UnknownName, match="dead leaves"):
        scoreboard.dots(10, "dead leafs")
