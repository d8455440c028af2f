"""Resizing: MATLAB's algorithm to the last border pixel, and its gradient."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dfkd.errors import ImageError
from dfkd.pixels.files import read_image
from dfkd.pixels.resize import KEPT, _kept_matrix, enlarge, imresize


def slow_line(line: np.ndarray, out_length: int, scale: float, antialias: bool = True, a: float = -0.5) -> np.ndarray:
    """One line, pixel by pixel, in MATLAB's own terms: counted from 1, with a border of mirrored copies."""

    def kernel(t):
        t = abs(t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * (t**3 - 5 * t**2 + 8 * t - 4) if t <= 2 else 0.0

    mirrored = [*range(1, len(line) + 1), *range(len(line), 0, -1)]
    stretch = scale if antialias and scale < 1 else 1.0
    width = 4 / stretch
    out = np.empty(out_length)
    for x in range(1, out_length + 1):
        u = x / scale + 0.5 * (1 - 1 / scale)
        left = math.floor(u - width / 2)
        total = weight_sum = 0.0
        for tap in range(left, left + math.ceil(width) + 2):
            weight = stretch * kernel(stretch * (u - tap))
            total += weight * line[mirrored[(tap - 1) % len(mirrored)] - 1]
            weight_sum += weight
        out[x - 1] = total / weight_sum
    return out


def slow_resize(image: np.ndarray, shape: tuple[int, int], scales: tuple[float, float], **options) -> np.ndarray:
    down = np.stack([slow_line(column, shape[0], scales[0], **options) for column in image.T], axis=1)
    return np.stack([slow_line(row, shape[1], scales[1], **options) for row in down])


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


@pytest.mark.parametrize("scale", [2, 3, 4, 1.5, 2.7, 1, 1 / 2, 1 / 3, 1 / 4, 0.4, 0.77, 0.1])
@pytest.mark.parametrize("shape", [(12, 24), (13, 7), (5, 1), (2, 3)])
def test_equals_the_slow_reference_everywhere(scale, shape):
    image = picture(*shape)
    out_shape = tuple(math.ceil(side * scale - 1e-9) for side in shape)
    ours = imresize(torch.from_numpy(image)[None, None], scale)[0, 0].numpy()
    assert ours.shape == out_shape
    np.testing.assert_allclose(ours, slow_resize(image, out_shape, (scale, scale)), atol=1e-12)


@pytest.mark.parametrize("size", [(12, 12), (5, 31), (30, 4), (1, 1), (7, 23)])
def test_size_sets_a_factor_for_each_side(size):
    image = picture(11, 19)
    ours = imresize(torch.from_numpy(image)[None, None], size=size)[0, 0].numpy()
    np.testing.assert_allclose(ours, slow_resize(image, size, (size[0] / 11, size[1] / 19)), atol=1e-12)


@pytest.mark.parametrize("options", [dict(antialias=False), dict(a=-0.75), dict(a=-0.75, antialias=False)])
@pytest.mark.parametrize("scale", [0.5, 1 / 3, 2])
def test_other_kernels_equal_the_slow_reference(options, scale):
    image = picture(12, 18)
    shape = (round(12 * scale), round(18 * scale))
    ours = imresize(torch.from_numpy(image)[None, None], scale, **options)[0, 0].numpy()
    np.testing.assert_allclose(ours, slow_resize(image, shape, (scale, scale), **options), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.floats(0.15, 4), st.integers(0, 99))
def test_equals_the_slow_reference_for_any_size_and_scale(height, width, scale, seed):
    image = picture(height, width, seed=seed)
    ours = imresize(torch.from_numpy(image)[None, None], scale)[0, 0].numpy()
    np.testing.assert_allclose(ours, slow_resize(image, ours.shape, (scale, scale)), atol=1e-10)
    assert all(math.ceil(side * scale - 1e-5) <= out for side, out in zip((height, width), ours.shape, strict=True))


def test_a_third_of_thirty_is_ten():
    for scale in (2, 3, 4, 7):
        for side in range(1, 60):
            assert imresize(torch.zeros(1, 1, side * scale, 1), 1 / scale).shape[-2] == side


@pytest.mark.parametrize("scale", [2, 3, 4, 1.3, 0.5, 1 / 3, 0.21])
@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_constant_stays_constant(scale, level):
    out = imresize(torch.full((1, 1, 17, 9), level, dtype=torch.float64), scale)
    torch.testing.assert_close(out, torch.full_like(out, level), atol=1e-13, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_inside_agrees_with_torch_when_shrinking(scale):
    image = torch.rand(2, 3, 24 * scale, 18 * scale, dtype=torch.float64)
    theirs = torch.nn.functional.interpolate(image, scale_factor=1 / scale, mode="bicubic", antialias=True)
    ours = imresize(image, 1 / scale)
    torch.testing.assert_close(ours[..., 3:-3, 3:-3], theirs[..., 3:-3, 3:-3], atol=1e-6, rtol=0)
    assert (ours - theirs)[..., 0, :].abs().max() > 1e-4  # torch renormalises at the border, MATLAB mirrors


def test_flips_turns_and_batches_commute_with_resizing():
    image = torch.rand(2, 3, 12, 15, dtype=torch.float64)
    for scale in (3, 1 / 3):
        out = imresize(image, scale)
        torch.testing.assert_close(imresize(image.flip(3), scale), out.flip(3))
        torch.testing.assert_close(imresize(image.rot90(1, (2, 3)), scale), out.rot90(1, (2, 3)))
        torch.testing.assert_close(imresize(image[1:, 2:], scale), out[1:, 2:])


@pytest.mark.parametrize("scale", [2, 0.5, 1 / 3])
def test_gradient(scale):
    image = torch.rand(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: imresize(x, scale), image)
    imresize(image, scale).sum().backward()
    assert (image.grad.abs() > 0).all()


def test_what_inference_mode_cached_can_be_differentiated():
    with torch.inference_mode():
        imresize(torch.rand(1, 1, 37, 41), 2)
    image = torch.rand(1, 1, 37, 41, requires_grad=True)
    imresize(image, 2).sum().backward()
    assert image.grad is not None


def test_type_and_layout_are_kept():
    for dtype in (torch.float32, torch.float64):
        assert imresize(torch.rand(1, 1, 4, 4, dtype=dtype), 2).dtype == dtype
    image = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(imresize(image.to(memory_format=torch.channels_last), 2), imresize(image, 2))


def test_small_matrices_are_kept():
    image = torch.rand(1, 1, 43, 43)
    imresize(image, 2)
    before = _kept_matrix.cache_info()
    imresize(image, 2)
    after = _kept_matrix.cache_info()
    assert (after.hits, after.misses) == (before.hits + 2, before.misses)


def test_large_matrices_are_not_kept():
    side = math.isqrt(KEPT // 2) + 1  # enlarged by 2, a matrix of just more entries than are kept
    before = _kept_matrix.cache_info()
    imresize(torch.rand(1, 1, side, side), 2)
    assert _kept_matrix.cache_info() == before


def test_a_matrix_that_is_not_kept_is_the_same(monkeypatch):
    image = torch.rand(1, 1, 31, 45)
    kept = imresize(image, 3)
    monkeypatch.setattr("dfkd.pixels.resize.KEPT", 0)
    assert torch.equal(imresize(image, 3), kept)


@pytest.mark.parametrize(
    "call",
    [lambda x: imresize(x), lambda x: imresize(x, 2, (3, 3)), lambda x: imresize(x, 0), lambda x: imresize(x, -1),
     lambda x: imresize(x, float("nan")), lambda x: imresize(x, float("inf")), lambda x: imresize(x, size=(0, 3)),
     lambda x: imresize(x[0], 2), lambda x: imresize((x * 255).byte(), 2), lambda x: imresize(x[..., :0], 2)],
)  # fmt: skip
def test_what_cannot_be_resized_is_an_error(call):
    with pytest.raises(ImageError):
        call(torch.rand(1, 1, 4, 4))


def test_one_pixel_is_the_least():
    image = torch.rand(1, 1, 4, 5, dtype=torch.float64)
    assert imresize(image, 0.01).shape == (1, 1, 1, 1)
    torch.testing.assert_close(imresize(image, 1e-4).squeeze(), image.mean(), atol=1e-3, rtol=0)
    with pytest.raises(ImageError, match="nothing is left"):
        imresize(image, 1e-9)  # would average over billions of mirror images


@pytest.mark.data
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("dataset", ["Set5", "Set14"])
def test_benchmark_images_shrink_to_what_matlab_made(dataset, scale, data_dir):
    """Every pixel of every low-resolution image that comes with the benchmarks.

    They were made in 8 bits, which MATLAB rounds to after each direction, and by a version that repeated the outermost
    pixel instead of mirroring the image at its border; hence the padding, which takes our own border out of sight.
    """
    folder = data_dir / "benchmarks" / dataset / f"image_SRF_{scale}"
    pairs = [(hr, hr.with_name(hr.name.replace("_HR", "_LR"))) for hr in sorted(folder.glob("*_HR.png"))]
    pairs = [(hr, lr) for hr, lr in pairs if lr.is_file()]
    if not pairs:
        pytest.skip(f"{folder} holds no low-resolution images to compare with")
    for hr, lr in pairs:
        theirs = np.asarray(Image.open(lr).convert("RGB"), dtype=np.float64)
        image = np.asarray(Image.open(hr).convert("RGB"), dtype=np.float64)
        padded = np.pad(image, [(4 * scale, 4 * scale)] * 2 + [(0, 0)], mode="edge")
        x = torch.from_numpy(padded).permute(2, 0, 1)[None]
        height, width = x.shape[-2] // scale, x.shape[-1] // scale
        for size in ((height, x.shape[-1]), (height, width)):
            x = (imresize(x, size=size).clamp(0, 255) + 0.5 + 1e-9).floor()  # halves go up
        difference = x[0, :, 4:-4, 4:-4].permute(1, 2, 0).numpy() - theirs
        assert np.abs(difference).max() <= 1 and np.abs(difference).mean() < 1e-3, hr.name


@pytest.mark.data
def test_our_border_is_the_only_difference_to_what_matlab_made(data_dir):
    """Mirrored here, as MATLAB does today; repeated there. Inside, rounding once or twice is all."""
    folder = data_dir / "benchmarks" / "Set5" / "image_SRF_2"
    if not (lr := folder / "img_003_SRF_2_LR.png").is_file():
        pytest.skip(f"{folder} holds no low-resolution images to compare with")
    ours = imresize(read_image(folder / "img_003_SRF_2_HR.png").double(), 0.5).clamp(0, 1) * 255
    difference = (ours.round() - 255 * read_image(lr).double()).abs()
    assert difference[..., 1:-1, 1:-1].max() < 2.01
    assert 3 < difference.max() < 10


# ---- enlarging by convolution, for export ----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (2, 3, 7, 5), (1, 1, 30, 41)])
@pytest.mark.parametrize("a", [-0.5, -0.75])
def test_enlarging_without_a_matrix_gives_the_same(scale, shape, a):
    x = torch.rand(shape, dtype=torch.float64)
    torch.testing.assert_close(enlarge(x, scale, a), imresize(x, scale, a=a), atol=1e-12, rtol=0)


def test_traced_resizing_meets_any_size():
    class Double(torch.nn.Module):
        def forward(self, x):
            return imresize(x, 2)

    free = {2: torch.export.Dim("height", min=3), 3: torch.export.Dim("width", min=3)}
    traced = torch.export.export(Double(), (torch.rand(1, 1, 6, 8),), dynamic_shapes={"x": free}).module()
    x = torch.rand(1, 1, 13, 31)
    torch.testing.assert_close(traced(x), imresize(x, 2), atol=1e-6, rtol=0)
