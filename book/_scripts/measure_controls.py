"""The most telling rows of the departures again, on the public teacher: short runs from a random start, three seeds.

Judged by agreement with the teacher on drawn images that no run has seen. No photograph is looked at. Runs that are
there already are not run again.

    python book/_scripts/measure_controls.py [ROW ...]
"""

from __future__ import annotations

import sys
import time

from measuring import RECORDS, fill, header
from torch import Tensor

from dfkd import configure
from dfkd.method.sources import DeadLeavesSource, UntrainedSource
from dfkd.method.sources.exposure import Exposure, draw_exposure, stretched
from dfkd.running.evaluation import agreement
from dfkd.running.jobs import distill_job

RECORD = RECORDS / "controls.json"
SEEDS = range(3)
HELD_OUT = {"seed": 10_000, "side": 256}
BASE = {"optim": "soap", "precision": "bfloat16", "reuse": 4, "imitation_steps": 20, "steps": 300}
EXPOSED, STRETCHED = {"exposure": (0.1, 1.0)}, {"stretch": 3.0}
ROWS: dict[str, dict] = {
    "untrained, exposed": {"method": "untrained"} | EXPOSED,
    "untrained, exposed, stretched": {"method": "untrained"} | EXPOSED | STRETCHED,
    # Is it the clipped tones, or only more contrast? Either alone:
    "untrained, exposed, clipped, contrast as before": {"method": "untrained", "contrast_as_before": True} | EXPOSED,
    "untrained, exposed, more contrast": {"method": "untrained", "exposure": (0.2, 1.0)},
    "cmi+": {"method": "cmi+"},
    "cmi+, stretched": {"method": "cmi+"} | STRETCHED,
    "dead leaves": {"method": "dead-leaves"},
    "cmi": {"method": "cmi"},
    "untrained": {"method": "untrained"},
    "dfsr+, stretched": {"method": "dfsr+"} | STRETCHED,
}


def clip_alone(source: UntrainedSource) -> None:
    """Stretch and clip, then give each image its old contrast back: the tones are those of 'stretch', no more is."""

    def generate(z: Tensor, scale: int) -> Tensor:
        images, rng = source.generators[str(scale)](z), source.streams()["exposure_rng"]
        clipped = stretched(images, STRETCHED["stretch"], rng)
        gain = images.std((1, 2, 3), keepdim=True) / clipped.std((1, 2, 3), keepdim=True)
        even = Exposure(gain, images.mean((1, 2, 3), keepdim=True)).of(clipped)
        return draw_exposure(len(z), EXPOSED["exposure"], rng).of(even)

    source.generate = generate


def outcome(run: tuple[str, int]) -> dict:
    """Train a row with a seed: its agreement with the teacher, and what it cost."""
    row, seed = run
    started = time.process_time()
    settings = BASE | ROWS[row] | {"seed": seed}
    even = settings.pop("contrast_as_before", False)
    task = distill_job("vdsr", 32, configure(**settings)).build()
    if even:
        clip_alone(task.source)
    list(task.rounds())
    spent = time.process_time() - started
    held_out = {scale: DeadLeavesSource(**HELD_OUT) for scale in (2, 3, 4)}
    found = {f"x{s}": agreement(task.teacher, task.averaged.module, source, s) for s, source in held_out.items()}
    return {
        "agreement": {scale: round(decibels, 3) for scale, decibels in found.items()},
        "movement": task.source.movement(), "cpu_seconds": round(spent, 1),
    }  # fmt: skip


def main(wanted: list[str]) -> None:
    summary = "sources of images on the public teacher: short runs, by agreement with it on drawn images"
    said = header(__file__, "controls", summary, teacher="vdsr", base=BASE, held_out=HELD_OUT, rows=ROWS)
    entries = [{"row": row, "seed": seed} for seed in SEEDS for row in wanted or ROWS]
    fill(RECORD, said, entries, outcome, by=("row", "seed"))


if __name__ == "__main__":
    main(sys.argv[1:])
