"""The few figures that chapters draw again and again, in colours that colour-blind readers tell apart.

Every function returns a matplotlib Figure; end the cell with ``plt.show()``, or hand the Figure to a slider.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dfkd.errors import ImageError
from dfkd.pixels.files import to_uint8
from dfkd.running.summaries import CONFIDENCE, measures, paired

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart with any kind of colour vision; without their yellow, too faint on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Colour alone should never carry meaning, so every curve has a line style of its own as well.
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
KNOWN = "known from before"  # how a legend calls rows that are not new, where some are


def use_style() -> None:
    """Set matplotlib's defaults for the book: moderate resolution, readable text, the palette."""
    import matplotlib.pyplot as plt

    plt.rcParams.update(_style())


def _style() -> dict[str, Any]:
    from cycler import cycler

    return {
        "figure.figsize": (5.6, 3.4),
        "figure.dpi": 100,  # stored notebooks stay small; the text below is sized to be read at 380 pixels
        "figure.facecolor": "white",
        "figure.constrained_layout.use": True,
        "font.size": 12,
        "axes.titlesize": 12,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler(color=PALETTE) + cycler(linestyle=LINE_STYLES),
        "lines.linewidth": 2,
        "legend.frameon": False,
        "image.cmap": "gray",
        "image.interpolation": "nearest",
    }


def show_images(
    images: Tensor | Sequence[Tensor],
    titles: Sequence[str] | None = None,
    *,
    rows: Sequence[str] | None = None,
    columns: int | None = None,
    size: float = 1.8,
) -> Figure:
    """Images side by side, pixels as sharp squares, luma in grey, 0 black and 1 white; each in a thin frame.

    Args:
        images: [batch, channels, height, width] in [0, 1], or a list of [channels, height, width] or [1,
            channels, height, width]; 1 or 3 channels. Values outside are clamped.
        titles: one line above each image.
        rows: what stands left of each row.
        columns: images in a row; at most six by default.
        size: width of one image in inches.

    Raises:
        ImageError: no image, a number of titles or rows that differs, or a shape no image has.
    """
    import matplotlib.pyplot as plt

    pixels = [to_uint8(_one_image(image)) for image in images]
    if not pixels:
        raise ImageError("there is no image to show")
    titles = [""] * len(pixels) if titles is None else list(titles)
    if len(titles) != len(pixels):
        raise ImageError(f"{len(pixels)} images need as many titles, not {len(titles)}")
    columns = columns or min(len(pixels), 6)
    lines_of_images = math.ceil(len(pixels) / columns)
    if rows is not None and len(rows) != lines_of_images:
        raise ImageError(f"{lines_of_images} rows need as many names, not {len(rows)}")
    lines = max(title.count("\n") + bool(title) for title in titles)
    height, width = pixels[0].shape[:2]
    with plt.rc_context(_style()):
        figure, axes = plt.subplots(
            lines_of_images,
            columns,
            figsize=(columns * size + 0.4 * bool(rows), lines_of_images * (size * height / width + 0.25 * lines)),
            squeeze=False,
        )
        for ax in axes.flat[len(pixels) :]:
            ax.axis("off")
        for ax, image, title in zip(axes.flat, pixels, titles, strict=False):  # the last row may have places left
            ax.imshow(image, vmin=0, vmax=255)
            ax.set_title(title)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(visible=True, color="0.6", linewidth=0.8)  # blank images have an edge, too
        for ax, name in zip(axes[:, 0], rows or (), strict=False):
            ax.set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


def _one_image(image: Tensor) -> Tensor:
    image = image[0] if image.dim() == 4 and len(image) == 1 else image
    if image.dim() != 3 or image.shape[0] not in (1, 3):
        raise ImageError(f"an image is [channels, height, width] with 1 or 3 channels, not {tuple(image.shape)}")
    return image


