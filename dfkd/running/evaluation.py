"""A model on a benchmark, by the field's protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from dfkd.errors import ImageError
from dfkd.method.sources import Source
from dfkd.pixels.benchmarks import benchmark_files, fetch
from dfkd.pixels.colour import luma
from dfkd.pixels.files import read_image
from dfkd.pixels.metrics import psnr, ssim
from dfkd.pixels.resize import imresize


@dataclass(frozen=True)
class Score:
    """Mean luma PSNR (dB) and SSIM over the images of a data set."""

    model: str
    dataset: str
    scale: int
    psnr: float
    ssim: float
    images: int


def evaluate(model: Callable[[Tensor, int], Tensor], dataset: str, scale: int, name: str = "model") -> Score:
    """Score a model on a benchmark.

    Args:
        model: ``model(lr, scale)`` on luma [1, 1, height, width] in [0, 1].
        dataset: 'Set5', 'Set14', 'BSD100' or 'Urban100'.
        scale: upscaling factor.
        name: what to call the model in the score.

    Returns:
        The means over all images.

    Raises:
        DataError: the images cannot be had.
    """
    paths = [fetch(file) for file in benchmark_files(dataset, scale)]
    return evaluate_images(model, (luma(read_image(path)) for path in paths), scale, name, dataset, len(paths))


@torch.no_grad()
def agreement(
    teacher: Callable[[Tensor, int], Tensor], student: Callable[[Tensor, int], Tensor], source: Source, scale: int,
    images: int = 64,
) -> float:  # fmt: skip
    """How closely a student follows its teacher on images of a source: what may choose a step size without data.

    Args:
        teacher: T, ``teacher(lr, scale)``.
        student: S, likewise.
        source: of images that the student was not trained on; dead leaves of another seed, say.
        scale: upscaling factor.
        images: how many are drawn.

    Returns:
        PSNR in dB of the student's outputs, the teacher's being the truth, over all pixels of all images.
    """
    lr = source.sample(images, scale)
    error = teacher(lr, scale).clamp(0, 1) - student(lr, scale).clamp(0, 1)
    return -10 * error.double().square().mean().log10().item()


@torch.no_grad()
def evaluate_images(
    model: Callable[[Tensor, int], Tensor], images: Iterable[Tensor], scale: int, name: str = "model",
    dataset: str = "images", total: int | None = None,
) -> Score:  # fmt: skip
    """Score a model on high-resolution luma images [1, 1, height, width] in [0, 1].

    The protocol: sides are cut to multiples of `scale`; the low-resolution image is the high-resolution luma shrunk by
    MATLAB's bicubic, neither clipped nor rounded; the output is clipped, not rounded; `scale` pixels are shaved from
    every border. The model is given each image on the device of its weights.
    """
    device = next((p.device for p in model.parameters()), None) if isinstance(model, nn.Module) else None
    scores = []
    for hr in tqdm(images, desc=f"{name} on {dataset} x{scale}", total=total, unit="image", leave=False):
        hr = hr[..., : hr.shape[-2] // scale * scale, : hr.shape[-1] // scale * scale]
        sr = model(imresize(hr, 1 / scale).to(device), scale)
        scores.append((psnr(sr, hr, shave=scale), ssim(sr, hr, shave=scale)))
    if not scores:
        raise ImageError(f"there is no image to evaluate {name} on")
    mean_psnr, mean_ssim = (sum(column) / len(scores) for column in zip(*scores, strict=True))
    return Score(name, dataset, scale, mean_psnr, mean_ssim, len(scores))
