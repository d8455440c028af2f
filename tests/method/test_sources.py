"""Images drawn by rule, and sources mixed: ranges, power laws, determinism, resuming."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from dfkd.errors import ImageError, TrainingError
from dfkd.method.settings import configure
from dfkd.method.sources import DeadLeavesSource, DFSRSource, MixedSource, NoiseSource, make_source
from dfkd.method.sources import dead_leaves as leaves
from dfkd.method.sources.crops import Crops
from dfkd.method.sources.dead_leaves import SHAPES_PER_PIXEL, dead_leaves
from dfkd.method.sources.exposure import Exposure, draw_exposure, stretched
from dfkd.method.sources.textures import FIELDS, surfaces
from dfkd.networks.vdsr import VDSR
from dfkd.pixels.resize import imresize
from dfkd.seeds import stream as named_stream


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(**settings) -> DeadLeavesSource:
    return DeadLeavesSource(**{"patch": 24, "side": 64, "pool": 3, "renew": 2, **settings})


def spectrum_slope(image: Tensor) -> float:
    """Exponent p of the power spectrum f^-p, fitted to the frequencies between."""
    side = image.shape[-1]
    power = torch.fft.fft2(image[0, 0] - image.mean()).abs().square()
    frequency = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.fftfreq(side)[None])
    inside = (frequency > 4 / side) & (frequency < 0.25)
    x, y = frequency[inside].log(), power[inside].clamp_min(1e-12).log()
    return -float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


# ---- canvases --------------------------------------------------------------------------------------------------------


def test_canvas_is_a_picture_and_a_function_of_its_seed():
    canvas = dead_leaves(96, stream(1))
    assert canvas.shape == (1, 1, 96, 96) and canvas.dtype == torch.float32
    assert 0 <= canvas.min() and canvas.max() <= 1 and canvas.std() > 0.1
    assert torch.equal(canvas, dead_leaves(96, stream(1)))
    assert not torch.equal(canvas, dead_leaves(96, stream(2)))


def test_power_spectrum_falls_as_natural_images_do_and_noise_does_not():
    slopes = [spectrum_slope(dead_leaves(256, stream(seed))) for seed in range(4)]
    assert 1.8 < sum(slopes) / 4 < 3.4  # photographs: two to three
    assert abs(spectrum_slope(torch.rand(1, 1, 256, 256, generator=stream()))) < 0.2


def test_edges_are_rare_and_sharp():
    """Differences of neighbours have far heavier tails than a Gaussian: flat areas and steps."""
    canvas = dead_leaves(256, stream(3))
    step = canvas[..., 1:] - canvas[..., :-1]
    kurtosis = ((step - step.mean()) ** 4).mean() / step.var() ** 2
    assert kurtosis > 8 and step.abs().max() > 0.4


def test_radii_follow_a_cubic_power_law(monkeypatch):
    """Doubling the radius leaves a quarter of the shapes: P(R > r) is proportional to r^-2, up to the largest."""
    radii = []

    class Pen:
        def __init__(self, canvas):
            """Draws nothing, but remembers what it was to draw."""

        def ellipse(self, box, fill):
            radii.append((box[2] - box[0]) / 2)

        def polygon(self, points, fill):
            assert 3 <= len(points) / 2 <= 6  # x and y in turns

    monkeypatch.setattr("dfkd.method.sources.dead_leaves.ImageDraw.Draw", Pen)
    for seed in range(16):
        dead_leaves(512, stream(seed))
    found = torch.tensor(radii) / 2  # painted on a grid twice as fine
    assert found.min() >= 2 and found.max() <= 200
    count = 16 * SHAPES_PER_PIXEL * 512**2 / 3  # a third are disks
    assert len(found) == pytest.approx(count, rel=0.05)
    share = (found > 8).float().mean() / (found > 4).float().mean()
    assert float(share) == pytest.approx(0.25, abs=0.02)


# ---- the source ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_samples_have_the_patch_of_their_scale(scale):
    lr = small().sample(5, scale)
    assert lr.shape == (5, 1, 24 // scale, 24 // scale) and not lr.requires_grad
    assert 0 <= lr.min() and lr.max() <= 1


def test_samples_are_the_patches_shrunk():
    source, twin = small(), small()
    assert torch.equal(source.sample(3, 2), imresize(twin.patches(3), 1 / 2).clamp(0, 1))


def test_canvases_are_renewed_one_by_one():
    source = small(pool=3, renew=2)
    source.patches(1)
    pools = [list(source._canvases)]
    for _ in range(6):
        source.patches(1)
        pools.append(list(source._canvases))
    changed = [sum(a is not b for a, b in zip(old, new, strict=True)) for old, new in pairwise(pools)]
    assert changed == [0, 1, 0, 1, 0, 1]
    assert all(a is not b for a, b in zip(pools[0], pools[-1], strict=True))


@pytest.mark.parametrize("batches", [0, 1, 2, 5, 8])
def test_source_goes_on_where_it_stopped(batches):
    whole, stopped, resumed = small(), small(), small()
    expected = [whole.sample(2, 2) for _ in range(batches + 5)][batches:]
    for _ in range(batches):
        stopped.sample(2, 2)
    resumed.load_state_dict(stopped.state_dict())
    assert all(torch.equal(a, resumed.sample(2, 2)) for a in expected)


def test_seeds_differ():
    assert not torch.equal(small(seed=0).sample(2, 2), small(seed=1).sample(2, 2))


@pytest.mark.parametrize("settings", [{"side": 20}, {"pool": 0}, {"renew": 0}])
def test_impossible_pools_are_refused(settings):
    with pytest.raises(TrainingError, match="canvases"):
        small(**settings)


# ---- crops -----------------------------------------------------------------------------------------------------------


def test_crops_come_in_all_eight_orientations_and_from_everywhere():
    image = torch.arange(9.0).view(1, 1, 3, 3)
    whole = {tuple(crop.flatten().tolist()) for crop in Crops([image], 3, stream()).draw(200)}
    assert len(whole) == 8
    corners = {crop[0, 0, 0].item() for crop in Crops([image], 2, stream()).draw(200)}
    assert corners == set(range(9))


def test_large_images_are_cropped_more_often():
    images = [torch.zeros(1, 1, 10, 10), torch.ones(1, 1, 30, 30)]
    assert Crops(images, 5, stream()).draw(500).mean() == pytest.approx(0.9, abs=0.04)


def test_too_small_or_no_images_are_refused():
    with pytest.raises(ImageError, match="smaller than the patch"):
        Crops([torch.zeros(1, 1, 10, 4)], 5, stream())
    with pytest.raises(ImageError, match="no images"):
        Crops([], 5, stream())


# ---- mixtures --------------------------------------------------------------------------------------------------------


class Constant(NoiseSource):
    """A source whose images are all of one grey, to see where an image came from."""

    def __init__(self, grey: float):
        super().__init__(24)
        self.grey = grey

    def sample(self, batch, scale):
        return torch.full_like(super().sample(batch, scale), self.grey)


@pytest.fixture
def painted(monkeypatch):
    """Shades of a canvas before lens and grain, with surfaces of some contrast and a lens of some defocus."""

    def paint(contrast: float, defocus: float, seed: int = 0) -> torch.Tensor:
        monkeypatch.setattr(leaves, "CONTRAST", contrast)
        monkeypatch.setattr(leaves, "DEFOCUS", defocus)
        return leaves._paint(192, stream(seed), True)

    return paint


def test_textured_leaves_are_flat_ones_with_surfaces_and_a_lens(painted):
    flat = leaves._paint(192, stream(0), False)
    assert (painted(0.0, 0.0) - flat).abs().max() <= 1.01 / 255  # neither: the same leaves
    surfaced = (painted(96.0, 0.0) - flat).abs() > 1.5 / 255
    assert 0.05 < surfaced.float().mean() < 0.95  # larger leaves only
    steps = [image.diff(dim=-1).square().sum() for image in (flat, painted(0.0, 8.0))]
    assert steps[1] < 0.9 * steps[0]  # out of focus, edges are softer


def test_textured_canvas_is_a_function_of_its_stream():
    canvas = dead_leaves(96, stream(1), textured=True)
    assert canvas.shape == (1, 1, 96, 96) and 0 <= canvas.min() and canvas.max() <= 1
    assert torch.equal(canvas, dead_leaves(96, stream(1), textured=True))
    assert not torch.equal(canvas, dead_leaves(96, stream(1)))


@pytest.mark.parametrize("share, expected", [(0.0, 0), (0.25, 2), (0.5, 4), (1.0, 8)])
def test_share_of_textured_canvases_is_as_asked(share, expected, monkeypatch):
    kinds = []

    def note(side, rng, textured):
        kinds.append(textured)
        return torch.zeros(1, 1, side, side)

    monkeypatch.setattr("dfkd.method.sources.dead_leaves.dead_leaves", note)
    small(pool=8, textured=share).patches(2)
    assert len(kinds) == 8 and sum(kinds) == expected


@pytest.mark.parametrize("seed", range(4))
def test_surfaces_are_fields_of_mean_zero(seed):
    fields = surfaces(128, stream(seed))
    assert fields.shape == (FIELDS, 128, 128) and fields.mean((1, 2)).abs().max() < 0.1
    assert 0.05 < fields.std((1, 2)).min() and fields.abs().max() < 2


@pytest.mark.parametrize("share, helped", [(0.0, 0), (0.25, 2), (0.5, 4), (0.9, 7)])
def test_mixture_takes_its_share_from_the_helper(share, helped):
    lr = MixedSource(Constant(0.0), Constant(1.0), share).sample(8, 2)
    assert lr.shape == (8, 1, 12, 12) and lr.mean().item() == pytest.approx(helped / 8)


def test_mixture_learns_and_resumes_as_its_parts_do(monkeypatch):
    plain = lambda side, rng, textured: torch.rand(1, 1, side, side, generator=rng)  # noqa: E731 (drawing takes seconds)
    monkeypatch.setattr("dfkd.method.sources.dead_leaves.dead_leaves", plain)
    teacher, student = VDSR(4, 1), VDSR(2, 1)
    config = configure("dfsr", scales=(2,), batch=4, patch=24, dead_leaves=0.5, blocks=1)
    first, second = make_source(config, teacher), make_source(config, teacher)
    assert isinstance(first, MixedSource) and isinstance(first.main, DFSRSource)
    terms = first.improve(teacher, student, 2)
    assert {"adversarial", "reconstruction", "total"} <= terms.keys() and first.movement()["generator"] > 0
    assert "gradient_norms" in first.notes(teacher, student)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.sample(4, 2), second.sample(4, 2))


# ---- exposure --------------------------------------------------------------------------------------------------------


def test_exposure_by_hand():
    x = torch.rand(2, 1, 4, 5, generator=stream(3))
    exposure = Exposure(torch.tensor([0.5, 1.0]).view(2, 1, 1, 1), torch.tensor([0.25, 0.9]).view(2, 1, 1, 1))
    seen = exposure.of(x)
    for image, out, c, m in zip(x, seen, (0.5, 1.0), (0.25, 0.9), strict=True):
        assert torch.allclose(out, (m + c * (image - image.mean())).clamp(0, 1), atol=1e-6)
    assert seen[1].max() == 1  # white is white


def test_exposures_cover_their_range_evenly_in_the_logarithm():
    drawn = draw_exposure(20_000, (0.1, 1.0), stream(0))
    assert 0.1 <= drawn.contrast.min() and drawn.contrast.max() <= 1
    assert (drawn.contrast < 0.1**0.5).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (drawn.mean < 0.5).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert 0.1 <= drawn.mean.min() and drawn.mean.max() <= 0.9


@pytest.mark.parametrize("method", ["untrained", "dfsr", "cmi"])
def test_exposure_spreads_contrast_and_brightness_and_off_is_as_it_was(method):
    teacher, small_bank = VDSR(4, 3), {} if method == "untrained" else {"bank": 8}
    plain, exposed = (
        make_source(configure(method, blocks=1, exposure=exposure, **small_bank), teacher)
        for exposure in ((), (0.05, 1.0))
    )
    raw, varied = plain.sample(64, 2), exposed.sample(64, 2)
    with torch.no_grad():
        assert torch.equal(raw, plain.generators["2"](torch.randn(64, 256, generator=named_stream(0, "z"))))
    spread = [images.std((1, 2, 3)) for images in (raw, varied)]
    assert spread[0].max() / spread[0].min() < 2 and spread[1].max() / spread[1].min() > 5
    assert varied.mean((1, 2, 3)).std() > 5 * raw.mean((1, 2, 3)).std()


def test_generation_stage_sees_exposed_images_and_its_gradient_reaches_z():
    source = make_source(configure("dfsr", blocks=1, exposure=(0.1, 0.2), bank=8, batch=4), VDSR(4, 3))
    source.improve(VDSR(4, 3), VDSR(2, 1), 2)
    banked = source.banks[2].sample(4, stream(0))["image"]
    assert banked.std((1, 2, 3)).max() < 0.06  # G(z) itself has 0.2
    z = source.draw_z(4, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(source.generate(z, 2).square().sum(), z)
    assert gradient.abs().sum() > 0


def test_stretching_by_hand():
    x = torch.rand(3, 1, 4, 5, generator=stream(3))
    out, gains = stretched(x, 8.0, stream(4)), 8.0 ** torch.rand(3, 1, 1, 1, generator=stream(4))
    for image, seen, gain in zip(x, out, gains, strict=True):
        assert torch.allclose(seen, (image.mean() + gain * (image - image.mean())).clamp(0, 1), atol=1e-6)
    assert torch.allclose(stretched(x, 1.0, stream(4)), x, atol=1e-6)
    assert out.max() == 1 and out.min() == 0


@pytest.mark.parametrize("method", ["untrained", "dfsr", "cmi"])
def test_stretching_gives_images_hard_edges_and_off_is_as_it_was(method):
    smooth, hard = (
        make_source(configure(method, blocks=1, exposure=(0.1, 1.0), **setting), VDSR(4, 3)).sample(256, 4)
        for setting in ({}, {"stretch": 30.0})
    )
    plain = make_source(configure(method, blocks=1), VDSR(4, 3)).sample(256, 4)
    assert torch.equal(smooth, draw_exposure(256, (0.1, 1.0), named_stream(0, "exposure")).of(plain))
    contrast = [images.std((1, 2, 3)).max().item() for images in (smooth, hard)]
    assert contrast[1] > 1.5 * contrast[0]
    peaked = []  # of an image with two tones alone the fourth moment is the squared second one
    for images in (smooth, hard):
        centred = images - images.mean((1, 2, 3), keepdim=True)
        peaked.append((centred.pow(4).mean((1, 2, 3)) / centred.pow(2).mean((1, 2, 3)).square()).median().item())
    assert peaked[0] > 1.8 and peaked[1] < 1.5
