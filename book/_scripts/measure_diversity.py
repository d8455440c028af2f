"""Follow the diversity of generated images through the book's experiment, with contrast and without, over seeds.

The same 64 vectors z are drawn again every 30 updates. Judged are the images of scale 2, by chapter 6's two
yardsticks; of the first seed a few images are kept. Runs already in the record are not run again.

    python book/_scripts/measure_diversity.py
"""

from __future__ import annotations

import base64
import time

import torch
from measuring import RECORDS, chapter_names, fill, header

from dfkd.book import scoreboard
from dfkd.seeds import stream

RECORD = RECORDS / "diversity.json"
ROWS = (
    {"row": "L_GEN and L_R"},
    {"row": "contrast, W_C = 1", "denominator": "negatives"},
    {"row": "contrast, W_C = 1", "denominator": "all"},
)
SEEDS, EVERY = range(3), 30  # updates between two looks
SHOWN, IMAGES_EVERY = 4, 60


def outcome(run: tuple[str, str | None, int]) -> dict:
    row, denominator, seed = run
    started = time.process_time()
    measured = chapter_names("06_contrast", "setup", "yardstick-a", "yardstick")["measured"]
    task = scoreboard.begin(row, seed, **({"denominator": denominator} if denominator else {}))
    z = torch.randn(64, 256, generator=stream(9, "z"))
    looks, kept = [], {}

    @torch.no_grad()
    def look(update: int) -> None:
        images = task.source.generators["2"](z)
        values = measured(images) | {"brightness": images.mean().item()}
        looks.append({"update": update} | {name: round(value, 5) for name, value in values.items()})
        if seed == SEEDS[0] and update % IMAGES_EVERY == 0:
            kept[str(update)] = as_bytes(images[:SHOWN])

    look(0)
    for report in task.rounds():
        if report["step"] % EVERY == 0:
            look(report["step"])
    found = {"looks": looks, "cpu_seconds": round(time.process_time() - started, 1)}
    return found | ({"images": kept} if kept else {})


def as_bytes(images: torch.Tensor) -> str:
    """Images [images, 1, side, side] in [0, 1] as base64 of one byte a pixel."""
    return base64.b64encode((255 * images).round().byte().numpy().tobytes()).decode()


def main() -> None:
    summary = "diversity of generated images of scale 2 along the book's experiment, with contrast and without"
    said = header(__file__, "diversity", summary, budget=scoreboard.BUDGET)
    wanted = [{**row, "seed": seed} for seed in SEEDS for row in ROWS]
    fill(RECORD, said, wanted, outcome, by=("row", "denominator", "seed"))


if __name__ == "__main__":
    main()
