"""Give the untrained generator the seconds that contrast takes, and keep the figures as a record, as they come.

A run with contrast takes 2.3 times as long as one with an untrained generator of as many updates. So this row gets 560
updates where the others have 240. It has five of the seeds of the record 'seeds', so that they are compared in pairs.
Runs already in the record are not run again.

    python book/_scripts/measure_equal_seconds.py
"""

from __future__ import annotations

import time

from measure_scoreboard import scores
from measure_seeds import MORE_SEEDS
from measuring import RECORDS, fill, header

from dfkd.book import scoreboard

RECORD = RECORDS / "equal-seconds.json"
ROW = "untrained generator"
SEEDS = MORE_SEEDS[:5]
STEPS = 560  # 2.3 times 240
SETTINGS = {"steps": STEPS, "warm_up": 100 / STEPS}  # warm-up as long as in the book's experiment


def outcome(run: tuple[str, int]) -> dict:
    """Train the row with one seed."""
    row, seed = run
    started = time.process_time()
    task = scoreboard.begin(row, seed, **SETTINGS)
    scoreboard.finish(task)
    return {"psnr": scores(task.averaged.module), "cpu_seconds": round(time.process_time() - started, 1)}


def main() -> None:
    summary = "the untrained generator's row with as many seconds as the row with contrast has, five seeds"
    budget, rows = scoreboard.BUDGET | SETTINGS, {ROW: scoreboard.ROWS[ROW]}
    said = header(__file__, "scoreboard", summary, budget=budget, rows=rows)
    fill(RECORD, said, ({"row": ROW, "seed": seed} for seed in SEEDS), outcome, by=("row", "seed"))


if __name__ == "__main__":
    main()
