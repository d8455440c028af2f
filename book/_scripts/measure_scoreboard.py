"""Run every row of the book's experiment with three seeds and keep the figures as a record, row by row as they come.

Rows already in the record are not run again.

    python book/_scripts/measure_scoreboard.py
"""

from __future__ import annotations

import time

from measuring import RECORDS, chapter_names, fill, header

from dfkd import load_model
from dfkd.book import scoreboard

RECORD = RECORDS / "scoreboard.json"
SEEDS = range(3)
MODELS = {"bicubic": "bicubic", "teacher": scoreboard.TEACHER}  # rows that nothing is trained for
FITTED = ("setup", "players", "kinds", "teacher-on", "filter", "filter-model")  # cells of chapter 2, one row more


def scores(model) -> dict[str, float]:
    return {f"x{scale}": round(scoreboard.score(model, scale), 3) for scale in (2, 3, 4)}


def outcome(run: tuple[str, int | None]) -> dict:
    row, seed = run
    if row in MODELS:
        return {"psnr": scores(load_model(MODELS[row]))}
    if row == scoreboard.FILTER:
        return {"psnr": scores(chapter_names("02_distillation", *FITTED)["noise_filter"])}
    started = time.process_time()
    task = scoreboard.begin(row, seed)
    curve = scoreboard.finish(task)
    return {
        "psnr": scores(task.averaged.module), "loss": round(curve[-1]["distillation"], 5),
        "movement": task.source.movement(), "cpu_seconds": round(time.process_time() - started, 1),
    }  # fmt: skip


def main() -> None:
    summary = "the book's experiment: every row with three seeds, PSNR on four photographs"
    said = header(__file__, "scoreboard", summary, budget=scoreboard.BUDGET, rows=scoreboard.ROWS)
    trained = [{"row": row, "seed": seed} for seed in SEEDS for row in scoreboard.ROWS]
    untrained = [{"row": row} for row in (*MODELS, scoreboard.FILTER)]
    fill(RECORD, said, [*untrained, *trained], outcome, by=("row", "seed"))


if __name__ == "__main__":
    main()
