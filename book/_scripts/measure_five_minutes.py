"""What the best recipe gives in five minutes of a processor with AMX, which the first students took two hours for.

The drawn half of `measure_cost_of_no_data.py`, on another processor and with as many updates as fit, slicing included.
The record of the first students is 'vdsr-half-12500'. Runs that are there already are not run again.

    python book/_scripts/measure_five_minutes.py
"""

from __future__ import annotations

from functools import partial

from distil_students import BEST
from measure_cost_of_no_data import SEEDS, outcome
from measuring import RECORDS, fill, header

from dfkd.networks.precision import preferred

RECORD = RECORDS / "five-minutes.json"
STEPS = 1700  # 1,800 took 306 seconds


def main() -> None:
    precision, because = preferred()
    summary = f"the best recipe, {STEPS} updates, where {because} makes {precision} fast"
    said = header(__file__, "five-minutes", summary, teacher="vdsr", recipe=BEST | {"steps": STEPS}, because=because)
    wanted = [{"images": "drawn", "seed": seed} for seed in SEEDS]
    fill(RECORD, said, wanted, partial(outcome, steps=STEPS), by=("images", "seed"))


if __name__ == "__main__":
    main()
