"""The memory bank against a plain list."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dfkd.errors import TrainingError
from dfkd.method.memory import MemoryBank
from dfkd.networks.weights import read_state, write_state


def rows(first: int, count: int) -> dict[str, torch.Tensor]:
    """Rows numbered on: a number each, and a small picture of it."""
    numbers = torch.arange(first, first + count, dtype=torch.float32)
    return {"number": numbers, "image": numbers.view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()}


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 7), st.lists(st.integers(0, 12), max_size=8), st.integers(0, 9), st.integers(0, 99))
def test_holds_the_newest_rows(size, batches, wanted, seed):
    bank, model, added = MemoryBank(size), [], 0
    for count in batches:
        bank.add(**rows(added, count))
        model = [*model, *range(added, added + count)][-size:]
        added += count
    assert len(bank) == len(model)
    everything = bank.sample(size, torch.Generator().manual_seed(seed))
    assert sorted(everything["number"].tolist() if model else []) == model
    drawn = bank.sample(wanted, torch.Generator().manual_seed(seed))
    if model:
        numbers = drawn["number"].tolist()
        assert len(numbers) == min(wanted, len(model)) == len(set(numbers)) and set(numbers) <= set(model)
        assert torch.equal(drawn["image"][:, 0, 0, 0], drawn["number"])  # columns stay together
    else:
        assert drawn == {}


def test_every_row_gets_its_turn():
    bank = MemoryBank(6)
    bank.add(**rows(0, 6))
    rng = torch.Generator().manual_seed(0)
    counts = torch.zeros(6)
    for _ in range(600):
        counts[bank.sample(2, rng)["number"].long()] += 1
    assert (counts / 600 - 1 / 3).abs().max() < 0.08


def test_draws_depend_on_the_stream_alone():
    bank = MemoryBank(20)
    bank.add(**rows(0, 20))
    a, b, c = (bank.sample(5, torch.Generator().manual_seed(seed))["number"].tolist() for seed in (1, 1, 2))
    assert a == b != c


def test_rows_are_detached_copies():
    bank = MemoryBank(4)
    source = torch.ones(2, 3, requires_grad=True)
    bank.add(x=source * 2)
    stored = bank.sample(2, torch.Generator())["x"]
    assert not stored.requires_grad and stored.grad_fn is None
    plain = torch.ones(2, 3)
    bank.add(x=plain)
    plain.zero_()
    stored.zero_()
    assert bank.sample(4, torch.Generator())["x"].sum() == 2 * 3 * 2 + 2 * 3


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=4), st.lists(st.integers(0, 6), max_size=3))
def test_saved_bank_goes_on_like_the_original(tmp_path_factory, before, after):
    path = tmp_path_factory.mktemp("bank") / "bank.pt"
    bank, added = MemoryBank(5), 0
    for count in before:
        bank.add(**rows(added, count))
        added += count
    write_state(path, bank.state_dict())
    other = MemoryBank(5)
    other.add(**rows(900, 3))  # what is loaded replaces what was there
    other.load_state_dict(read_state(path))
    for count in after:
        for each in (bank, other):
            each.add(**rows(added, count))
        added += count
    assert len(bank) == len(other)
    drawn = [each.sample(5, torch.Generator().manual_seed(3)) for each in (bank, other)]
    assert drawn[0].keys() == drawn[1].keys() and all(torch.equal(drawn[0][n], drawn[1][n]) for n in drawn[0])


def test_loaded_bank_is_its_own():
    bank, other = MemoryBank(3), MemoryBank(3)
    bank.add(**rows(0, 3))
    other.load_state_dict(bank.state_dict())
    other.add(**rows(7, 3))
    assert sorted(bank.sample(3, torch.Generator())["number"].tolist()) == [0, 1, 2]


def test_misuse_is_an_error():
    for size in (0, -3):
        with pytest.raises(TrainingError, match="at least one row"):
            MemoryBank(size)
    bank = MemoryBank(3)
    with pytest.raises(TrainingError):
        bank.add()
    with pytest.raises(TrainingError, match="equally long"):
        bank.add(a=torch.ones(2, 1), b=torch.ones(3, 1))
    bank.add(a=torch.ones(2, 4))
    for wrong in ({"b": torch.ones(2, 4)}, {"a": torch.ones(2, 5)}, {"a": torch.ones(2, 4), "b": torch.ones(2, 4)}):
        with pytest.raises(TrainingError, match="do not fit"):
            bank.add(**wrong)
    assert len(bank) == 2
    with pytest.raises(TrainingError, match="3 rows, this one 4"):
        MemoryBank(4).load_state_dict(bank.state_dict())
