"""Dead leaves: images drawn by rule, with edges and power laws as photographs have them.

Opaque shapes of random size, place and grey are painted over each other until they cover the canvas. With sizes drawn
from a cubic power law such pictures share the scale invariance and much of the edge statistics of natural ones (Lee,
Mumford and Huang, 2001).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from dfkd.errors import TrainingError
from dfkd.method.sources.base import LoopSettings, Source, SourceSettings, device_of, require_memory
from dfkd.method.sources.crops import Crops
from dfkd.method.sources.textures import falling_noise, frequencies, surfaces
from dfkd.method.team import ALONE, Team
from dfkd.pixels.resize import imresize
from dfkd.seeds import stream

SHAPES_PER_PIXEL = 3000 / 512**2  # enough to cover a canvas about once: what shows is mostly edges
RADII = (2.0, 200.0)  # in pixels
DISKS = 1 / 3  # share of disks; the others are polygons
CORNERS = (3, 6)
OVERSAMPLING = 2  # shapes are painted on a finer grid and averaged down, which softens their edges by a pixel
BLUR = 0.8  # largest sigma of the lens, in pixels
TEXTURE = 0.05  # largest standard deviation of the surface
TEXTURE_SLOPE = 1.2  # its amplitude falls as frequency to this power
# Of textured canvases, on the finer grid:
LEAST_TEXTURED = 8.0  # radius from which a leaf has a surface, in pixels
CONTRAST = 96.0  # of surfaces at most, in shades of 255; squared uniforms, so that most are faint
DEFOCUS = 4.0  # largest sigma of the lens for what lies behind the plane in focus, in pixels


@dataclass(frozen=True)
class DeadLeavesSettings(SourceSettings):
    """Images drawn by rule; not the paper's.

    Attributes:
        side: side of a canvas in pixels.
        pool: canvases kept.
        renew: batches between two new canvases.
        textured: share of canvases whose larger leaves have surfaces of their own and whose depths differ in focus.
    """

    method: ClassVar[str] = "dead-leaves"

    side: int = 512
    pool: int = 64
    renew: int = 10
    textured: float = 0.0

    def __post_init__(self):
        if not 0 <= self.textured <= 1:
            raise TrainingError(f"textured is a share of canvases, in [0, 1], not {self.textured}")
        if min(self.side, self.pool, self.renew) < 1:
            raise TrainingError(f"canvases: side {self.side}, pool {self.pool}, renew {self.renew} must be at least 1")
        require_memory(f"{self.pool} canvases of side {self.side}", self.pool * self.side**2)

    def check(self, config: LoopSettings) -> None:
        """Canvases hold a patch, and all images are drawn already."""
        if self.side < config.patch:
            raise TrainingError(f"canvases of side {self.side} hold no patch of {config.patch}")
        if config.dead_leaves:
            raise TrainingError("method 'dead-leaves' draws every image by rule: dead_leaves is for the other methods")

    def make(
        self, config: LoopSettings, teacher: nn.Module, images: list[Tensor] | None = None, team: Team = ALONE
    ) -> DeadLeavesSource:  # fmt: skip
        """Canvases of the run's seed."""
        seed = team.seed(config.seed)
        return DeadLeavesSource(config.patch, seed=seed, device=device_of(teacher), **asdict(self))


