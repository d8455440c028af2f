"""Random streams: one a purpose, all from one seed, so that drawing more from one leaves the others as they were."""

from __future__ import annotations

import zlib
from contextlib import contextmanager

import torch


def stream(seed: int, purpose: str) -> torch.Generator:
    """A random stream of its own, on the CPU whatever the device, so that runs on any device draw the same numbers."""
    return torch.Generator().manual_seed(_mix(seed, purpose))


@contextmanager
def seeded(seed: int, purpose: str):
    """Within the block torch's global stream on the CPU is seeded; afterwards it goes on as if it had never been."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_mix(seed, purpose))  # torch.manual_seed would seed every GPU as well
        yield


def _mix(seed: int, purpose: str) -> int:
    return zlib.crc32(purpose.encode()) ^ (seed * 0x9E3779B1 & 0xFFFFFFFF) | seed << 32 & 0x7FFFFFFF00000000
