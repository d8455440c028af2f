"""What an export to 8 bits is measured on: drawn images, so that a student stays free of data to the end."""

from __future__ import annotations

from torch import Tensor

from dfkd.method.sources import DeadLeavesSource

BATCHES, BATCH, SIDE = 9, 4, 48  # the last batch is for comparison; sides of the low-resolution images
SEED = 30_000  # of canvases that no run draws


def drawn_images(scale: int, channels: int = 1) -> list[Tensor]:
    """Batches of drawn images for `dfkd.networks.int8.export_int8`.

    Args:
        scale: upscaling factor.
        channels: 1 for luma; 3 for grey images in red, green and blue.

    Returns:
        Batches [4, channels, 48, 48] in [0, 1].
    """
    source = DeadLeavesSource(SIDE * scale, seed=SEED, side=2 * SIDE * scale, pool=8)
    batches = [source.sample(BATCH, scale) for _ in range(BATCHES)]
    if channels == 1:
        return batches
    return [((255 * lr - 16) / 219).clamp(0, 1).expand(-1, channels, -1, -1).contiguous() for lr in batches]
