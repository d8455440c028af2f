"""Random streams: one a purpose, all from one seed, so that drawing more from one leaves the others as they were."""

from __future__ import annotations

import zlib
from contextlib import contextmanager

import torch

from dfkd.errors import TrainingError

RANKS_APART = 2**20  # seeds below this never meet on another process


def stream(seed: int, purpose: str) -> torch.Generator:
    """A random stream of its own, on the CPU whatever the device, so that runs on any device draw the same numbers."""
    return torch.Generator().manual_seed(_mix(seed, purpose))


@contextmanager
def seeded(seed: int, purpose: str):
    """Within the block torch's global stream on the CPU is seeded; afterwards it goes on as if it had never been."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_mix(seed, purpose))  # torch.manual_seed would seed every GPU as well
        yield


def for_rank(seed: int, rank: int) -> int:
    """The seed of one of several processes that share a run: rank 0 keeps the run's, no two runs or ranks share one.

    Args:
        seed: of the run, at least 0 and below 2^20.
        rank: of the process, at least 0 and below 2^12.

    Raises:
        TrainingError: numbers outside these ranges, where two runs could draw the same images.
    """
    if not (0 <= seed < RANKS_APART and 0 <= rank < 2**12):
        raise TrainingError(f"seed {seed}, rank {rank}: seeds are below {RANKS_APART:,} and ranks below 4,096")
    return seed + rank * RANKS_APART


def _mix(seed: int, purpose: str) -> int:
    """32 bits, which is all that torch's generator on the CPU looks at; another seed always gives other bits."""
    return zlib.crc32(purpose.encode()) ^ (seed * 0x9E3779B1 & 0xFFFFFFFF)
