"""The book's one experiment: the same teacher, student, compute and photographs, and one idea more in every chapter.

A row is a few settings of `dfkd.configure`. Chapters run theirs with one seed; the record 'scoreboard' holds all of
them with three (``python book/_scripts/measure_scoreboard.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from statistics import mean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dfkd.errors import TrainingError, pick
from dfkd.method.loop import Distillation
from dfkd.method.settings import configure
from dfkd.method.sources import make_source
from dfkd.method.students import make_student
from dfkd.networks.zoo import load_teacher
from dfkd.pixels.colour import luma
from dfkd.pixels.metrics import psnr
from dfkd.pixels.resize import imresize
from dfkd.running.records import load_record
from dfkd.running.summaries import paired

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEACHER, WIDTH = "vdsr-small", 16
BUDGET = dict(steps=240, batch=8, blocks=8, imitation_steps=5, average=0.05, warm_up=5 / 12)
# With the step size of a long run, a generator would hardly move in so few updates.
DFSR = dict(method="dfsr", generator_lr=1e-3)
CMI = dict(method="cmi", generator_lr=1e-3)
ROWS = {
    "noise": dict(method="noise"),  # chapter 2
    "real photographs": dict(method="real"),
    "untrained generator": dict(method="untrained"),  # chapter 3
    "L_R alone": DFSR | dict(w_adversarial=0.0),
    "L_GEN alone": DFSR | dict(w_recon=0.0),  # chapter 4
    "L_GEN and L_R": DFSR,
    "contrast, W_C = 10": CMI | dict(w_contrast=10.0),  # chapter 6
    "contrast, W_C = 1": CMI | dict(w_contrast=1.0),
    "two parts, random blocks": DFSR | dict(parts=2),  # chapter 7
    "two parts, identity blocks": DFSR | dict(parts=2, init="identity"),
    "everything": CMI | dict(w_contrast=1.0, parts=2),  # chapter 8
    "dead leaves": dict(method="dead-leaves"),  # chapter 10
    "sliced, then dead leaves": dict(method="dead-leaves", init="teacher"),
    "sliced, SOAP": dict(method="dead-leaves", init="teacher", optim="soap", warm_up=0.02),
}
FILTER = "noise filter"  # bicubic and 49 weights fitted to noise, no run: what chapter 2 finds, and a row ever since
SINCE = {  # in which chapter a row is new
    2: ("noise", "real photographs"),
    3: ("untrained generator", "L_R alone"),
    4: ("L_GEN alone", "L_GEN and L_R"),
    6: ("contrast, W_C = 10", "contrast, W_C = 1"),
    7: ("two parts, random blocks", "two parts, identity blocks"),
    8: ("everything",),
    10: ("dead leaves", "sliced, then dead leaves", "sliced, SOAP"),
}
STEPS = ("optim", "lr", "warm_up")  # in which runs from one sliced start may differ
SCALES = ("x2", "x3", "x4")
CORNERS = {"astronaut": (264, 40), "chelsea": (36, 90), "coffee": (100, 200), "rocket": (100, 0)}
SIDE = 240  # divisible by 2, 3 and 4
CLOSE_UP = (..., slice(74, 170), slice(83, 179))  # of the astronaut: the mission patch on her sleeve
LEARN_FROM = ("brick", "camera", "coins", "grass", "gravel", "hubble_deep_field", "moon", "page", "text")


def photographs() -> dict[str, Tensor]:
    """The four test squares, luma [1, 1, 240, 240] by name. No student learns from them."""
    return {
        name: _photograph(name)[..., top : top + SIDE, left : left + SIDE] for name, (top, left) in CORNERS.items()
    }


def training_photographs() -> list[Tensor]:
    """Luma of nine other photographs, for the row that is allowed to learn from data."""
    return [_photograph(name) for name in LEARN_FROM]


def _photograph(name: str) -> Tensor:
    from skimage import data  # slow to import

    pixels = torch.from_numpy(getattr(data, name)()).float() / 255
    rgb = pixels.permute(2, 0, 1)[None, :3] if pixels.dim() == 3 else pixels.expand(1, 3, *pixels.shape)
    return luma(rgb)


def begin(row: str, seed: int = 0, sliced: Distillation | None = None, **settings) -> Distillation:
    """The run of one row, at its start.

    Args:
        row: a name among `ROWS`.
        seed: of all random streams.
        sliced: a run that has not made its first update and differs in the optimiser and its steps alone: its student
            and its source are copied, which spares slicing the same student again.
        settings: other values for `configure`, to try what the row does not.

    Raises:
        TrainingError: `sliced` is another kind of run, or has begun.
    """
    config = configure(**{**BUDGET, **ROWS[pick("row", row, ROWS)], "seed": seed, **settings})
    teacher = load_teacher(TEACHER)
    if sliced is not None:
        if sliced.step or replace(config, **{name: getattr(sliced.config, name) for name in STEPS}) != sliced.config:
            raise TrainingError("a sliced start is taken over before its first update, by a run with other steps alone")
        return Distillation(teacher, deepcopy(sliced.student), deepcopy(sliced.source), config)
    source = make_source(config, teacher, training_photographs() if config.method == "real" else None)
    return Distillation(teacher, make_student(config, WIDTH, teacher, source), source, config)


def finish(run: Distillation) -> list[dict[str, float]]:
    """Carry a run to its end; returns the reports of its rounds, the run's curve."""
    return list(run.rounds())


