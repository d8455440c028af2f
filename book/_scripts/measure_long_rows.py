"""The rows of the paper's comparison on the public teacher, longer: SOAP, a random start, the same streams of numbers.

First every row with equally many images, and three seeds of those that `AGAIN` names. Then, where no generator is
trained, as many updates as fit into the seconds that 'cmi+' took. Scored on Set5 and Set14, by which nothing is chosen,
and by agreement with the teacher on drawn images. Runs that are there already are not run again.

    python book/_scripts/measure_long_rows.py [ROW ...]
"""

from __future__ import annotations

import itertools
import sys
import time
from dataclasses import asdict

from measuring import RECORDS, fill, header

from dfkd import configure, evaluate
from dfkd.method.sources import DeadLeavesSource
from dfkd.running import records
from dfkd.running.evaluation import agreement
from dfkd.running.jobs import distill_job

RECORD = RECORDS / "long-rows.json"
HELD_OUT = {"seed": 10_000, "side": 256}
BASE = {"optim": "soap", "precision": "bfloat16", "reuse": 4, "imitation_steps": 20, "steps": 1500}
EXPOSED, STRETCHED = {"exposure": (0.1, 1.0)}, {"stretch": 3.0}
ROWS: dict[str, dict] = {
    "noise": {"method": "noise"},
    "untrained": {"method": "untrained"},
    "untrained, exposed, stretched": {"method": "untrained"} | EXPOSED | STRETCHED,
    "dfsr": {"method": "dfsr"},
    "cmi": {"method": "cmi"},
    "dfsr+, stretched": {"method": "dfsr+"} | STRETCHED,
    "cmi+, stretched": {"method": "cmi+"} | STRETCHED,
    "cmi+, stretched, three parts": {"method": "cmi+", "parts": 3} | STRETCHED,
    "dead leaves": {"method": "dead-leaves"},
}
AGAIN = dict.fromkeys(
    ("cmi+, stretched", "untrained, exposed, stretched", "dead leaves", "dfsr+, stretched"), (1, 2)
)  # fmt: skip
SAME_SECONDS, AS = ("untrained, exposed, stretched", "dead leaves"), "cmi+, stretched"


def outcome(run: tuple[str, int, int]) -> dict:
    """Train a row with a seed for so many updates: scores, agreement and cost."""
    row, seed, steps = run
    started = time.process_time()
    task = distill_job("vdsr", 32, configure(**BASE | ROWS[row] | {"seed": seed, "steps": steps})).build()
    list(task.rounds())
    spent, student = time.process_time() - started, task.averaged.module
    held_out = {scale: DeadLeavesSource(**HELD_OUT) for scale in (2, 3, 4)}
    agreed = {f"x{s}": round(agreement(task.teacher, student, source, s), 3) for s, source in held_out.items()}
    cases = itertools.product(("Set5", "Set14"), (2, 3, 4))
    return {
        "agreement": agreed, "scores": [asdict(evaluate(student, dataset, scale, row)) for dataset, scale in cases],
        "movement": task.source.movement(), "cpu_seconds": round(spent, 1),
    }  # fmt: skip


def main(wanted: list[str]) -> None:
    summary = "sources of images on the public teacher, SOAP from a random start, on Set5 and Set14"
    said = header(__file__, "long-rows", summary, teacher="vdsr", base=BASE, held_out=HELD_OUT, rows=ROWS)
    steps = BASE["steps"]
    entries = [{"row": row, "seed": seed, "steps": steps} for row in ROWS for seed in (0, *AGAIN.get(row, ()))]
    entries = [entry for entry in sorted(entries, key=lambda entry: entry["seed"]) if entry["row"] in (wanted or ROWS)]
    fill(RECORD, said, entries, outcome, by=("row", "seed", "steps"))
    equal = [run for run in records.read_json(RECORD)["runs"] if run["steps"] == steps]
    took = {(run["row"], run["seed"]): run["cpu_seconds"] for run in equal}
    longer = [
        {"row": row, "seed": seed, "steps": 10 * round(steps * took[AS, seed] / took[row, seed] / 10)}
        for row in SAME_SECONDS for seed in range(3)
        if (AS, seed) in took and (row, seed) in took and row in (wanted or ROWS)
    ]  # fmt: skip
    fill(RECORD, said, longer, outcome, by=("row", "seed", "steps"))


if __name__ == "__main__":
    main(sys.argv[1:])
