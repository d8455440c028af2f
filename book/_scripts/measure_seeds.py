"""Run the rows that the paper's claim is about with more seeds, and keep the figures as a record, as they come.

The record 'scoreboard' has three seeds of every row. Its gain for contrast is smaller than what three can show, so
these rows get seven more, which had no part in raising the question. Runs already in the record are not run again.

    python book/_scripts/measure_seeds.py
"""

from __future__ import annotations

from measure_scoreboard import SEEDS, outcome
from measuring import RECORDS, fill, header

from dfkd.book import scoreboard

RECORD = RECORDS / "seeds.json"
ROWS = ("L_GEN and L_R", "contrast, W_C = 1", "untrained generator")
MORE_SEEDS = range(SEEDS.stop, SEEDS.stop + 7)


def main() -> None:
    rows = {row: scoreboard.ROWS[row] for row in ROWS}
    summary = "three rows of the book's experiment with seven seeds that 'scoreboard' lacks"
    said = header(__file__, "scoreboard", summary, budget=scoreboard.BUDGET, rows=rows)
    fill(RECORD, said, ({"row": row, "seed": seed} for seed in MORE_SEEDS for row in ROWS), outcome, by=("row", "seed"))


if __name__ == "__main__":
    main()
