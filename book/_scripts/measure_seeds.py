"""Run the rows that the paper's claim is about with more seeds, and keep the figures as a record, as they come.

The record 'scoreboard' has three seeds of every row. Its gain for contrast is smaller than what three can show, so
these rows get seven more, which had no part in raising the question. Runs already in the record are not run again.

    python book/_scripts/measure_seeds.py
"""

from __future__ import annotations

from pathlib import Path

from measure_scoreboard import SEEDS, outcome
from tqdm.auto import tqdm

from dfkd import records, scoreboard

RECORD = Path(__file__).parents[2] / "dfkd" / "records" / "seeds.json"
ROWS = ("L_GEN and L_R", "contrast, W_C = 1", "untrained generator")
MORE_SEEDS = range(SEEDS.stop, SEEDS.stop + 7)


def main() -> None:
    record = records.read_json(RECORD) if RECORD.exists() else {"runs": []}
    record |= {
        "kind": "scoreboard", "summary": "seven more seeds for three rows of the book's experiment",
        "command": "python book/_scripts/measure_seeds.py", "budget": scoreboard.BUDGET,
        "rows": {row: scoreboard.ROWS[row] for row in ROWS},
        "hardware": records.hardware(), "versions": records.versions(),
    }  # fmt: skip
    done = {(run["row"], run["seed"]) for run in record["runs"]}
    wanted = [(row, seed) for seed in MORE_SEEDS for row in ROWS if (row, seed) not in done]
    for row, seed in tqdm(wanted, desc="runs"):
        record["runs"].append(outcome(row, seed))
        record["finished"] = records.now()
        records.write_json(RECORD, record)


if __name__ == "__main__":
    main()
