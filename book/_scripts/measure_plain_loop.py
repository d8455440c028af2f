"""How long the loop that one writes first takes for what the package's has after three minutes.

One after the other in one process of one thread, counted in its processor seconds: the package's loop for three
minutes, slicing included, then the straightforward one (default layout, float32, Adam, random start, teacher asked for
every batch) for an hour, looked at on the way. Judged by agreement with the teacher on drawn images.

    python book/_scripts/measure_plain_loop.py
"""

from __future__ import annotations

import time
from copy import deepcopy
from dataclasses import replace

import torch
from measuring import RECORDS, header
from torch import nn

from dfkd import Distillation, load_teacher, make_source, make_student
from dfkd.method.sources import DeadLeavesSource
from dfkd.running import bench, records
from dfkd.running.evaluation import agreement

RECORD = RECORDS / "plain-loop.json"
TEACHER, WIDTH, OURS, PLAIN = "vdsr", 32, 3, (1, 3, 10, 20, 40, 60)  # minutes
EACH = 0.26  # processor seconds an update of ours takes, a guess that the run corrects


def judged(student: nn.Module) -> dict[str, float]:
    """Agreement with the teacher in dB, by scale."""
    teacher, found = load_teacher(TEACHER), {}
    for scale in (2, 3, 4):
        drawn = DeadLeavesSource(192, seed=bench.HELD_OUT + scale, side=256, pool=8)
        found[f"x{scale}"] = round(agreement(teacher, student, drawn, scale, images=8), 2)
    return found


def ours(seconds: float) -> dict:
    """The package's loop, its schedule laid out so that it ends in time; slicing and drawing count."""
    started, config = time.process_time(), bench.recipe(TEACHER)
    teacher = load_teacher(TEACHER)
    source = make_source(config, teacher)
    student = make_student(config, WIDTH, teacher, source)
    steps = int((seconds - (time.process_time() - started)) / EACH)
    run = Distillation(teacher, student, source, replace(config, steps=steps))
    for _ in run.rounds():
        if time.process_time() - started > seconds:
            break
    spent = round(time.process_time() - started, 1)
    return {"updates": run.step, "planned": steps, "cpu_seconds": spent, "agreement": judged(run.averaged.module)}


def plain() -> list[dict]:
    """The straightforward loop, looked at after each of `PLAIN` minutes."""
    config = bench.recipe(TEACHER)
    student = make_student(replace(config, init="random"), WIDTH)
    updates, spent, done, found = bench.plain_updates(load_teacher(TEACHER), student, config), 0.0, 0, []
    for minutes in PLAIN:
        while spent < 60 * minutes:
            before = time.process_time()
            next(updates)
            spent, done = spent + time.process_time() - before, done + 1
        found.append({"minutes": minutes, "updates": done, "agreement": judged(deepcopy(student))})
        print(found[-1], flush=True)
    return found


def main() -> None:
    torch.set_num_threads(1)
    summary = "agreement of the package's loop after three minutes, and of a straightforward one after up to an hour"
    recipe = bench.recipe(TEACHER).to_dict()
    record = header(__file__, "plain-loop", summary, teacher=TEACHER, width=WIDTH, recipe=recipe)
    record["ours"] = ours(60 * OURS)
    print(record["ours"], flush=True)
    record["plain"] = plain()
    record["finished"] = records.now()
    records.write_json(RECORD, record)


if __name__ == "__main__":
    main()
