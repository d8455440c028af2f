"""Choose step sizes for long runs by short ones, judged without data: by agreement with the teacher on drawn images.

Each candidate is trained for a few hundred steps with the whole schedule squeezed into them, and its averaged student
is compared with the teacher on dead leaves of a seed that no run uses. No benchmark is looked at. Candidates and
outcomes are written to a record as they come; those already there are not run again.

    python book/_scripts/choose_step_sizes.py [GROUP ...]
"""

from __future__ import annotations

import itertools
import sys
import time

from measuring import RECORDS, fill, header

from dfkd import Distillation, configure, load_teacher, make_source, make_student
from dfkd.method.sources import DeadLeavesSource
from dfkd.running.evaluation import agreement

RECORD = RECORDS / "step-sizes.json"
STEPS, WIDTH, HELD_OUT_SEED = 300, 32, 10_000
CANDIDATES = {
    "slicing": ({"method": "dead-leaves", "init": "teacher"}, {"lr": (3e-4, 6e-4, 1.2e-3)}),
    "noise": ({"method": "noise"}, {"lr": (5e-4, 1e-3, 2e-3)}),
    "generator": ({"method": "dfsr"}, {"generator_lr": (1e-5, 1e-4, 1e-3)}),
    "contrast": ({"method": "cmi"}, {"w_contrast": (0.1, 1.0, 10.0)}),
    "precision": ({"method": "cmi", "w_contrast": 1.0}, {"precision": ("bfloat16",)}),  # the same is above in float32
    # What contrast does to a generator shows later than after 300 updates (see chapter 8).
    "longer": (
        {"method": "cmi", "precision": "bfloat16", "steps": 1200, "lr": 1e-3}, {"w_contrast": (1.0, 10.0)},
    ),
}  # fmt: skip


def outcome(run: tuple[dict]) -> dict:
    """Train with these settings; agreement in dB by scale, and what it cost."""
    (settings,), teacher = run, load_teacher("vdsr")
    config = configure(**{"steps": STEPS, **settings})
    source = make_source(config, teacher)
    task = Distillation(teacher, make_student(config, WIDTH, teacher, source), source, config)
    started = time.process_time()
    list(task.rounds())
    spent = time.process_time() - started
    found = {}
    for scale in config.scales:
        held_out = DeadLeavesSource(config.patch, seed=HELD_OUT_SEED)
        found[f"x{scale}"] = round(agreement(teacher, task.averaged.module, held_out, scale), 3)
    return {"agreement": found, "movement": source.movement(), "cpu_seconds": round(spent, 1)}


def candidates(group: str) -> list[dict]:
    """The settings of a group, all combinations."""
    fixed, grid = CANDIDATES[group]
    return [fixed | dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def main(wanted: list[str]) -> None:
    summary = "step sizes compared by agreement with the teacher on drawn images"
    said = header(__file__, "step-sizes", summary, teacher="vdsr", steps=STEPS, held_out_seed=HELD_OUT_SEED)
    entries = [{"group": group, "settings": one} for group in wanted or CANDIDATES for one in candidates(group)]
    fill(RECORD, said, entries, outcome, by=("settings",), under="outcomes")


if __name__ == "__main__":
    main(sys.argv[1:])
