"""What the reference code's whole run would cost: its operations counted, some of its steps timed, the rest on paper.

480,000 updates of the student at batch 128, and an update of the generator after every fifty, with the settings that
the public code of DFSR's authors has. Timed are a few of each in one process of one thread, at every scale in turn.

    python book/_scripts/measure_reference_run.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

import torch
from measuring import RECORDS, header
from torch.utils.flop_counter import FlopCounterMode

from dfkd import Distillation, configure, load_teacher, make_source
from dfkd.method.students import make_student
from dfkd.networks.precision import preferred
from dfkd.running import records

RECORD = RECORDS / "reference-run.json"
TEACHER, WIDTH, SCALES = "vdsr", 32, (2, 3, 4)
UPDATES, EVERY = 480_000, 50
SETTINGS = {
    "method": "dfsr", "optim": "paper", "batch": 128, "steps": UPDATES, "imitation_steps": EVERY, "parts": 1,
    "generator_lr": 1e-5, "reconstruction": "squared", "w_recon": 1.0, "precision": preferred()[0],
}  # fmt: skip
TIMED = 2  # of each, at every scale
# Dense bfloat16 at most, as the maker's data sheet of the A100 has it, and the share of it that is taken for granted.
CARD = {"name": "A100", "tflops": 312.0, "share": 0.3}


def measured(what: Callable[[], object]) -> dict[str, float]:
    """Operations and processor seconds of one, the mean over the scales; the first of each scale is not timed."""
    with FlopCounterMode(display=False) as counted:
        for _ in SCALES:
            what()
    started = time.process_time()
    for _ in range(TIMED * len(SCALES)):
        what()
    seconds = (time.process_time() - started) / (TIMED * len(SCALES))
    return {"tflop": round(counted.get_total_flops() / len(SCALES) / 1e12, 3), "cpu_seconds": round(seconds, 2)}


def main() -> None:
    torch.set_num_threads(1)
    config, teacher = configure(**SETTINGS), load_teacher(TEACHER)
    source = make_source(config, teacher)
    run = Distillation(teacher, make_student(config, WIDTH, teacher, source), source, config)
    turn = count()
    run._draw_scale = lambda: SCALES[next(turn) % len(SCALES)]
    student, generator = measured(run.imitation_step), measured(run.generation_stage)
    total = UPDATES * student["tflop"] + UPDATES / EVERY * generator["tflop"]
    seconds = UPDATES * student["cpu_seconds"] + UPDATES / EVERY * generator["cpu_seconds"]
    summary = "operations and time of the reference code's run of 480,000 updates, from a few of them"
    record = header(__file__, "reference-run", summary, teacher=TEACHER, width=WIDTH, settings=SETTINGS)
    record |= {
        "student_update": student, "generator_update": generator, "total_pflop": round(total / 1e3, 1),
        "here": {"days": round(seconds / 86400, 1), "gflops": round(1e3 * total / seconds, 1)},
        "on_paper": CARD | {
            "hours_on_one": round(total / CARD["tflops"] / CARD["share"] / 3600, 2),
            "hours_on_eight": round(total / CARD["tflops"] / CARD["share"] / 3600 / 8, 2),
            "megabytes_averaged_an_update": round(4e-6 * sum(p.numel() for p in run.student.parameters()), 2),
        },
    }  # fmt: skip
    records.write_json(RECORD, record)


if __name__ == "__main__":
    main()
