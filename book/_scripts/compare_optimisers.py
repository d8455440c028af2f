"""Adam, Muon and SOAP from a sliced and from a random start, by agreement with the teacher on drawn images.

Each optimiser first gets a step size, the best of three with the first seed; then the others follow. Agreement is
measured along the way, with the seconds that the updates took; no photograph and no benchmark is looked at. Runs that
are there already are not run again.

    python book/_scripts/compare_optimisers.py
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from statistics import mean

from choose_recipe import BASE, HELD_OUT, WIDTH, agreement
from measuring import RECORDS, fill, header
from pytorch_optimizer import Muon
from torch import nn

from dfkd import Distillation, configure, load_teacher, make_source, make_student
from dfkd.method.optimisers import RECIPES, Recipe
from dfkd.method.schedules import cosine

RECORD = RECORDS / "optimisers.json"
STEPS, SEEDS, STARTS = 240, (0, 1, 2), ("teacher", "random")
MEASURED_AT = (60, 120, 240)
SIZES = {"adam": (3e-4, 6e-4, 1.2e-3), "muon": (1e-3, 3e-3, 1e-2), "soap": (6e-4, 1.2e-3, 2.4e-3)}
ENDS = 0.1  # step size of head and tail, which Muon leaves to Adam, relative to Muon's own


class MuonAndAdam(Muon):
    """Muon for the hidden layers, Adam for head and tail, as is usual; one step size for both."""

    def __init__(self, weights: Iterable[nn.Parameter], lr: float):
        head, *hidden, tail = weights
        super().__init__([{"params": hidden, "lr": lr, "use_muon": True},
                          {"params": [head, tail], "lr": lr, "use_muon": False}])  # fmt: skip

    def step(self, closure=None):
        self.param_groups[1]["lr"] *= ENDS  # the loop sets it anew before each step
        return super().step(closure)


RECIPES["muon"] = Recipe(lr=1e-2, make=MuonAndAdam, schedule=cosine, warm_up=0.02)


def course(run: tuple[str, str, float, int]) -> dict[str, list[dict]]:
    """Train; the course it took: agreement and seconds of this process at each of `MEASURED_AT`."""
    optim, start, lr, seed = run
    settings = {"optim": optim, "init": start, "lr": lr, "seed": seed, "steps": STEPS}
    config, teacher = configure(**BASE | settings), load_teacher("vdsr")
    source = make_source(config, teacher)
    task = Distillation(teacher, make_student(config, WIDTH, teacher, source), source, config)
    points, seconds, before = [], 0.0, time.process_time()
    for report in task.rounds():
        if report["step"] in MEASURED_AT:
            seconds += time.process_time() - before
            found = agreement(task.averaged.module, ["flat"])["flat"]
            points.append({"updates": report["step"], "cpu_seconds": round(seconds, 1), "agreement": found})
            before = time.process_time()
    return {"course": points}


def main() -> None:
    summary = "Adam, Muon and SOAP by agreement with the teacher on drawn images, sliced and random start"
    said = header(__file__, "optimisers", summary, teacher="vdsr", base=BASE | {"steps": STEPS}, held_out=HELD_OUT)
    names = ("optim", "start", "lr", "seed")

    def run(wanted: Iterable[tuple[str, str, float, int]]) -> dict:
        return fill(RECORD, said, [dict(zip(names, one, strict=True)) for one in wanted], course, by=names)

    grid = [(optim, lr) for optim, sizes in SIZES.items() for lr in sizes]
    record = run((optim, start, lr, SEEDS[0]) for start, (optim, lr) in itertools.product(STARTS, grid))
    best = {
        (optim, start): max(
            (mean(run["course"][-1]["agreement"]), run["lr"])
            for run in record["runs"] if (run["optim"], run["start"], run["seed"]) == (optim, start, SEEDS[0])
        )[1]
        for optim, start in itertools.product(SIZES, STARTS)
    }  # fmt: skip
    run((optim, start, lr, seed) for seed in SEEDS[1:] for (optim, start), lr in best.items())


if __name__ == "__main__":
    main()