@torch.no_grad()
def score(model: nn.Module, scale: int) -> float:
    """Mean PSNR in dB over the four test squares, shaved by `scale` pixels."""
    squares = photographs().values()
    return mean(psnr(model(imresize(hr, 1 / scale), scale), hr, shave=scale) for hr in squares)


def known(chapter: int) -> tuple[str, ...]:
    """The rows up to a chapter, oldest first; the one that learnt from photographs last, next to the teacher."""
    rows = [row for since, names in SINCE.items() if since <= chapter for row in names]
    return (FILTER, *sorted(rows, key="real photographs".__eq__))


def dots(chapter: int, *rows: str) -> Figure:
    """The scoreboard as a picture, the chapter's own rows marked. End the cell with ``plt.show()``.

    Args:
        chapter: whose rows are new.
        rows: names among `ROWS`, in the order wanted; by default all that are known by that chapter.
    """
    from dfkd.book.plots import show_dots  # matplotlib only where something is drawn

    shown = [pick("row", row, (FILTER, *ROWS)) for row in rows or known(chapter)]
    panels = {scale: {row: _recorded(row, scale) for row in shown} for scale in SCALES}
    lines = {scale: {name: _recorded(name, scale)[0] for name in ("bicubic", "teacher")} for scale in SCALES}
    first = (FILTER,) if chapter == min(SINCE) else ()
    return show_dots(panels, lines, [row for row in (*first, *SINCE.get(chapter, ())) if row in shown])


def standings(*rows: str) -> str:
    """The record's figures for some rows, in their order, a line each: the mean over seeds and its 95 % interval."""
    lines = [f"{'dB on four photographs':26} {'x2':^10} {'x3':^10} {'x4':^10}".rstrip()]
    for row in ("bicubic", *(pick("row", row, (FILTER, *ROWS)) for row in rows), "teacher"):
        lines.append(f"{row:26} {' '.join(_cell(_recorded(row, scale)) for scale in SCALES)}".rstrip())
    return "\n".join(lines)


def gains(one: str, other: str) -> dict[str, dict[str, Any]]:
    """By how much a row of the record 'departures' is above another, seed by seed.

    Args:
        one: a row of ``book/_scripts/measure_departures.py``.
        other: what is taken away from it.

    Returns:
        At each scale, and in the mean over them, what `dfkd.running.summaries.paired` says, in dB.

    Raises:
        UnknownName: the record has no such row.
    """
    runs = load_record("departures")["runs"]
    for row in (one, other):
        pick("row", row, sorted({run["row"] for run in runs}))
    a, b = ({run["seed"]: run["psnr"] for run in runs if run["row"] == row} for row in (one, other))
    seeds = sorted(a.keys() & b.keys())
    found = {scale: paired([a[seed][scale] - b[seed][scale] for seed in seeds]) for scale in SCALES}
    return found | {"mean": paired([mean(a[seed].values()) - mean(b[seed].values()) for seed in seeds])}


def gains_table(questions: Mapping[str, tuple[str, str]]) -> str:
    """Some of `gains` as text, a line a question: mean ± half of the 95 % interval, a star where it leaves zero out."""
    lines = [f"{'gain, dB, seed by seed':26} {'x2':^13} {'x3':^13} {'x4':^13} {'mean':^13} seeds".rstrip()]
    for question, rows in questions.items():
        found = gains(*rows).values()
        cells = [
            f"{d['mean']:+.2f} ± {d['high'] - d['mean']:.2f}{'*' if d['low'] * d['high'] > 0 else ' '}" for d in found
        ]
        lines.append(f"{question:26} {' '.join(f'{cell:13}' for cell in cells)} {next(iter(found))['seeds']}")
    return "\n".join(lines)


def _recorded(row: str, scale: str) -> list[float]:
    return [run["psnr"][scale] for run in load_record("scoreboard")["runs"] if run["row"] == row]


def _cell(values: list[float]) -> str:
    found = paired(values)
    middle = f"{found['mean']:.2f}"
    return f"{middle}     " if found["low"] is None else f"{middle}±{found['high'] - found['mean']:.2f}"
