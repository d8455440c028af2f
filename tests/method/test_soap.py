"""SOAP against its equations, against a library, and in what it is for."""

import numpy as np
import pytest
import torch
from pytorch_optimizer import SOAP as Library

from dfkd.method.soap import RENEWAL, SOAP

BETA, LR = 0.95, 1e-3


def gradients(shape: tuple[int, ...], count: int, seed: int = 0) -> list[torch.Tensor]:
    """Whose rows and columns vary together."""
    rng = torch.Generator().manual_seed(seed)
    rows = shape[0]
    columns = int(np.prod(shape[1:]))
    left, right = (torch.randn(n, n, generator=rng) for n in (rows, columns))
    return [(left @ torch.randn(rows, columns, generator=rng) @ right).view(shape) for _ in range(count)]


def trajectory(optimiser, weight: torch.nn.Parameter, steps: list[torch.Tensor]) -> list[torch.Tensor]:
    places = []
    for gradient in steps:
        weight.grad = gradient.clone()
        optimiser.step()
        places.append(weight.detach().clone())
    return places


def by_hand(weight: np.ndarray, steps: list[np.ndarray]) -> np.ndarray:
    """The equations, in float64 and with exact turns of the basis where there is one."""
    first = steps[0]
    factors = [(1 - BETA) * first @ first.T, (1 - BETA) * first.T @ first]
    bases = [np.linalg.eigh(factor)[1][:, ::-1] for factor in factors]
    mean, square = np.zeros_like(first), np.zeros_like(first)
    for update, gradient in enumerate(steps[1:], start=1):
        left, right = bases
        mean = BETA * mean + (1 - BETA) * gradient
        square = BETA * square + (1 - BETA) * (left.T @ gradient @ right) ** 2
        shrunk = 1 - BETA**update
        weight = weight - LR * left @ ((left.T @ mean @ right / shrunk) / np.sqrt(square / shrunk)) @ right.T
        factors = [BETA * factors[0] + (1 - BETA) * gradient @ gradient.T,
                   BETA * factors[1] + (1 - BETA) * gradient.T @ gradient]  # fmt: skip
        if update % RENEWAL == 0:
            for side in (0, 1):
                explained = np.einsum("ij,ik,kj->j", bases[side], factors[side], bases[side])
                order = np.argsort(-explained)
                square = square.take(order, axis=side)
                bases[side] = np.linalg.qr(factors[side] @ bases[side][:, order])[0]
    return weight


@pytest.mark.parametrize("shape", [(6, 6), (9, 1, 3, 3)])
def test_follows_its_equations(shape):
    steps = gradients(shape, 3 * RENEWAL)
    weight = torch.nn.Parameter(torch.ones(shape))
    last = trajectory(SOAP([weight], LR, (BETA, BETA)), weight, steps)[-1]
    flat = [gradient.flatten(1).double().numpy() for gradient in steps]
    expected = by_hand(np.ones(flat[0].shape), flat)
    assert np.allclose(last.flatten(1).numpy(), expected, atol=2e-5)
    assert np.abs(expected - 1).max() > 10 * LR  # it went somewhere


def test_agrees_with_a_library():
    shape = (18, 2, 3, 3)  # as a matrix, square: a first gradient of lower rank leaves directions open
    ours, theirs = (torch.nn.Parameter(torch.ones(shape)) for _ in range(2))
    library = Library(
        [theirs], lr=LR, betas=(BETA, BETA), shampoo_beta=BETA, weight_decay=0, merge_dims=True,
        max_precondition_dim=18, precondition_frequency=RENEWAL,
    )  # fmt: skip
    steps = gradients(shape, 3 * RENEWAL)
    pairs = zip(
        trajectory(SOAP([ours], LR, (BETA, BETA)), ours, steps), trajectory(library, theirs, steps), strict=True
    )
    assert all(torch.allclose(a, b, atol=5e-5) for a, b in pairs)
    assert (ours - 1).abs().max() > 10 * LR


def test_first_gradient_tells_the_directions_and_moves_nothing():
    weight = torch.nn.Parameter(torch.ones(4, 3))
    places = trajectory(SOAP([weight], LR), weight, gradients((4, 3), 2))
    assert torch.equal(places[0], torch.ones(4, 3)) and not torch.equal(places[1], places[0])


def test_turning_the_problem_turns_the_course():
    """What Adam cannot: its steps depend on the axes, those of SOAP on the gradients alone."""
    steps = gradients((5, 5), 2 * RENEWAL)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)))[0]

    def ends(kind) -> tuple[torch.Tensor, torch.Tensor]:
        plain, turned = (torch.nn.Parameter(torch.zeros(5, 5)) for _ in range(2))
        trajectory(kind([plain], lr=LR), plain, steps)
        trajectory(kind([turned], lr=LR), turned, [turn @ gradient for gradient in steps])
        return turn @ plain.detach(), turned.detach()

    assert torch.allclose(*ends(SOAP), atol=1e-5)
    assert not torch.allclose(*ends(torch.optim.Adam), atol=1e-3)


def test_vectors_and_numbers_have_directions_too():
    bias, number = torch.nn.Parameter(torch.zeros(4)), torch.nn.Parameter(torch.zeros(()))
    optimiser = SOAP([bias, number, torch.nn.Parameter(torch.zeros(2))], LR)  # the last one has no gradient
    for _ in range(3):
        bias.grad, number.grad = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor(-1.0)
        optimiser.step()
    # All gradients alike: one direction, along which each of two steps has length lr. (Across it, rounding is all.)
    assert torch.allclose(bias @ (bias.grad / bias.grad.norm()), torch.tensor(-2 * LR), atol=1e-6)
    assert torch.allclose(number, torch.tensor(2 * LR), atol=1e-6)
