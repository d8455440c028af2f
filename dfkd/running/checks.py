"""Is a network fit to be a teacher, and by which method? What one finds out before an hour is spent on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfkd.errors import DfkdError
from dfkd.method.losses import reconstruction_loss
from dfkd.method.sources import METHODS, DeadLeavesSource
from dfkd.method.sources.dfsr import frozen
from dfkd.networks.discriminator import default_layers
from dfkd.networks.zoo import Bicubic

SCALES = (2, 3, 4)
SIZES = ((24, 24), (23, 17), (12, 40))  # of low-resolution images, height and width
GREY_LEVEL = 1 / 255
REFUSALS = (DfkdError, RuntimeError, TypeError, ValueError, LookupError)  # how networks say that an image does not fit
STILL_GREY = 0.02  # how far a flat image may be moved
FAITHFUL = 1.0  # largest L_R on drawn images, relative to that of bicubic enlargement, that still says 'plausible'


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: it was.
        well: whether nothing stands in the way there.
        says: what was found.
    """

    what: str
    well: bool
    says: str


@dataclass(frozen=True)
class Verdict:
    """What is known of a network as a teacher.

    Attributes:
        findings: one for each thing that was looked at, in order.
        scales: that it serves.
        methods: that fit it, names of `METHODS`; 'real' left out.
    """

    findings: list[Finding]
    scales: tuple[int, ...]
    methods: tuple[str, ...]


def check_teacher(teacher: nn.Module, scales: Iterable[int] | None = None) -> Verdict:
    """Look at a network as a teacher: shapes, values, repeatability, plausibility, gradients, layers.

    Args:
        teacher: any module of signature ``teacher(lr, scale)`` on luma; it is left as it is.
        scales: which are of interest; by default those it names, or 2, 3 and 4.
    """
    with frozen(teacher):
        return _check(teacher, tuple(scales or getattr(teacher, "scales", None) or SCALES))


def _check(teacher: nn.Module, wanted: tuple[int, ...]) -> Verdict:
    served = {scale: error for scale in wanted if not (error := _runs(teacher, scale, SIZES[0]))}
    failed = [f"x{scale}: {_runs(teacher, scale, SIZES[0])}" for scale in wanted if scale not in served]
    findings = [
        Finding("scales", bool(served), ", ".join([*(f"x{scale}" for scale in served), *failed])),
    ]
    if not served:
        return Verdict(findings, (), ())
    answers = [_values(teacher, tuple(served)), _grey(teacher, tuple(served)), _repeats(teacher, min(served))]
    findings += [_sizes(teacher, tuple(served)), *answers]
    plausible, gradient, layers = _plausible(teacher, tuple(served)), _gradient(teacher, min(served)), _layers(teacher)
    findings += [plausible, gradient, layers, _homogeneous(teacher, min(served))]
    methods = [name for name in METHODS if name != "real"] if all(answer.well for answer in answers) else []
    if not (plausible.well and gradient.well):
        methods = [name for name in methods if not name.startswith(("dfsr", "cmi"))]
    if not layers.well:
        methods = [name for name in methods if not name.startswith("cmi")]
    return Verdict(findings, tuple(served), tuple(methods))


def _drawn(scale: int) -> Tensor:
    return DeadLeavesSource(48, seed=20_000, side=192, pool=2).sample(8, scale)


@torch.no_grad()
def _runs(teacher: nn.Module, scale: int, size: tuple[int, int]) -> str:
    """Why it does not enlarge images of that size by that scale; '' if it does."""
    lr = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0))
    try:
        sr = teacher(lr, scale)
    except REFUSALS as error:
        return _said(error)
    wanted = (2, 1, scale * size[0], scale * size[1])
    if not isinstance(sr, Tensor) or tuple(sr.shape) != wanted:
        return f"gives {tuple(sr.shape) if isinstance(sr, Tensor) else type(sr).__name__}, not {wanted}"
    return ""


def _said(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:120]


def _sizes(teacher: nn.Module, scales: tuple[int, ...]) -> Finding:
    refused = [f"{h}x{w} at x{s}" for h, w in SIZES[1:] for s in scales if _runs(teacher, s, (h, w))]
    return Finding("sizes", not refused, f"not {', '.join(refused)}" if refused else "any that were tried")


