"""Distil the EDSR teacher of chapter 11 into students of several widths, three seeds each, and keep what came out.

The functions that train, distil and count are the chapter's own cells. Runs already in the record are not repeated.

    python book/_scripts/measure_your_own.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from measuring import RECORDS, chapter_names, fill, header

from dfkd.book import scoreboard
from dfkd.method.sources import DeadLeavesSource
from dfkd.networks.edsr import EDSR
from dfkd.networks.onnx import export_onnx
from dfkd.running import records
from dfkd.running.evaluation import agreement

RECORD = RECORDS / "your-own.json"
CELLS = ("setup", "train-teacher", "begin", "count", "milliseconds")
SEEDS = range(3)
RUNS = [("dead-leaves", width) for width in (16, 8, 4, 24, 32)] + [("noise", 16), ("dfsr", 16)]


def figures(net, cells: dict) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(net, Path(folder) / "net.onnx", 2)
        size = (Path(folder) / "net.onnx").stat().st_size
    return {
        "psnr": {f"x{scale}": round(scoreboard.score(net, scale), 3) for scale in (2, 3, 4)},
        "parameters": sum(p.numel() for p in net.parameters()), "multiply_adds": cells["multiply_adds"](net),
        "onnx_bytes": size,
    }  # fmt: skip


def timings(cells: dict) -> dict[str, float]:
    """Milliseconds by width, taken in turn several times: what else the machine does then hits all alike."""
    nets = {width: EDSR(width, blocks=4).eval() for method, width in RUNS if method == "dead-leaves"}
    rounds = [{width: cells["milliseconds"](net) for width, net in nets.items()} for _ in range(5)]
    return {str(width): round(min(times[width] for times in rounds), 2) for width in sorted(nets)}


def outcome(method: str, width: int, seed: int, teacher, cells: dict) -> dict:
    started = time.process_time()
    settings = {"generator_lr": 1e-3} if method == "dfsr" else {}
    run = cells["begin"](teacher, width, method, seed, **settings)
    curve = list(run.rounds())
    spent, student = time.process_time() - started, run.averaged.module.eval()
    unseen = DeadLeavesSource(seed=1000, pool=8)
    return {
        **figures(student, cells),
        "agreement_x2": round(agreement(teacher, student, unseen, 2), 3), "loss": round(curve[-1]["distillation"], 5),
        "cpu_seconds": round(spent, 1),
    }  # fmt: skip


def main() -> None:
    cells = chapter_names("11_your_own", *CELLS)
    teacher = cells["train_teacher"]()
    summary = "chapter 11's EDSR, distilled into students of several widths, three seeds each"
    said = header(__file__, "your-own", summary, budget=cells["BUDGET"], teacher=figures(teacher, cells))
    said["milliseconds"] = timings(cells)
    wanted = [{"method": method, "width": width, "seed": seed} for seed in SEEDS for method, width in RUNS]
    # In this process: what cells of a chapter define, another cannot import.
    record = fill(
        RECORD, said, wanted, lambda run: outcome(*run, teacher, cells), by=("method", "width", "seed"), workers=0
    )
    records.write_json(RECORD, record)


if __name__ == "__main__":
    main()
