"""PSNR, SSIM and diversity against the textbook, worked out by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d

from dfkd.errors import ImageError
from dfkd.pixels.metrics import diversity, psnr, ssim


def pair(*shape: int, noise: float = 0.1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    hr = rng.random(shape)
    sr = (hr + noise * rng.standard_normal(shape)).clip(0, 1)
    return torch.from_numpy(sr)[None, None], torch.from_numpy(hr)[None, None]


def slow_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. (2004), Eq. 13, on the positions where the whole window fits."""
    t = np.arange(-5, 6)
    window = np.exp(-(t[:, None] ** 2 + t[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(z):
        return convolve2d(z, window, mode="valid")

    x, y = 255 * x, 255 * y
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float(np.mean((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))))


def test_psnr_by_hand():
    hr = torch.zeros(1, 1, 2, 2)
    sr = torch.tensor([[[[0.1, 0.0], [0.0, 0.3]]]])
    assert psnr(sr, hr) == pytest.approx(10 * math.log10(4 / (0.01 + 0.09)), abs=1e-6)
    assert psnr(hr, hr) == math.inf
    assert psnr(hr + 1, hr) == 0


def test_nan_has_no_psnr():
    hr = torch.rand(1, 1, 8, 8)
    sr = hr.clone()
    sr[0, 0, 3, 3] = torch.nan
    with pytest.raises(ImageError, match="lies in"):
        psnr(sr, hr)


def test_psnr_clips_but_does_not_round():
    hr = torch.full((1, 1, 4, 4), 1.0)
    assert psnr(hr + 0.5, hr) == math.inf
    assert psnr(-hr, hr) == psnr(0 * hr, hr) == 0
    quarter_of_a_grey_level = 0.25 / 255
    assert psnr(hr - quarter_of_a_grey_level, hr) == pytest.approx(-20 * math.log10(quarter_of_a_grey_level), abs=1e-3)


def test_border_is_shaved_from_all_four_sides():
    hr = torch.zeros(1, 1, 9, 11)
    for row, column in ((0, 5), (8, 5), (4, 0), (4, 10), (2, 5), (6, 5), (4, 2), (4, 8)):
        sr = hr.clone()
        sr[..., row, column] = 1
        inside = 2 <= row < 7 and 2 <= column < 9
        assert psnr(sr, hr, shave=2) == (pytest.approx(10 * math.log10(5 * 7)) if inside else math.inf)


@pytest.mark.parametrize("shape", [(11, 11), (16, 23), (40, 31)])
@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_ssim_by_hand(shape, noise):
    sr, hr = pair(*shape, noise=noise)
    assert ssim(sr, hr) == pytest.approx(slow_ssim(sr[0, 0].numpy(), hr[0, 0].numpy()), abs=1e-9)


def test_ssim_of_colour_is_the_mean_and_of_shaved_images_that_of_the_rest():
    sr, hr = pair(30, 30)
    other, _ = pair(30, 30, noise=0.5)
    both = ssim(torch.cat([sr, other], 1), torch.cat([hr, hr], 1))
    assert both == pytest.approx((ssim(sr, hr) + ssim(other, hr)) / 2, abs=1e-12)
    assert ssim(sr, hr, shave=3) == pytest.approx(ssim(sr[..., 3:-3, 3:-3], hr[..., 3:-3, 3:-3]), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.001, 0.5), st.integers(11, 20))
def test_properties(seed, noise, side):
    sr, hr = pair(side, side + 3, noise=noise, seed=seed)
    assert psnr(sr, hr) == pytest.approx(psnr(hr, sr)) and ssim(sr, hr) == pytest.approx(ssim(hr, sr))
    assert -1 <= ssim(sr, hr) < 1 and ssim(hr, hr) == pytest.approx(1)
    worse = hr + 2 * (sr - hr)
    assert psnr((worse - hr) / 2 + hr, hr) > psnr(worse, hr) or bool((worse.clamp(0, 1) == sr).all())


@pytest.mark.parametrize(
    "call",
    [lambda x: psnr(x, x[..., 1:]), lambda x: psnr(x[0], x[0]), lambda x: psnr(*(2 * [x.repeat(2, 1, 1, 1)])),
     lambda x: psnr(x, x, shave=6), lambda x: psnr(x, x, shave=-1), lambda x: ssim(x, x, shave=1),
     lambda x: diversity(x), lambda x: diversity(torch.ones(1, 3)), lambda x: diversity(torch.zeros(5, 9))],
)  # fmt: skip
def test_what_cannot_be_compared_is_an_error(call):
    with pytest.raises(ImageError):
        call(torch.rand(1, 1, 12, 12))


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize("place", ["both", "made", "truth"])
def test_bytes_are_refused(metric, place):
    sr, hr = pair(12, 12)
    with pytest.raises(ImageError, match="uint8; divide it by 255"):
        metric(*((255 * x).byte() if place in ("both", mine) else x for x, mine in ((sr, "made"), (hr, "truth"))))


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize("place", ["both", "made", "truth"])
def test_floats_up_to_255_are_refused(metric, place):
    sr, hr = pair(12, 12)
    with pytest.raises(ImageError, match=r"not in \[.*\]; divide it by 255"):
        metric(*(255 * x if place in ("both", mine) else x for x, mine in ((sr, "made"), (hr, "truth"))))


def slow_diversity(rows: np.ndarray) -> float:
    distances = [
        1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        for i, a in enumerate(rows)
        for j, b in enumerate(rows)
        if i != j
    ]
    return float(np.mean(distances))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(1, 6), st.integers(0, 10**6))
def test_diversity_is_the_mean_over_all_pairs(rows, dimensions, seed):
    features = np.random.default_rng(seed).standard_normal((rows, dimensions))
    assert diversity(torch.from_numpy(features)) == pytest.approx(slow_diversity(features), abs=1e-12)


def test_diversity_of_what_one_can_picture():
    assert diversity(torch.ones(5, 3)) == pytest.approx(0, abs=1e-12)
    assert diversity(torch.eye(4)) == pytest.approx(1)
    assert diversity(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(2)
    assert diversity(torch.eye(4) * torch.tensor([[1.0], [2.0], [3.0], [4.0]])) == pytest.approx(1)
