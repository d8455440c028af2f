"""Slice the public teacher in several ways, score the students on Set5, and keep the figures as a record.

The ways other than the package's are not written here a second time: the script runs the cells of chapter 10 that
define them. Nothing is chosen by these scores; the package's settings were there before.

    python book/_scripts/measure_slicing.py
"""

from __future__ import annotations

import time

import torch
from measuring import RECORDS, chapter_names, header
from torch.nn import functional

import dfkd
from dfkd.method.sources import DeadLeavesSource, NoiseSource, UntrainedSource
from dfkd.running import records

RECORD = RECORDS / "slicing.json"
CELLS = ("slice-images-a", "choose", "refit", "three-ways")
WIDTH, IMAGES = 32, 192


def chapter(teacher) -> dict:
    """What the chapter's cells define, for another teacher."""
    known = dict(dfkd=dfkd, torch=torch, F=functional, imresize=dfkd.imresize, DeadLeavesSource=DeadLeavesSource)
    known["layers"] = [teacher.head, *teacher.body, teacher.tail]
    return chapter_names("10_beyond_the_paper", *CELLS, teacher=teacher, **known)


def main() -> None:
    teacher = dfkd.load_teacher("vdsr")
    cells = chapter(teacher)
    some = cells["look"](DeadLeavesSource(), IMAGES)
    in_order = {
        "in order, dead leaves": DeadLeavesSource,
        "in order, noise": NoiseSource,
        "in order, untrained generator": lambda: UntrainedSource((2, 3, 4)),
    }
    ways = {name: lambda make=make: _in_order(teacher, make()) for name, make in in_order.items()}
    ways["copied"] = lambda: cells["slice_badly"](some, WIDTH, fit=False)
    ways["fitted to the teacher"] = lambda: cells["slice_badly"](some, WIDTH, fit=True)
    summary = f"the public teacher sliced to {WIDTH} channels, {IMAGES} images, no training"
    record = header(__file__, "slicing", summary, teacher="vdsr", images=IMAGES, seed=0, ways=[])
    for name, way in ways.items():
        started = time.process_time()
        student = way()
        row = {"way": name, "cpu_seconds": round(time.process_time() - started, 1), "scores": []}
        for scale in (2, 3, 4):
            score = dfkd.evaluate(student, "Set5", scale)
            row["scores"].append({"dataset": "Set5", "scale": scale, "psnr": round(score.psnr, 4)})
        record["ways"].append(row)
        print(name, row["cpu_seconds"], [s["psnr"] for s in row["scores"]], flush=True)
    records.write_json(RECORD, record)  # whole or not at all: minutes, and the old one stays until then


def _in_order(teacher, source):
    return dfkd.method.slicing.slice_teacher(teacher, WIDTH, source, images=IMAGES)


if __name__ == "__main__":
    main()