class DeadLeavesSource(Source):
    """Random crops of a pool of dead-leaves canvases, shrunk by the scale.

    Drawing a canvas costs some hundredths of a second, a textured one some tenths, so canvases are kept and cropped
    many times; one after the other is replaced by a new one as training goes on.

    Args:
        patch: side of the high-resolution patches; images have side patch / scale.
        seed: canvas number n looks the same in every run of this seed.
        device: where images are wanted.
        canvases: fields of `DeadLeavesSettings`.
    """

    def __init__(self, patch: int = 48, *, seed: int = 0, device: torch.device | str = "cpu", **canvases: float):
        settings = DeadLeavesSettings(**canvases)
        if settings.side < patch:
            raise TrainingError(f"canvases of side {settings.side} hold no patch of {patch}")
        self.patch, self.seed, self.device = patch, seed, device
        self.side, self.pool, self.renew = settings.side, settings.pool, settings.renew
        self.textured = settings.textured
        self._rng = stream(seed, "dead leaves")
        self._batches = 0
        self._canvases: list[Tensor] = []  # canvas n lies at place n % pool; drawn when first asked for
        self._crops: Crops | None = None

    def patches(self, batch: int) -> Tensor:
        """High-resolution patches [batch, 1, patch, patch] in [0, 1], in one of the eight orientations each."""
        newest = self.pool + self._batches // self.renew  # canvases there have been by now
        if self._crops is None:
            self._canvases = [self._canvas(newest - 1 - (newest - 1 - place) % self.pool) for place in range(self.pool)]
            self._crops = Crops(self._canvases, self.patch, self._rng)
        elif self._batches % self.renew == 0:
            self._canvases[(newest - 1) % self.pool] = self._canvas(newest - 1)
        self._batches += 1
        return self._crops.draw(batch).to(self.device)

    def sample(self, batch: int, scale: int) -> Tensor:
        """Patches shrunk bicubically, [batch, 1, patch / scale, patch / scale]."""
        return imresize(self.patches(batch), 1 / scale).clamp(0, 1)

    def _canvas(self, number: int) -> Tensor:
        textured = (number + 0.5) * self.textured % 1 + self.textured >= 1  # spread evenly over the numbers
        return dead_leaves(self.side, stream(self.seed, f"canvas {number}"), textured)

    def state_dict(self) -> dict:
        """Batches drawn so far, which say which canvases are in the pool, and the random stream of the crops."""
        return {"batches": self._batches, "rng": self._rng.get_state()}

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave; the canvases are drawn again when they are next needed."""
        self._batches, self._crops = state["batches"], None
        self._rng.set_state(state["rng"])


def dead_leaves(side: int, rng: torch.Generator, textured: bool = False) -> Tensor:
    """Draw one canvas.

    Args:
        side: in pixels.
        rng: random stream; the canvas is a function of its state.
        textured: whether larger leaves have surfaces, and those far behind are out of focus.

    Returns:
        [1, 1, side, side] in [0, 1].
    """
    leaves = _paint(side, rng, textured)
    sigma, strength = (float(torch.rand((), generator=rng)) * most for most in (BLUR, TEXTURE))
    grain = falling_noise(side, TEXTURE_SLOPE, rng)
    return (_blur(leaves, sigma) + strength * grain).clamp(0, 1)[None, None]


def draw_radii(count: int, rng: torch.Generator) -> Tensor:
    """Radii in pixels, [count], with density proportional to r^-3 between `RADII`: half as large, eight times as many.

    The integral of that density can be inverted: a number uniform between the squared reciprocals of the two bounds is
    the squared reciprocal of a radius.
    """
    smallest, largest = RADII
    return (largest**-2 + (smallest**-2 - largest**-2) * torch.rand(count, generator=rng)) ** -0.5


def _paint(side: int, rng: torch.Generator, textured: bool) -> Tensor:
    """Opaque shapes back to front, [side, side]."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=rng)

    count, fine = round(SHAPES_PER_PIXEL * side**2), OVERSAMPLING * side
    radii = OVERSAMPLING * draw_radii(count, rng)
    centres, greys = uniform(0, fine, count, 2), uniform(0, 255, count)
    disks = uniform(0, 1, count) < DISKS
    corners = torch.randint(CORNERS[0], CORNERS[1] + 1, (count,), generator=rng)
    angles = uniform(0, 2 * math.pi, count, CORNERS[1])
    shapes = list(zip(disks.tolist(), _outlines(centres, radii, disks, corners, angles), strict=True))
    greys = torch.cat([greys, uniform(0, 255, 1)]).round()  # the last one's is what shows where there is no leaf
    if not textured:
        *fills, ground = map(int, greys.tolist())
        return _average(_cover(Image.new("L", (fine, fine), ground), shapes, fills))
    contrast = torch.where(radii > LEAST_TEXTURED, CONTRAST * uniform(0, 1, count).square(), 0.0)
    contrast, fields = torch.cat([contrast, torch.zeros(1)]), surfaces(fine, rng)
    kinds = torch.randint(len(fields), (count + 1,), generator=rng)

    def coloured(which: Tensor) -> Tensor:
        field = fields.gather(0, kinds[which][None])[0]
        return (greys[which] + contrast[which] * field).clamp(0, 255)

    focus, defocus = int(uniform(0, count)), float(uniform(0, DEFOCUS))
    behind = _blur(coloured(_seen(shapes[:focus], fine)), defocus)
    front = _seen(shapes[focus:], fine)
    shades = torch.where(front < 0, behind, coloured(front + focus * (front >= 0)))
    return _average(Image.fromarray(shades.round().to(torch.uint8).numpy()))


def _outlines(centres: Tensor, radii: Tensor, disks: Tensor, corners: Tensor, angles: Tensor) -> list[list[float]]:
    """What a pen needs of each shape: of a disk the box around it, of a polygon its corners; x and y in turns."""
    centres, radii = centres.double(), radii.double()
    boxes = torch.cat([centres - radii[:, None], centres + radii[:, None]], dim=1)
    beyond = torch.arange(CORNERS[1]) >= corners[:, None]
    angles = angles.double().masked_fill(beyond, torch.inf).sort(dim=1).values  # in order: convex
    circle = torch.stack([angles.cos(), angles.sin()], dim=2)
    points = (centres[:, None] + radii[:, None, None] * circle).flatten(1)
    columns = (column.tolist() for column in (disks, boxes, corners, points))
    return [box if disk else xy[: 2 * n] for disk, box, n, xy in zip(*columns, strict=True)]


def _cover(canvas: Image.Image, shapes: list[tuple[bool, list[float]]], fills: Iterable[int]) -> Image.Image:
    """Paint shapes over each other, in order."""
    pen = ImageDraw.Draw(canvas)
    for (disk, outline), fill in zip(shapes, fills, strict=True):
        (pen.ellipse if disk else pen.polygon)(outline, fill=fill)
    return canvas


def _seen(shapes: list[tuple[bool, list[float]]], side: int) -> Tensor:
    """Which of some shapes is seen at each pixel, -1 where none is: [side, side]."""
    canvas = _cover(Image.new("I", (side, side), -1), shapes, range(len(shapes)))
    return torch.frombuffer(bytearray(canvas.tobytes()), dtype=torch.int32).view(side, side).long()


def _average(fine: Image.Image) -> Tensor:
    """Shades of the finer grid as whole numbers on the canvas's own, in [0, 1]."""
    shades = fine.reduce(OVERSAMPLING)
    return torch.frombuffer(bytearray(shades.tobytes()), dtype=torch.uint8).view(shades.height, -1) / 255


def _blur(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of standard deviation `sigma` pixels, as a factor on every frequency."""
    lens = torch.exp(-2 * (math.pi * sigma * frequencies(len(image))) ** 2)
    return torch.fft.irfft2(torch.fft.rfft2(image) * lens, s=image.shape)
