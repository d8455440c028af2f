"""Pictures with readings, as sliders show them, and their encoding for a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from dfkd.errors import DfkdError
from dfkd.pixels.files import to_uint8

__all__ = ["Frame", "WidgetError"]  # what a user meets; the rest serves `dfkd.book.widgets`

SHOWN_WIDTH = 480  # pixels on the page; smaller pictures are enlarged by the largest whole factor that fits
GAP = 8  # between panels, in pixels on the page, as far as whole pixels of the picture allow
MAX_BYTES = 300_000  # of pictures in one widget, so that a notebook with one stays below 400 kB; with two, say less
QUALITIES = (None, 90, 75)  # WebP: lossless if that fits, else ever more compressed


class WidgetError(DfkdError, ValueError):
    """A slider, a divider or a question that cannot be made as asked; the message says what to change."""


@dataclass(frozen=True)
class Frame:
    """What a slider shows at one point of its grid.

    Attributes:
        pixels: the picture, uint8 [height, width], [height, width, 3], or with panels [height, width, 4].
        readings: label to number or text, for example ``{"PSNR (dB)": 31.2}``.
        is_figure: whether it was drawn by matplotlib, and so is shown at its own size and never enlarged.
        panels: what stands above each of the pictures side by side; empty for a single one.
    """

    pixels: np.ndarray
    readings: Mapping[str, Any] = field(default_factory=dict)
    is_figure: bool = False
    panels: tuple[str, ...] = ()


def as_frame(result: Any) -> Frame:
    """What a slider's function returned, a picture or (picture, readings), as a `Frame`."""
    picture, readings = result if isinstance(result, tuple) and len(result) == 2 else (result, {})
    if not isinstance(readings, Mapping):
        raise WidgetError(f'readings are a dict such as {{"PSNR (dB)": 31.2}}, not {readings!r}')
    readings = {str(label): value.item() if hasattr(value, "item") else value for label, value in readings.items()}
    if isinstance(picture, Mapping):
        return Frame(_side_by_side(picture), readings, panels=tuple(map(str, picture)))
    is_figure = hasattr(picture, "savefig")
    return Frame(_draw(picture) if is_figure else _pixels(picture), readings, is_figure)


def _draw(figure: Any) -> np.ndarray:
    """A matplotlib Figure as uint8 [height, width, 3]; closed, or the notebook would show it once more."""
    import matplotlib.pyplot as plt

    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=figure.dpi, facecolor="white")  # without 'tight', which varies the size
    plt.close(figure)
    return np.asarray(Image.open(file).convert("RGB"))


def _side_by_side(pictures: Mapping[str, Any]) -> np.ndarray:
    """Pictures of one size in a row with nothing between them: uint8 [height, width, 4], opaque or transparent."""
    panels = [np.asarray(Image.fromarray(_pixels(picture)).convert("RGBA")) for picture in pictures.values()]
    if len(panels) < 2 or len({panel.shape for panel in panels}) > 1:
        sizes = [panel.shape[:2] for panel in panels]
        raise WidgetError(f"panels are two pictures or more of one (height, width), not {sizes}")
    height, width, _ = panels[0].shape
    zoom = max(1, SHOWN_WIDTH // (len(panels) * width))
    gap = np.zeros((height, max(1, round(GAP / zoom)), 4), np.uint8)
    return np.concatenate([part for panel in panels for part in (gap, panel)][1:], axis=1)


def panel_places(frame: Frame) -> list[tuple[float, float]]:
    """Where each of the pictures side by side begins and how wide it is, in per cent of the whole."""
    opaque = frame.pixels[0, :, 3] > 0 if frame.panels else np.zeros(0, bool)
    edges = np.flatnonzero(np.diff(np.pad(opaque, 1).astype(int)))
    return [(100 * left / len(opaque), 100 * (right - left) / len(opaque)) for left, right in edges.reshape(-1, 2)]


def _pixels(picture: Any) -> np.ndarray:
    """An image in any usual layout as uint8 [height, width] or [height, width, 3]."""
    if not isinstance(picture, (torch.Tensor, np.ndarray)):
        hint = "; end the function with `return figure`" if picture is None else ""
        raise WidgetError(f"a picture is a matplotlib Figure or an image array, not {type(picture).__name__}{hint}")
    image = torch.as_tensor(picture).detach().cpu()
    image = image / 255 if image.dtype == torch.uint8 else image.double()
    if image.dim() == 4 and len(image) == 1:
        image = image[0]
    if image.dim() == 3 and image.shape[-1] in (1, 3) and image.shape[0] not in (1, 3):
        image = image.permute(2, 0, 1)
    if image.dim() == 2:
        image = image[None]
    if image.dim() != 3 or image.shape[0] not in (1, 3):
        raise WidgetError(f"one image of one or three channels, not an array of shape {tuple(picture.shape)}")
    if not image.isfinite().all() or image.max() > 1.5 or image.min() < -0.5:
        raise WidgetError(
            "an image lies in [0, 1]; this one reaches far outside or holds NaN. Divide by 255, or clamp it"
        )
    return to_uint8(image)


def to_address(pixels: np.ndarray, quality: int | None = None) -> str:
    """The picture as a ``data:`` address."""
    file = io.BytesIO()
    options = {"lossless": True} if quality is None else {"quality": quality}
    picture = Image.fromarray(pixels)
    picture = picture if picture.mode == "RGBA" else picture.convert("RGB")
    picture.save(file, "WEBP", **options)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def encode(pictures: list[np.ndarray], max_bytes: int = MAX_BYTES) -> list[str]:
    """All pictures as addresses, at the best quality at which they fit into a page together."""
    for quality in QUALITIES:
        addresses = [to_address(pixels, quality) for pixels in pictures]
        size = sum(map(len, addresses))
        if size <= max_bytes:
            return addresses
    height, width = pictures[0].shape[:2]
    raise WidgetError(
        f"{len(pictures)} pictures of {width}x{height} pixels take {size // 1000} kB, above the "
        f"{max_bytes // 1000} kB a page should carry; give fewer values, a smaller crop, or a smaller figsize"
    )


def from_address(address: str) -> np.ndarray:
    """The way back from `to_address`: uint8 [height, width, 3]."""
    return np.asarray(_opaque(Image.open(io.BytesIO(base64.b64decode(address.split(",", 1)[1])))))


def _opaque(picture: Image.Image) -> Image.Image:
    """In RGB, black where a picture is transparent: compression does not keep what is hidden there."""
    ground = Image.new("RGBA", picture.size, (0, 0, 0, 255))
    ground.alpha_composite(picture.convert("RGBA"))
    return ground.convert("RGB")


def largest_difference(now: np.ndarray, then: np.ndarray, block: int = 1) -> int:
    """How far two pictures differ at most, 0 to 255; 255 where their sizes do.

    Args:
        now: uint8 [height, width] or [height, width, 3 or 4].
        then: the same.
        block: compare means over squares of this side. Compression moves single pixels but hardly a mean over
            4x4.
    """
    if now.shape[:2] != then.shape[:2]:
        return 255
    now, then = (_opaque(Image.fromarray(pixels)).reduce(block) for pixels in (now, then))
    return int(abs(np.asarray(now, dtype=int) - np.asarray(then, dtype=int)).max())