@torch.no_grad()
def _values(teacher: nn.Module, scales: tuple[int, ...]) -> Finding:
    low, high = (f(torch.cat([teacher(_drawn(s), s).flatten() for s in scales])).item() for f in (torch.min, torch.max))
    well = -0.5 < low <= high < 1.5 and high - low > 0.1  # comparisons with NaN are false
    return Finding("values", well, f"from {low:.2f} to {high:.2f} on drawn images in [0, 1]")


@torch.no_grad()
def _grey(teacher: nn.Module, scales: tuple[int, ...]) -> Finding:
    """Away from borders: the plainest test of the range of values that it was wrapped in."""
    flat = torch.tensor([0.2, 0.5, 0.8]).view(3, 1, 1, 1)
    if _runs(teacher, min(scales), (48, 48)):
        return Finding("grey", True, "not asked: it does not take an image so large")
    lr = flat.expand(3, 1, 48, 48)
    off = max((teacher(lr, s)[..., 20 * s : 28 * s, 20 * s : 28 * s] - flat).abs().max().item() for s in scales)
    if off < STILL_GREY:
        return Finding("grey", True, "a flat image stays as grey as it was")
    return Finding("grey", False, f"a flat image comes out {off:.2f} off: does it want another range of values?")


@torch.no_grad()
def _repeats(teacher: nn.Module, scale: int) -> Finding:
    lr = _drawn(scale)
    sr = teacher(lr, scale)
    off = (sr - teacher(lr, scale)).abs().max().item()
    apart = (sr[:1] - teacher(lr[:1], scale)).abs().max().item()
    if off >= GREY_LEVEL / 4:
        return Finding("repeats", False, f"two answers to one image differ by {off:.1e}: is it in eval()?")
    if apart >= GREY_LEVEL / 4:
        return Finding("repeats", False, f"an image alone and in a batch differ by {apart:.1e}: is it in eval()?")
    return Finding("repeats", True, "the same answer twice, alone and in a batch")


@torch.no_grad()
def _plausible(teacher: nn.Module, scales: tuple[int, ...]) -> Finding:
    ratios = []
    for scale in scales:
        lr = _drawn(scale)
        losses = [reconstruction_loss(lr, network(lr, scale), scale) for network in (teacher, Bicubic())]
        ratios.append((losses[0] / losses[1]).item())
    words = "its answers shrink back" if max(ratios) < FAITHFUL else "its answers do not shrink back to the images"
    shown = ", ".join(f"x{scale} {ratio:.2f}" for scale, ratio in zip(scales, ratios, strict=True))
    return Finding("L_R", max(ratios) < FAITHFUL, f"{words}: L_R on drawn images, bicubic's being 1: {shown}")


def _gradient(teacher: nn.Module, scale: int) -> Finding:
    lr = _drawn(scale).requires_grad_()
    with torch.enable_grad():
        sr = teacher(lr, scale)
        reached = sr.requires_grad and torch.autograd.grad(sr.square().sum(), lr)[0].abs().sum().item()
    well = bool(reached) and reached == reached
    return Finding("gradient", well, "reaches the image" if well else "does not reach the image: is there a no_grad?")


def _layers(teacher: nn.Module) -> Finding:
    try:
        return Finding("layers", True, "h would look at " + ", ".join(default_layers(teacher)))
    except REFUSALS as error:
        return Finding("layers", False, _said(error))


@torch.no_grad()
def _homogeneous(teacher: nn.Module, scale: int) -> Finding:
    lr = 0.25 + 0.5 * _drawn(scale)  # with room for what enlarging overshoots: a clamp is no bias
    off = (teacher(0.5 * lr, scale) - 0.5 * teacher(lr, scale)).abs().max().item()
    words = (
        "without biases: only contrast against brightness is new to it; give a generator's images exposure"
        if off < GREY_LEVEL / 4 else "not homogeneous: brightness is new to it, too"
    )  # fmt: skip
    return Finding("biases", True, words)
