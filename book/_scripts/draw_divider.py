"""Draw the two pictures of the first page's divider: a bundled photograph shrunk by three, and enlarged in two ways.

    python book/_scripts/draw_divider.py

Network and photograph come with the packages, nothing is downloaded. It prints what the page says of each.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from skimage import data
from torch import Tensor

from dfkd import imresize, load_model, luma, psnr, upscale
from dfkd.pixels.files import to_uint8

FOLDER = Path(__file__).parents[1] / "images"
SCALE, SIDE = 3, 240
TOP, LEFT = 270, 42  # of the mission patch on the astronaut's sleeve, as in the README's picture
MODELS = {"bicubic": "bicubic", "student": "vdsr-half-best"}


def pictures() -> dict[str, tuple[Tensor, float]]:
    """Name to the square [1, 3, SIDE, SIDE] and the PSNR in dB of the whole photograph's luma."""
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None] / 255
    hr = photo[..., : 512 // SCALE * SCALE, : 512 // SCALE * SCALE]
    lr = imresize(hr, 1 / SCALE).clamp(0, 1)
    made = {}
    for name, model in MODELS.items():
        sr = upscale(load_model(model), lr, SCALE)
        square = sr[..., TOP : TOP + SIDE, LEFT : LEFT + SIDE]
        made[name] = square, psnr(luma(sr), luma(hr), shave=SCALE)
    return made


def main() -> None:
    for name, (square, decibels) in pictures().items():
        Image.fromarray(to_uint8(square[0])).save(FOLDER / f"patch_{name}.webp", quality=92, method=6)
        print(f"{name}, {decibels:.2f} dB")


if __name__ == "__main__":
    main()
