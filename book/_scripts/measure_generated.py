"""Keep a few of the images that the students of the comparison learnt from: what had the generators come to draw?

Generators are read from the checkpoints of finished runs (see distil_students.py); noise, the untrained generator and
dead leaves are what they were from the start. Of each, 16 images a scale, as bytes. Where the folder of a finished run
is not at hand, what the record has of it stays.

    python book/_scripts/measure_generated.py
"""

from __future__ import annotations

import base64

import torch
from measuring import RECORDS, ROOT, header

from dfkd import configure, make_source
from dfkd.networks.vdsr import VDSR
from dfkd.running import records, runs

RECORD = RECORDS / "generated.json"
IMAGES = 16
RUNS = {"dfsr": "vdsr-half-dfsr", "cmi": "vdsr-half-cmi-9000", "mended": "vdsr-half-cmi-12000"}
ORDER = ("noise", "untrained", *RUNS, "leaves")


@torch.no_grad()
def main() -> None:
    sources = {method: make_source(configure(method), VDSR(4, 1)) for method in ("noise", "untrained")}
    sources["leaves"] = make_source(configure("dead-leaves"), VDSR(4, 1))
    for name, run in RUNS.items():
        if (ROOT / "runs" / run / "record.json").exists():
            sources[name] = runs.open_run(ROOT / "runs" / run).task.source
    drawn = records.read_json(RECORD)["sources"] | {
        name: {f"x{scale}": as_bytes(source.sample(IMAGES, scale)) for scale in (2, 3, 4)}
        for name, source in sources.items()
    }
    summary = f"{IMAGES} low-resolution images a scale of each source, [images, side, side]"
    record = header(__file__, "images", summary, sources={name: drawn[name] for name in ORDER})
    records.write_json(RECORD, record)


def as_bytes(images: torch.Tensor) -> str:
    """Images [images, 1, side, side] in [0, 1] as base64 of one byte a pixel."""
    return base64.b64encode((255 * images).round().byte().numpy().tobytes()).decode()


if __name__ == "__main__":
    main()
