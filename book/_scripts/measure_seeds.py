"""Run the rows that the paper's claim is about with more seeds, and keep the figures as a record, as they come.

The record 'scoreboard' has three seeds of every row. Its gain for contrast is smaller than what three can show, so
these rows get seven more, which had no part in raising the question. Runs already in the record are not run again.

    python book/_scripts/measure_seeds.py
"""

from __future__ import annotations

from measure_scoreboard import SEEDS, outcome
from measuring import RECORDS, header
from tqdm.auto import tqdm

from dfkd.book import scoreboard
from dfkd.running import records

RECORD = RECORDS / "seeds.json"
ROWS = ("L_GEN and L_R", "contrast, W_C = 1", "untrained generator")
MORE_SEEDS = range(SEEDS.stop, SEEDS.stop + 7)


def main() -> None:
    record = records.read_json(RECORD) if RECORD.exists() else {"runs": []}
    rows = {row: scoreboard.ROWS[row] for row in ROWS}
    summary = "three rows of the book's experiment with seven seeds that 'scoreboard' lacks"
    record |= header(__file__, "scoreboard", summary, budget=scoreboard.BUDGET, rows=rows)
    done = {(run["row"], run["seed"]) for run in record["runs"]}
    wanted = [(row, seed) for seed in MORE_SEEDS for row in ROWS if (row, seed) not in done]
    for row, seed in tqdm(wanted, desc="runs"):
        record["runs"].append(outcome(row, seed))
        record["finished"] = records.now()
        records.write_json(RECORD, record)


if __name__ == "__main__":
    main()
