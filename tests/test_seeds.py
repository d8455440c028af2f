"""Random streams: one a process, none of them shared with another process or another run."""

import pytest
import torch

from dfkd.errors import TrainingError
from dfkd.seeds import RANKS_APART, for_rank, stream


@pytest.mark.parametrize("seed", [0, 1, 41, RANKS_APART - 1])
def test_rank_0_keeps_the_seed(seed):
    assert for_rank(seed, 0) == seed


SEEDS = [*range(40), 1000, 1001, 4096, 2**16, RANKS_APART - 2, RANKS_APART - 1]
RANKS = [*range(16), 1000, 4094, 4095]
PAIRS = [(seed, rank) for seed in SEEDS for rank in RANKS]


def test_no_two_runs_or_ranks_share_a_seed():
    assert len({for_rank(seed, rank) for seed, rank in PAIRS}) == len(PAIRS)


def test_no_two_runs_or_ranks_share_a_stream():
    drawn = {tuple(torch.rand(4, generator=stream(for_rank(*pair), "noise")).tolist()) for pair in PAIRS}
    assert len(drawn) == len(PAIRS)


@pytest.mark.parametrize("seed, rank", [(-1, 0), (RANKS_APART, 0), (0, -1), (0, 4096), (2**40, 1)])
def test_numbers_outside_the_range_are_an_error(seed, rank):
    with pytest.raises(TrainingError, match=r"seeds are below 1,048,576 and ranks below 4,096"):
        for_rank(seed, rank)
