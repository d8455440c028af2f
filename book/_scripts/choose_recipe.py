"""What makes a better student: each choice alone, by agreement with the teacher on drawn images that no run has seen.

A row is the base recipe with one thing changed, trained for equally many updates on images of equally many pixels. No
photograph and no benchmark is looked at. Held out are canvases of another seed, flat and textured, in crops so large
that borders hardly count. Rows of float32 ran on a processor that has no bfloat16: hold them against the row 'float32',
not against 'base'. Rows that are there already are not run again.

    python book/_scripts/choose_recipe.py [ROW ...]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from functools import cache
from itertools import pairwise

import torch
from measuring import RECORDS, fill, header
from torch import Tensor, nn

from dfkd import Config, Distillation, configure, imresize, load_teacher, make_source, make_student
from dfkd.method.answers import Answered
from dfkd.method.slicing import choose_channels
from dfkd.method.soap import SOAP
from dfkd.method.sources import DeadLeavesSource, dead_leaves
from dfkd.networks.precision import answer
from dfkd.networks.vdsr import VDSR
from dfkd.seeds import stream

RECORD = RECORDS / "recipe.json"
WIDTH, SEEDS = 32, (0,)
HELD_OUT = {"seed": 10_000, "side": 256, "patch": 192, "images": 8}
KINDS = {"flat": 0.0, "textured": 1.0}  # share of textured canvases
BASE = {
    "method": "dead-leaves", "init": "teacher", "optim": "soap", "precision": "bfloat16", "reuse": 4, "steps": 1200,
}  # fmt: skip
FLOAT32 = {"precision": "float32"}
# name -> settings that differ, and how the run differs where no setting says it
ROWS: dict[str, dict] = {
    "base": {},
    "adam": {"optim": "adam", "lr": 6e-4},
    "patch 96, batch 4": {"patch": 96, "batch": 4},
    "squared error in the last third": {"squared": 1 / 3},
    "textures": {"textured": 1.0},
    "half of the canvases textured": {"textured": 0.5},
    "half textured, all in focus": {"textured": 0.5, "leaves": {"DEFOCUS": 0.0}},
    "twice as many leaves": {"leaves": {"SHAPES_PER_PIXEL": 6000 / 512**2}},
    "step size 2.4e-3": {"lr": 2.4e-3},
    "answers used once": {"reuse": 1} | FLOAT32,
    "answers used eight times": {"reuse": 8},
    "float32": FLOAT32,
    "a quarter from an untrained generator": {"method": "untrained", "dead_leaves": 0.75},
    "hidden layers first, for a fifth": {"steps": 960, "before": 240} | FLOAT32,
    "the harder half of twice as many images": {"run": "Harder"},
    "the harder half, used eight times": {"run": "Harder", "reuse": 8},
    "teacher averaged over eight orientations": {"teacher": "Orientations"} | FLOAT32,
}


class Orientations(nn.Module):
    """A teacher averaged over the eight orientations of its input."""

    def __init__(self, teacher: nn.Module):
        super().__init__()
        self.teacher, self.blocks, self.width, self.stack = teacher, teacher.blocks, teacher.width, teacher.stack

    def forward(self, lr: Tensor, scale: int) -> Tensor:
        answers = []
        for flip in (False, True):
            for turns in range(4):
                turned = (lr.flip(3) if flip else lr).rot90(turns, (2, 3))
                sr = self.teacher(turned, scale).rot90(-turns, (2, 3))
                answers.append(sr.flip(3) if flip else sr)
        return torch.stack(answers).mean(0)


class Harder(Distillation):
    """Of twice as many images, those on which teacher and student disagree most."""

    def _ask(self) -> Answered:
        scale, precision = self._draw_scale(), self.config.precision
        lr = self.source.sample(2 * self.config.batch, scale)
        with torch.no_grad():
            sr = answer(self.teacher, lr, scale, precision)
            wrong = (sr - answer(self.student, lr, scale, precision)).abs().mean((1, 2, 3))
        worst = wrong.topk(self.config.batch).indices
        return scale, lr[worst], sr[worst]


def follow_hidden_layers(student: VDSR, teacher: VDSR, config: Config, updates: int) -> None:
    """Hints (FitNets): each hidden layer of a sliced student follows the teacher's channels that it was cut out of."""
    source, rng = make_source(config, teacher), stream(config.seed, "slicing")  # as `slice_teacher` has them
    images = torch.cat([imresize(source.sample(64, s), s).clamp(0, 1) for s in config.scales])
    kept, theirs, layers = [], images, teacher.stack()
    for layer, following in pairwise(layers):
        with torch.no_grad():
            theirs = layer(theirs).relu()
        kept.append(choose_channels(theirs, following, student.width, rng))
    soap = SOAP(student.parameters(), lr=6e-4)
    for update in range(updates):
        scale = config.scales[update % len(config.scales)]
        ours = theirs = imresize(source.sample(config.batch, scale), scale).clamp(0, 1)
        loss = 0.0
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
            for mine, layer, channels in zip(student.stack(), layers, [*kept, [0]], strict=True):
                with torch.no_grad():
                    theirs = layer(theirs)
                ours = mine(ours)
                loss = loss + (ours - theirs[:, channels]).abs().float().mean()
                ours, theirs = ours.relu(), theirs.relu()
        soap.zero_grad()
        loss.backward()
        soap.step()


