"""Measure what each choice of protocol does to the public teacher's PSNR on Set5, and keep the figures as a record.

What is measured and how is not written here a second time: the script runs the cells of chapter 1 that define it.

    python book/_scripts/measure_protocol.py
"""

import time
from itertools import product

import torch
from measuring import RECORDS, ROOT, chapter_names, header
from skimage.metrics import structural_similarity
from tqdm.auto import tqdm

from dfkd.networks.weights import fingerprint
from dfkd.networks.zoo import load_model
from dfkd.pixels.benchmarks import benchmark_files, fetch
from dfkd.pixels.files import read_image
from dfkd.running import records
from dfkd.running.evaluation import evaluate

CHAPTER = "01_super_resolution"
CELLS = ("setup", "protocol-reconstruct", "protocol-measure", "protocol-choices", "protocol-more")
RECORD = RECORDS / "protocol-set5.json"
SCALES = (2, 3, 4)


def remembering(residual):
    """The same function, computed once for each input: several choices change only what comes after it."""
    known = {}

    @torch.no_grad()
    def remembered(upscaled):
        key = upscaled.numpy().tobytes()
        if key not in known:
            known[key] = residual(upscaled)
        return known[key]

    return remembered


def mean(values) -> float:
    values = list(values)
    return round(sum(values) / len(values), 4)


def flat_ssim(sr, hr) -> float:
    """SSIM with a flat 7x7 window and a data range of 1 on [0, 255]: its constants all but vanish; nothing shaved."""
    sr, hr = (255 * picture.clamp(0, 1)[0, 0].double().numpy() for picture in (sr, hr))
    return float(structural_similarity(sr, hr, win_size=7, data_range=1))


def photographs(dataset: str, scale: int) -> list[torch.Tensor]:
    """A benchmark's originals in colour, [1, 3, height, width]; grey ones get three equal channels."""
    return [read_image(fetch(name)).expand(-1, 3, -1, -1) for name in benchmark_files(dataset, scale)]


@torch.no_grad()
def main():
    started = time.monotonic()
    chapter = chapter_names(CHAPTER, *CELLS)
    networks = {"bicubic": load_model("bicubic"), "teacher": load_model("vdsr")}
    residuals = {"bicubic": torch.zeros_like, "teacher": remembering(networks["teacher"].residual)}
    rounded = {"round_hr": True, "round_sr": True}

    choices, sets = [], []
    for scale in SCALES:
        photos = photographs("Set5", scale)
        for choice, options in tqdm((chapter["CHOICES"] | chapter["MORE"]).items(), desc=f"Set5 x{scale}"):
            row = {
                name: mean(chapter["measure"](residual, photo, scale, **options) for photo in photos)
                for name, residual in residuals.items()
            }
            choices.append({"choice": choice, "scale": scale, **row})
    for dataset, scale, name in product(("Set5", "Set14"), SCALES, networks):
        score = evaluate(networks[name], dataset, scale, name)
        pairs = [chapter["reconstruct"](residuals[name], rgb, scale, **rounded) for rgb in photographs(dataset, scale)]
        row = {"dataset": dataset, "scale": scale, "network": name, "images": score.images}
        scores = {"psnr": round(score.psnr, 4), "ssim": round(score.ssim, 4)}
        sets.append(row | scores | {"ssim_flat_rounded": mean(flat_ssim(*pair) for pair in pairs)})

    summary = "PSNR (dB) on Set5 under changed protocols; the usual protocol on Set5 and Set14"
    record = header(
        __file__, "protocol", summary, teacher="vdsr", teacher_sha256=fingerprint(networks["teacher"].state_dict()),
        seconds=round(time.monotonic() - started, 1), choices=choices, sets=sets,
    )  # fmt: skip
    records.write_json(RECORD, record)
    print(f"{RECORD.relative_to(ROOT)}: {len(choices)} rows in {record['seconds']} s")


if __name__ == "__main__":
    main()
