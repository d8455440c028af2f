"""Measure bicubic enlargement and the public teacher image by image, where a table's mean hides what matters.

Set5 at x4, from which the paper shows one picture, and Set14 at x3, next to its row that cannot be Set14 at x4. How an
image is measured is not written here a second time: see measure_protocol.py.

    python book/_scripts/measure_images.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from measure_protocol import chapter_names, flat_ssim, photographs, remembering

from dfkd import load_model, records
from dfkd.data import benchmark_files

RECORD = Path(__file__).parents[2] / "dfkd" / "records" / "images.json"
SETS = (("Set5", 4), ("Set14", 3))


@torch.no_grad()
def main() -> None:
    chapter = chapter_names("setup", "protocol-reconstruct", "protocol-measure")
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
    record = {
        "kind": "protocol", "summary": "PSNR (dB) and SSIM image by image: Set5 at x4, Set14 at x3",
        "command": "python book/_scripts/measure_images.py", "teacher": "vdsr",
        "teacher_sha256": records.fingerprint(teacher.state_dict()), "finished": records.now(),
        "hardware": records.hardware(), "versions": records.versions(), "images": images,
    }  # fmt: skip
    records.write_json(RECORD, record)


if __name__ == "__main__":
    main()
