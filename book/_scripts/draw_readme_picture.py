"""Draw the README's picture: a bundled photograph shrunk by three and enlarged again, bicubically and by the student.

    python book/_scripts/draw_readme_picture.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from dfkd import imresize, load_model, luma, psnr, upscale
from dfkd.pixels.files import to_uint8

PICTURE = Path(__file__).parents[1] / "images" / "before_after.jpg"
SCALE, SIDE, GAP, LINE = 3, 240, 8, 26
TOP, LEFT = 270, 42  # of the mission patch on the astronaut's sleeve
PANELS = {"bicubic": "bicubic", "vdsr-half-best": "student, no image seen", "vdsr": "its teacher"}


def main() -> None:
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None] / 255
    hr = photo[..., : 512 // SCALE * SCALE, : 512 // SCALE * SCALE]
    lr = imresize(hr, 1 / SCALE).clamp(0, 1)
    square = (..., slice(TOP, TOP + SIDE), slice(LEFT, LEFT + SIDE))
    pictures = {}
    for name, label in PANELS.items():
        sr = upscale(load_model(name), lr, SCALE)
        pictures[f"{label}: {psnr(luma(sr), luma(hr), shave=SCALE):.2f} dB"] = sr[square]
    pictures["the original"] = hr[square]
    sheet = Image.new("RGB", (4 * SIDE + 3 * GAP, SIDE + LINE), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for i, (label, picture) in enumerate(pictures.items()):
        sheet.paste(Image.fromarray(to_uint8(picture[0])), (i * (SIDE + GAP), LINE))
        pen.text((i * (SIDE + GAP) + 2, 5), label, fill="black", font=font)
    PICTURE.parent.mkdir(exist_ok=True)
    sheet.save(PICTURE, quality=92, subsampling=0)
    print("; ".join(pictures))


if __name__ == "__main__":
    main()
