"""Run every row of the book's experiment with three seeds and keep the figures as a record, row by row as they come.

Rows already in the record are not run again.

    python book/_scripts/measure_scoreboard.py
"""

from __future__ import annotations

import time

from measuring import RECORDS, header
from tqdm.auto import tqdm

from dfkd import load_model
from dfkd.book import scoreboard
from dfkd.running import records

RECORD = RECORDS / "scoreboard.json"
SEEDS = range(3)


def scores(model) -> dict[str, float]:
    return {f"x{scale}": round(scoreboard.score(model, scale), 3) for scale in (2, 3, 4)}


def outcome(row: str, seed: int) -> dict:
    started = time.process_time()
    run = scoreboard.begin(row, seed)
    curve = scoreboard.finish(run)
    return {
        "row": row, "seed": seed, "psnr": scores(run.averaged.module), "loss": round(curve[-1]["distillation"], 5),
        "movement": run.source.movement(), "cpu_seconds": round(time.process_time() - started, 1),
    }  # fmt: skip


def main() -> None:
    record = records.read_json(RECORD) if RECORD.exists() else {"runs": []}
    summary = "the book's experiment: every row with three seeds, PSNR on four photographs"
    record |= header(__file__, "scoreboard", summary, budget=scoreboard.BUDGET, rows=scoreboard.ROWS)
    done = {(run["row"], run.get("seed")) for run in record["runs"]}
    for name in ("bicubic", scoreboard.TEACHER):
        row = "teacher" if name == scoreboard.TEACHER else name
        if (row, None) not in done:
            record["runs"].append({"row": row, "psnr": scores(load_model(name))})
    wanted = [(row, seed) for seed in SEEDS for row in scoreboard.ROWS if (row, seed) not in done]
    for row, seed in tqdm(wanted, desc="runs"):
        record["runs"].append(outcome(row, seed))
        records.write_json(RECORD, record)


if __name__ == "__main__":
    main()
