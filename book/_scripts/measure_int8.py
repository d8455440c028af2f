"""What 8 bits cost the best student: PSNR on Set5 beside float, time for one image, size; layers kept in float.

    python book/_scripts/measure_int8.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from measuring import RECORDS, header
from torch import Tensor, nn

from dfkd import evaluate, load_student
from dfkd.networks.int8 import FIRST, export_int8
from dfkd.networks.onnx import export_onnx, load_onnx
from dfkd.running import records
from dfkd.running.exports import drawn_images

STUDENT, SCALES, KEPT = "vdsr-half-best", (2, 3, 4), (0, 1, 2, 4)


class File(nn.Module):
    """An ONNX file as a network of one scale."""

    def __init__(self, path: Path):
        super().__init__()
        self.run = load_onnx(path)

    def forward(self, lr: Tensor, scale: int) -> Tensor:
        return self.run(lr)


def milliseconds(networks: dict[str, nn.Module], lr: Tensor, scale: int) -> dict[str, float]:
    """For one image, the networks in turn: all meet the same disturbances."""
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(9):
        for name, network in networks.items():
            started = time.perf_counter()
            network(lr, scale)
            times[name].append(1e3 * (time.perf_counter() - started))
    return {name: round(median(found[1:]), 1) for name, found in times.items()}


def measure(scale: int, folder: Path) -> dict:
    """One scale: both files, their scores and times."""
    student, images = load_student(STUDENT), drawn_images(scale)
    export_onnx(student, folder / "float.onnx", scale)
    found = {"scale": scale, "float": {"psnr": round(evaluate(File(folder / "float.onnx"), "Set5", scale).psnr, 3)}}
    for kept in KEPT:
        file = folder / f"int8-{kept}.onnx"
        agrees = export_int8(student, file, scale, images, first=kept)
        found[f"int8, first {kept} in float"] = {
            "psnr": round(evaluate(File(file), "Set5", scale).psnr, 3), "agreement": round(agrees, 2),
            "kilobytes": round(file.stat().st_size / 1000, 1),
        }  # fmt: skip
    found["float"]["kilobytes"] = round((folder / "float.onnx").stat().st_size / 1000, 1)
    networks = {"float": File(folder / "float.onnx"), "int8": File(folder / f"int8-{FIRST}.onnx")}
    found["milliseconds"] = milliseconds(networks, torch.rand(1, 1, 128, 128), scale)
    return found


def main() -> None:
    summary = f"{STUDENT} in 8 bits beside float: PSNR on Set5, time for an image of 128x128, size of the file"
    record = header(__file__, "int8", summary, student=STUDENT, first=FIRST)
    with tempfile.TemporaryDirectory() as folder:
        record["scales"] = [measure(scale, Path(folder)) for scale in SCALES]
    record["finished"] = records.now()
    records.write_json(RECORDS / "int8.json", record)


if __name__ == "__main__":
    main()
