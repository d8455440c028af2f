"""Measure bicubic enlargement and the public teacher image by image, where a table's mean hides what matters.

Set5 at x4, from which the paper shows one picture, and Set14 at x3, next to its row that cannot be Set14 at x4. How an
image is measured is not written here a second time: see measure_protocol.py.

    python book/_scripts/measure_images.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from measure_protocol import CHAPTER, flat_ssim, photographs, remembering
from measuring import RECORDS, chapter_names, header

from dfkd import load_model
from dfkd.networks.weights import fingerprint
from dfkd.pixels.benchmarks import benchmark_files
from dfkd.running import records

RECORD = RECORDS / "images.json"
SETS = (("Set5", 4), ("Set14", 3))


@torch.no_grad()
def main() -> None:
    chapter = chapter_names(CHAPTER, "setup", "protocol-reconstruct", "protocol-measure")
    teacher = load_model("vdsr")
    residuals = {"bicubic": torch.zeros_like, "teacher": remembering(teacher.residual)}
    images = []
    for dataset, scale in SETS:
        for file, rgb in zip(benchmark_files(dataset, scale), photographs(dataset, scale), strict=True):
            row = {"dataset": dataset, "scale": scale, "file": Path(file).name}
            for name, residual in residuals.items():
                pair = chapter["reconstruct"](residual, rgb, scale, round_hr=True, round_sr=True)
                psnr = chapter["measure"](residual, rgb, scale)
                row[name] = {"psnr": round(psnr, 4), "ssim_flat_rounded": round(flat_ssim(*pair), 4)}
            images.append(row)
            print(row, flush=True)
    record = header(
        __file__, "protocol", "PSNR (dB) and SSIM image by image: Set5 at x4, Set14 at x3", teacher="vdsr",
        teacher_sha256=fingerprint(teacher.state_dict()), images=images,
    )  # fmt: skip
    records.write_json(RECORD, record)


if __name__ == "__main__":
    main()