def compare_crops(
    images: Mapping[str, Tensor],
    box: tuple[int, int, int, int],
    readings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Figure:
    """The same crop of several reconstructions, each with its name and, if given, a reading.

    Args:
        images: name to image, each [1, channels, height, width] of one size.
        box: the crop as (top, left, height, width) in pixels.
        readings: name to what stands below the name, such as ``"31.2 dB"``; a name may be missing.
        options: as for `show_images`.

    Raises:
        ImageError: images of different size, a box that does not lie inside them, or a reading without an
            image.
    """
    if len(sizes := {tuple(image.shape[-2:]) for image in images.values()}) != 1:
        raise ImageError(f"compare images of one size, not {sorted(sizes)}")
    (height, width), (top, left, tall, wide) = sizes.pop(), box
    if not (0 <= top < top + tall <= height and 0 <= left < left + wide <= width):
        raise ImageError(f"the box {box}, (top, left, height, width), does not lie inside an image of {height}x{width}")
    readings = dict(readings or {})
    if unknown := set(readings) - set(images):
        raise ImageError(f"readings for {sorted(unknown)}, but the images are {list(images)}")
    titles = [f"{name}\n{readings[name]}" if name in readings else name for name in images]
    return show_images(
        [image[..., top : top + tall, left : left + wide] for image in images.values()], titles, **options
    )


def show_curves(
    curves: Sequence[Any] | Mapping[str, Any],
    labels: Sequence[str] | None = None,
    *,
    ylabel: str,
    xlabel: str = "updates",
    log: bool = False,
) -> Figure:
    """Curves in one picture, told apart by colour and by line style.

    Args:
        curves: name to curve, or a list of curves with `labels`. A curve is a sequence of numbers, drawn over
            0, 1, 2, ..., or a pair (x, y) of such sequences.
        labels: one name a curve, where `curves` is a list.
        ylabel: what is drawn, with its unit.
        xlabel: over what.
        log: draw on a logarithmic scale.

    Raises:
        ValueError: more curves than can be told apart, or a number of labels that differs.
    """
    import matplotlib.pyplot as plt

    if isinstance(curves, Mapping):
        labels, curves = list(curves), list(curves.values())
    if len(curves) > len(PALETTE) or len(labels or ()) != len(curves):
        raise ValueError(
            f"{len(curves)} curves need one label each, not {len(labels or ())}; "
            f"at most {len(PALETTE)} can be told apart"
        )
    with plt.rc_context(_style()):
        figure, ax = plt.subplots()
        for curve, label in zip(curves, labels, strict=True):
            ax.plot(*curve if isinstance(curve, tuple) else (curve,), label=label)
        ax.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
        if len(curves) > 1:
            ax.legend()
    return figure


def show_sweep(sweep: Mapping[str, Any], measure: str | None = None) -> Figure:
    """A sweep's rows: each run as a dot with the mean over seeds, and beside it the differences from the baseline.

    Args:
        sweep: what ``sweep.json`` holds, see `dfkd.running.sweeps`.
        measure: the figure to draw, a key of its 'figures'; by default the first, agreement with the teacher.

    Raises:
        ValueError: no such measure.
    """
    import matplotlib.pyplot as plt

    if not (figures := sweep["figures"]) or (measure or next(iter(figures))) not in figures:
        raise ValueError(f"no measure {measure!r} in this sweep, only {', '.join(figures) or 'none at all'}")
    measure = measure or next(iter(figures))
    rows = figures[measure]
    compared = {row: found["difference"] for row, found in rows.items() if "difference" in found}
    with plt.rc_context(_style()):
        size = (9.0 if compared else 5.6, 1.2 + 0.4 * len(rows))
        figure, axes = plt.subplots(1, 2 if compared else 1, figsize=size, sharey=True, squeeze=False)
        for place, (row, found) in enumerate(rows.items()):
            values = [measures(run, sweep["datasets"]).get(measure) for run in sweep["runs"] if run["row"] == row]
            values = [value for value in values if value is not None]
            axes[0, 0].plot(values, [place] * len(values), "o", color=PALETTE[0], alpha=0.5)
            axes[0, 0].plot(found["mean"], place, "|", color="black", markersize=18, markeredgewidth=2)
            if row in compared:
                _draw_interval(axes[0, 1], place, compared[row])
        axes[0, 0].set(xlabel=f"{measure} (dB)", yticks=range(len(rows)), yticklabels=list(rows))
        axes[0, 0].set_ylim(len(rows) - 0.5, -0.5)  # the first row on top
        for ax in axes[0]:
            ax.locator_params("x", nbins=5)
        if compared:
            axes[0, 1].axvline(0, color="black", linestyle=":", linewidth=1)
            axes[0, 1].set(xlabel=f"difference from {sweep['baseline']} (dB), {CONFIDENCE:.0%} interval")
    return figure


def _draw_interval(ax: Any, place: int, difference: Mapping[str, Any]) -> None:
    """A difference with its interval; a single seed has none."""
    if difference["low"] is not None:
        ax.plot([difference["low"], difference["high"]], [place, place], "-", color=PALETTE[1])
    ax.plot(difference["mean"], place, "s", color=PALETTE[1])


def show_dots(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    lines: Mapping[str, Mapping[str, float]] | None = None,
    new: Sequence[str] = (),
    *,
    xlabel: str = "PSNR (dB)",
) -> Figure:
    """Rows of a table as dots, a panel for each of its columns: single runs, their mean, and the mean's 95 % interval.

    New rows have diamonds and bold names, the others circles. In a name, L_R or W_C is typeset as a symbol.

    Args:
        panels: title of a panel to row to values, one a run. The rows of the first panel are those of all.
        lines: title of a panel to name to where a vertical line stands; at most as many names as line styles.
        new: rows to mark.
        xlabel: what the values are, with their unit.

    Raises:
        ValueError: no row, a panel with other rows, or a new row that is not among them.
    """
    import matplotlib.pyplot as plt

    rows = list(next(iter(panels.values()), ()))
    if not rows or any(list(panel) != rows for panel in panels.values()):
        raise ValueError("every panel needs the same rows in the same order, and at least one")
    if unknown := set(new) - set(rows):
        raise ValueError(f"no rows {sorted(unknown)} to mark, only {rows}")
    with plt.rc_context(_style()):
        size = (6.8, 1.5 + 0.26 * len(rows))
        figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
        for ax, (title, panel) in zip(axes[0], panels.items(), strict=True):
            for style, (name, at) in zip(LINE_STYLES[1:], (lines or {}).get(title, {}).items(), strict=False):
                ax.axvline(at, color="black", linestyle=style, linewidth=1, label=name)
            for place, (row, values) in enumerate(panel.items()):
                _draw_dots(ax, place, values, row in new)
            ax.set_title(title)
            ax.grid(axis="y", color="0.9", linewidth=1)
            ax.tick_params(axis="y", length=0)
            ax.locator_params("x", nbins=3)
        axes[0, 0].set_yticks(range(len(rows)), [_typeset(row) for row in rows])
        axes[0, 0].set_ylim(len(rows) - 0.5, -0.5)  # the first row on top
        for name, row in zip(axes[0, 0].get_yticklabels(), rows, strict=True):
            name.set_fontweight("bold" if row in new else "normal")
        axes[0, len(panels) // 2].set_xlabel(xlabel)
        _explain_dots(figure, axes[0, 0], KNOWN if new else "mean")
    return figure


def _draw_dots(ax: Any, place: int, values: Sequence[float], new: bool) -> None:
    found, color = paired(values), PALETTE[1] if new else PALETTE[0]
    if found["low"] is not None:
        label = f"{CONFIDENCE:.0%} interval of the mean"
        ax.plot([found["low"], found["high"]], [place, place], "-", color=color, linewidth=2, alpha=0.6, label=label)
        ax.plot(values, [place] * len(values), "|", color=color, markersize=9, markeredgewidth=1, label="one run")
    marker, label = ("D", "new in this chapter") if new else ("o", KNOWN)
    ax.plot(found["mean"], place, marker, color=color, markersize=6, label=label)


def _explain_dots(figure: Figure, ax: Any, known: str) -> None:
    """One legend for all panels, each kind of mark once."""
    marks = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    marks = {known if label == KNOWN else label: mark for label, mark in marks.items()}
    figure.legend(marks.values(), marks, loc="outside lower center", ncols=2, fontsize=11, columnspacing=1.2)


def _typeset(name: str) -> str:
    """L_GEN becomes what the book's text shows for it."""
    return re.sub(r"\b([LW])_([A-Za-z]+)", r"$\\mathcal{\1}_{\2}$", name)
