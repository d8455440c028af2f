"""A network from elsewhere and its data-free student: SPAN, which sees colour and one scale, into an EDSR on luma.

No SPAN is at hand, so one is trained here on the 291 photographs, with spandrel's own class, and written as its authors
write theirs. What follows is what anybody would type who brings such a file; the student sees drawn images alone.

    python book/_scripts/distil_foreign.py
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import torch
from distil_students import ROOT, dfkd
from measuring import RECORDS
from torch import nn
from tqdm.auto import tqdm

from dfkd import evaluate, imresize, load_teacher, read_image
from dfkd.method.schedules import cosine
from dfkd.method.soap import SOAP
from dfkd.method.sources.crops import Crops
from dfkd.networks.foreign import need_spandrel
from dfkd.pixels.benchmarks import fetch, training_files
from dfkd.running import records
from dfkd.seeds import seeded, stream
from dfkd.writing import replacing

SCALE, CHANNELS = 2, 24
STEPS, BATCH, PATCH, LR, WARM_UP, CLIP, SEED = 4000, 16, 48, 2e-3, 60, 0.4, 0
TEACHER, NAME = "span.pth", "span-edsr"
STUDENT = (
    "--method", "dead-leaves", "--textured", "0.5", "--optim", "soap", "--reuse", "4", "--student", "edsr:32x8",
    "--steps", "6000",
)  # fmt: skip


def make_span() -> nn.Module:
    """SPAN at x2 on colour, as new."""
    need_spandrel("SPAN is spandrel's")
    from spandrel.architectures.SPAN.__arch.span import SPAN

    with seeded(SEED, "span"):
        return SPAN(num_in_ch=3, num_out_ch=3, feature_channels=CHANNELS, upscale=SCALE)


def train(path: Path) -> dict:
    """Train a SPAN on crops of the 291 photographs and write it; what it took."""
    started, rng = time.process_time(), stream(SEED, "crops")
    photographs = [read_image(fetch(name), alpha=False) for name in training_files()]
    photographs = [p.expand(-1, 3, -1, -1) for p in photographs if min(p.shape[-2:]) >= PATCH]
    crops, span = Crops(photographs, PATCH, rng), make_span().train()
    soap = SOAP([p for p in span.parameters() if p.requires_grad], lr=LR)
    for step in tqdm(range(STEPS), desc="training SPAN", unit="step"):
        hr = crops.draw(BATCH)
        loss = (span(imresize(hr, 1 / SCALE).clamp(0, 1)) - hr).abs().mean()
        for group in soap.param_groups:
            group["lr"] = LR * cosine(step, STEPS, WARM_UP)
        soap.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(span.parameters(), CLIP)
        soap.step()
    with replacing(path) as file:
        torch.save({"params": span.eval().state_dict()}, file)
    settings = {"steps": STEPS, "batch": BATCH, "patch": PATCH, "lr": LR, "seed": SEED}
    return settings | {"cpu_seconds": round(time.process_time() - started)}


def main() -> None:
    path, folder = ROOT / "runs" / TEACHER, ROOT / "runs" / NAME
    notes = ROOT / "runs" / "span.json"
    if not (path.exists() and notes.exists()):
        records.write_json(notes, train(path))
    dfkd("check-teacher", f"runs/{TEACHER}")
    if not (folder / "record.json").exists():
        going = (folder / "config.json").exists()
        dfkd("distill", *(("--resume", str(folder)) if going else
                          ("--teacher", f"runs/{TEACHER}", *STUDENT, "--out", f"runs/{NAME}")))  # fmt: skip
    dfkd("evaluate", f"runs/{NAME}", "--dataset", "Set5", "--dataset", "Set14")
    teacher = load_teacher(path)
    scores = {name: round(evaluate(teacher, name, SCALE).psnr, 3) for name in ("Set5", "Set14")}
    parameters = sum(weight.numel() for name, weight in teacher.state_dict().items() if "eval_conv" in name)
    about = {"architecture": teacher.name, "channels": CHANNELS, "merged_parameters": parameters, "psnr_x2": scores}
    record = records.read_json(folder / "record.json") | {"teacher_is": about | records.read_json(notes)}
    records.write_json(RECORDS / f"{NAME}.json", record)
    shutil.copy(folder / "curves.csv", RECORDS / f"{NAME}.csv")


if __name__ == "__main__":
    sys.exit(main())
