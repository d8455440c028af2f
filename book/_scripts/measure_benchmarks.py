"""The packaged students, their teacher and bicubic on every benchmark that is at hand: PSNR and SSIM at every scale.

A set whose pictures can neither be read nor fetched is named in the record, and left out; but none that was there.

    python book/_scripts/measure_benchmarks.py
"""

from __future__ import annotations

from dataclasses import asdict

from measuring import RECORDS, header

from dfkd import evaluate, load_model
from dfkd.errors import DataError
from dfkd.pixels.benchmarks import DATASETS
from dfkd.running import records

RECORD = RECORDS / "benchmarks.json"
NETWORKS = ("bicubic", "vdsr-half-cmi", "vdsr-half-best", "vdsr")


def main() -> None:
    summary = "the packaged students, their teacher and bicubic on the benchmarks"
    networks = {name: load_model(name) for name in NETWORKS}
    scores, missing = [], []
    for dataset, scales in DATASETS.items():
        lots = [(name, scale) for name in NETWORKS for scale in scales]
        try:
            scores += [asdict(evaluate(networks[name], dataset, scale, name)) for name, scale in lots]
        except DataError:
            missing.append(dataset)
    known = {score["dataset"] for score in records.read_json(RECORD)["scores"]} if RECORD.exists() else set()
    if lost := sorted(known & set(missing)):
        raise SystemExit(f"the record has {', '.join(lost)}, not to be read here: set DFKD_DATA_DIR, or fetch it")
    for score in scores:
        print(f"{score['model']:16} {score['dataset']:9} x{score['scale']} {score['psnr']:.3f} {score['ssim']:.4f}")
    records.write_json(RECORD, header(__file__, "benchmarks", summary, scores=scores, missing=missing))


if __name__ == "__main__":
    main()
