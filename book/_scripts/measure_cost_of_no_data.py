"""What not having the data costs: the best recipe, a twentieth as long, on drawn images and on the 291 photographs.

Three seeds of each, everything else equal; Set5 and Set14. The students on photographs are the yardstick and are not
data-free. Runs that are there already are not run again.

    python book/_scripts/measure_cost_of_no_data.py
"""

from __future__ import annotations

import itertools
import time
from dataclasses import asdict

from distil_students import BEST
from measuring import RECORDS, fill, header

from dfkd import Distillation, configure, evaluate, load_teacher, make_source, make_student
from dfkd.running.jobs import read_pictures

RECORD = RECORDS / "cost-of-no-data.json"
WIDTH, STEPS, SEEDS = 32, 2000, (0, 1, 2)
SOURCES = {"drawn": {"method": "dead-leaves", "textured": BEST["textured"]}, "photographs": {"method": "real"}}


def outcome(run: tuple[str, int], steps: int = STEPS) -> dict:
    """Train on a source with a seed: scores and cost."""
    name, seed = run
    shared = {setting: value for setting, value in BEST.items() if setting not in ("method", "textured")}
    config, teacher = configure(**shared | SOURCES[name] | {"steps": steps, "seed": seed}), load_teacher("vdsr")
    started = time.process_time()
    source = make_source(config, teacher, read_pictures(None, config.patch) if name == "photographs" else None)
    task = Distillation(teacher, make_student(config, WIDTH, teacher, source), source, config)
    list(task.rounds())
    spent = round(time.process_time() - started, 1)
    sets = itertools.product(("Set5", "Set14"), config.scales)
    scores = [asdict(evaluate(task.averaged.module, dataset, scale, name)) for dataset, scale in sets]
    return {"scores": scores, "cpu_seconds": spent}


def main() -> None:
    summary = "the best recipe, a twentieth as long, on drawn images and on the 291 photographs"
    said = header(__file__, "cost-of-no-data", summary, teacher="vdsr", recipe=BEST | {"steps": STEPS})
    wanted = [{"images": name, "seed": seed} for seed in SEEDS for name in SOURCES]
    fill(RECORD, said, wanted, outcome, by=("images", "seed"))


if __name__ == "__main__":
    main()
