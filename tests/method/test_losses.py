"""Each equation against its hand computation in NumPy, and its gradient against finite differences."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_resize import slow_resize
from torch.autograd import gradcheck

from dfkd.errors import TrainingError, UnknownName
from dfkd.method.losses import (
    adversarial_loss,
    contrastive_loss,
    discrepancy,
    distillation_loss,
    generator_loss,
    gradient_norms,
    reconstruction_loss,
    relative_adversarial_loss,
    similarity,
    squared_reconstruction_loss,
)


def array(*shape: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape)


def tensor(values: np.ndarray, grad: bool = False) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


# ---- Eq. 1 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_eq1_by_hand(scale):
    lr, sr = array(2, 1, 5, 6), array(2, 1, 5 * scale, 6 * scale, seed=1, low=-0.6, high=1.6)
    total = sum(
        np.abs(slow_resize(s[0], (5, 6), (1 / scale, 1 / scale)).clip(0, 1) - x[0]).sum()
        for x, s in zip(lr, sr, strict=True)
    )
    assert reconstruction_loss(tensor(lr), tensor(sr), scale).item() == pytest.approx(total / (2 * 5 * 6), abs=1e-12)


def test_eq1_gradient():
    lr, sr = tensor(array(2, 1, 3, 4), True), tensor(array(2, 1, 6, 8, seed=1), True)
    assert gradcheck(lambda x, y: reconstruction_loss(x, y, 2), (lr, sr))


def test_eq1_sees_a_clipped_output_as_the_viewer_does():
    """An output that overshoots white everywhere reads as white; beyond the clip nothing pulls."""
    sr = torch.full((1, 1, 4, 4), 1.5, requires_grad=True)
    loss = reconstruction_loss(torch.ones(1, 1, 2, 2), sr, 2)
    assert loss.item() == 0
    loss.backward()
    assert not sr.grad.any()


@pytest.mark.parametrize("scale", [2, 3])
def test_squared_eq1_by_hand(scale):
    lr, sr = array(2, 1, 5, 6), array(2, 1, 5 * scale, 6 * scale, seed=1, low=-0.6, high=1.6)
    total = sum(
        ((slow_resize(s[0], (5, 6), (1 / scale, 1 / scale)).clip(0, 1) - x[0]) ** 2).sum()
        for x, s in zip(lr, sr, strict=True)
    )
    found = squared_reconstruction_loss(tensor(lr), tensor(sr), scale).item()
    assert found == pytest.approx(total / 2, abs=1e-12)  # a sum over pixels, a mean over the batch


def test_squared_eq1_gradient():
    lr, sr = tensor(array(2, 1, 3, 4), True), tensor(array(2, 1, 6, 8, seed=1), True)
    assert gradcheck(lambda x, y: squared_reconstruction_loss(x, y, 2), (lr, sr))


# ---- Eqs. 2, 3, 5 ----------------------------------------------------------------------------------------------------


def test_eq3_sums_pixels_and_averages_images():
    t, s = array(3, 2, 4, 5), array(3, 2, 4, 5, seed=1)
    assert discrepancy(tensor(t), tensor(s)).item() == pytest.approx(np.abs(t - s).sum() / 3, abs=1e-12)


def test_eq2_by_hand():
    t, s = array(3, 2, 4, 5), array(3, 2, 4, 5, seed=1)
    expected = -math.log(np.abs(t - s).sum() / 3 + 1)
    assert adversarial_loss(tensor(t), tensor(s)).item() == pytest.approx(expected, abs=1e-12)
    assert adversarial_loss(tensor(t), tensor(t)).item() == 0


def test_eq5_by_hand():
    t, s = array(3, 2, 4, 5), array(3, 2, 4, 5, seed=1)
    expected = np.abs(t - s).sum() / (3 * 2 * 4 * 5)
    assert distillation_loss(tensor(t), tensor(s)).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("loss", [discrepancy, adversarial_loss, distillation_loss])
def test_eqs_2_3_5_gradients(loss):
    assert gradcheck(loss, (tensor(array(2, 1, 3, 4), True), tensor(array(2, 1, 3, 4, seed=1), True)))


def test_generator_and_student_pull_opposite_ways():
    t, s = tensor(array(2, 1, 3, 4)), tensor(array(2, 1, 3, 4, seed=1), True)
    (up,) = torch.autograd.grad(adversarial_loss(t, s), s)
    (down,) = torch.autograd.grad(distillation_loss(t, s), s)
    assert torch.equal(up.sign(), -down.sign())


def test_logarithm_damps_a_large_discrepancy():
    """Why Eq. 3 is a sum: a mean in [0, 1] would leave log(1 + x) = x - x^2 / 2 + ..., nearly the discrepancy."""
    t = torch.zeros(1, 1, 10, 10, dtype=torch.float64)
    small, large = (-adversarial_loss(t, t + level).item() for level in (0.05, 0.5))
    assert large / small < 2.5  # ten times the difference


def test_relative_eq2_by_hand():
    t, s, up = (array(3, 1, 4, 5, seed=seed) for seed in range(3))
    ratios = [np.abs(t[i] - s[i]).sum() / np.abs(t[i] - up[i]).sum() for i in range(3)]
    found = relative_adversarial_loss(tensor(t), tensor(s), tensor(up)).item()
    assert found == pytest.approx(-np.mean(np.log(1 + np.array(ratios))), abs=1e-12)


def test_relative_eq2_gradient():
    three = [tensor(array(2, 1, 3, 4, seed=seed), True) for seed in range(3)]
    assert gradcheck(relative_adversarial_loss, three)


@given(st.floats(0.05, 1.0))
def test_relative_eq2_pays_nothing_for_brightness(factor):
    """What Eq. 2 does: for networks without biases, a brighter image has all three outputs brighter."""
    t, s, up = (tensor(array(2, 1, 4, 5, seed=seed)) for seed in range(3))
    dimmed = relative_adversarial_loss(factor * t, factor * s, factor * up)
    assert torch.isclose(dimmed, relative_adversarial_loss(t, s, up), rtol=1e-9)
    assert adversarial_loss(factor * t, factor * s) >= adversarial_loss(t, s)


def test_relative_eq2_is_finite_where_the_teacher_adds_nothing():
    flat, missed = torch.full((1, 1, 4, 4), 0.5, requires_grad=True), torch.full((1, 1, 4, 4), 0.501)
    loss = relative_adversarial_loss(flat, missed, flat.detach())
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(2), rel=1e-3) and flat.grad.isfinite().all()


# ---- Eqs. 11, 12 -----------------------------------------------------------------------------------------------------


def slow_similarity(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([[x @ y / (np.linalg.norm(x) * np.linalg.norm(y)) for y in b] for x in a])


def slow_contrast(anchors, keys, tau, denominator="negatives", fresh=None) -> float:
    """-log(exp(positive) / sum(exp(others))), row by row."""
    sim = slow_similarity(anchors, keys) / tau
    losses = []
    for i, row in enumerate(sim):
        others = [math.exp(s) for j, s in enumerate(row) if denominator == "all" or j != i]
        losses.append(-math.log(math.exp(row[i]) / sum(others)))
    fresh = len(losses) if fresh is None else fresh
    return float(np.mean(losses[:fresh]) + (np.mean(losses[fresh:]) if fresh < len(losses) else 0))


def test_eq11_by_hand():
    a, b = array(4, 3, low=-1), array(5, 3, seed=1, low=-1)
    np.testing.assert_allclose(similarity(tensor(a), tensor(b)).numpy(), slow_similarity(a, b), atol=1e-12)


@pytest.mark.parametrize("denominator", ["negatives", "all"])
@pytest.mark.parametrize("tau", [0.1, 0.5])
@pytest.mark.parametrize("fresh", [None, 1, 3, 6])
def test_eq12_by_hand(denominator, tau, fresh):
    a, b = array(6, 4, low=-1), array(6, 4, seed=1, low=-1)
    loss = contrastive_loss(tensor(a), tensor(b), tau, fresh=fresh, denominator=denominator)
    assert loss.item() == pytest.approx(slow_contrast(a, b, tau, denominator, fresh), abs=1e-10)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 8), st.integers(1, 5), st.floats(0.05, 2), st.integers(0, 10**6), st.data())
def test_eq12_by_hand_for_any_rows(rows, dimensions, tau, seed, data):
    fresh = data.draw(st.integers(1, rows))
    a, b = array(rows, dimensions, seed=seed, low=-1), array(rows, dimensions, seed=seed + 1, low=-1)
    for denominator in ("negatives", "all"):
        loss = contrastive_loss(tensor(a), tensor(b), tau, fresh=fresh, denominator=denominator)
        assert loss.item() == pytest.approx(slow_contrast(a, b, tau, denominator, fresh), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("denominator", ["negatives", "all"])
def test_eqs_11_12_gradients(denominator):
    a, b = tensor(array(4, 3, low=-1), True), tensor(array(4, 3, seed=1, low=-1), True)
    assert gradcheck(similarity, (a, b))
    assert gradcheck(lambda x, y: contrastive_loss(x, y, 0.5, fresh=3, denominator=denominator), (a, b))


def test_eq12_default_is_all_new_and_negatives_only():
    a, b = array(5, 4, low=-1), array(5, 4, seed=1, low=-1)
    assert contrastive_loss(tensor(a), tensor(b)).item() == pytest.approx(slow_contrast(a, b, 0.1), abs=1e-10)


def test_eq12_does_not_overflow_at_a_small_temperature():
    a = tensor(array(4, 3, low=-1), True)
    for denominator in ("negatives", "all"):
        loss = contrastive_loss(a, a.detach().flip(0), 1e-4, denominator=denominator)
        loss.backward()
        assert loss.isfinite() and a.grad.isfinite().all()


def test_eq12_falls_when_views_agree_and_others_differ():
    same, apart = tensor(np.eye(4)), tensor(np.roll(np.eye(4), 1, axis=0))
    assert contrastive_loss(same, same).item() < 0 < contrastive_loss(same, apart).item()


def test_eq12_needs_something_to_differ_from():
    """A lone row has no negatives: the logarithm of an empty sum would be minus infinity."""
    with pytest.raises(TrainingError, match="two rows"):
        contrastive_loss(tensor(array(1, 4)), tensor(array(1, 4, seed=1)))
    for fresh in (0, 4):
        with pytest.raises(TrainingError, match=f"not {fresh}"):
            contrastive_loss(torch.rand(3, 4), torch.rand(3, 4), fresh=fresh)


def test_unknown_denominator_is_an_error():
    with pytest.raises(UnknownName, match="negatives, all"):
        contrastive_loss(torch.eye(3), torch.eye(3), denominator="positives")


# ---- Eqs. 4, 13 ------------------------------------------------------------------------------------------------------


def test_eqs_4_and_13_by_hand():
    a, r, c = tensor(np.array(-2.0)), tensor(np.array(0.3)), tensor(np.array(5.0))
    eq4 = generator_loss(a, r, w_recon=10.0)
    assert set(eq4) == {"adversarial", "reconstruction", "total"} and eq4["total"].item() == -2 + 10 * 0.3
    eq13 = generator_loss(a, r, c, w_recon=10.0, w_contrast=0.1)
    assert eq13["total"].item() == pytest.approx(-2 + 3 + 0.5, abs=1e-12)
    assert [eq13[n].item() for n in ("adversarial", "reconstruction", "contrastive")] == [-2, 0.3, 5]


def test_eq13_gradient_is_the_weights():
    terms = [tensor(np.array(x), True) for x in (-2.0, 0.3, 5.0)]
    assert gradcheck(lambda a, r, c: generator_loss(a, r, c, w_recon=3.0, w_contrast=0.2)["total"], terms)
    total = generator_loss(*terms, w_recon=3.0, w_contrast=0.2)["total"]
    assert [g.item() for g in torch.autograd.grad(total, terms)] == [1, 3, 0.2]
    alone = generator_loss(*terms[:2], w_recon=3.0, w_adversarial=0.0)
    assert alone["adversarial"].item() == -2 and alone["total"].item() == pytest.approx(0.9, abs=1e-12)


def test_gradient_norms_by_hand_and_leave_no_gradients_behind():
    x = tensor(array(2, 3), True)
    norms = gradient_norms({"linear": (3 * x).sum(), "square": (x**2).sum()}, x)
    assert norms["linear"] == pytest.approx(3 * math.sqrt(6))
    assert norms["square"] == pytest.approx(2 * np.linalg.norm(array(2, 3)))
    assert x.grad is None


def test_gradient_norm_of_a_term_that_does_not_depend_on_it_is_zero():
    x = tensor(array(2, 3), True)
    other = tensor(array(2), True)
    assert gradient_norms({"none": other.sum(), "constant": torch.zeros(())}, x) == {"none": 0.0, "constant": 0.0}