@cache
def held_out(kind: str) -> list[tuple[int, Tensor, Tensor]]:
    """Images of a kind with the teacher's answers: scale, lr, T(lr)."""
    teacher, found = load_teacher("vdsr").to(memory_format=torch.channels_last), []
    for scale in (2, 3, 4):
        source = DeadLeavesSource(
            HELD_OUT["patch"], seed=HELD_OUT["seed"] + scale, side=HELD_OUT["side"], pool=HELD_OUT["images"],
            textured=KINDS[kind],
        )  # fmt: skip
        lr = source.sample(HELD_OUT["images"], scale)
        with torch.no_grad():
            found.append((scale, lr, teacher(lr, scale).clamp(0, 1)))
    return found


@torch.no_grad()
def agreement(student: nn.Module, kinds: Iterable[str] = KINDS) -> dict[str, list[float]]:
    """PSNR in dB of a student's answers, the teacher's being the truth, by kind of image; at x2, x3, x4."""

    def decibels(scale: int, lr: Tensor, sr: Tensor) -> float:
        return round(-10 * (student(lr, scale).clamp(0, 1) - sr).double().square().mean().log10().item(), 3)

    student = student.to(memory_format=torch.channels_last)
    return {kind: [decibels(*one) for one in held_out(kind)] for kind in kinds}


def outcome(row: tuple[str, int]) -> dict:
    """Train a row with a seed: what it reached, and what it cost."""
    name, seed = row
    settings = BASE | ROWS[name] | {"seed": seed}
    run, wrapper = settings.pop("run", "Distillation"), settings.pop("teacher", None)
    hinted = settings.pop("before", 0)
    painted = settings.pop("leaves", {})
    as_they_are = {name: getattr(dead_leaves, name) for name in painted}
    vars(dead_leaves).update(painted)
    config, teacher = configure(**settings), load_teacher("vdsr")
    asked = globals()[wrapper](teacher) if wrapper else teacher
    source = make_source(config, teacher)
    student = make_student(config, WIDTH, teacher, source)
    started = time.process_time()
    if hinted:
        follow_hidden_layers(student, teacher, config, hinted)
    task = globals()[run](asked, student, source, config)
    list(task.rounds())
    spent = time.process_time() - started
    vars(dead_leaves).update(as_they_are)
    return {"agreement": agreement(task.averaged.module), "cpu_seconds": round(spent, 1)}


def main(wanted: list[str]) -> None:
    summary = "choices for a better student, each alone, by agreement with the teacher on drawn images"
    said = header(__file__, "recipe", summary, teacher="vdsr", base=BASE, held_out=HELD_OUT)
    entries = [{"row": row, "seed": seed, "changed": ROWS[row]} for seed in SEEDS for row in wanted or ROWS]
    fill(RECORD, said, entries, outcome, by=("row", "seed"), under="outcomes")


if __name__ == "__main__":
    main(sys.argv[1:])
