"""Eqs. 6 to 9 against hand computations in NumPy, their gradients against finite differences, and the hooks."""

import gc
import math
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from dfkd.book.inversion import (
    BatchNormInputs,
    adversarial_loss,
    batchnorm_loss,
    class_loss,
    gaussian_kl,
    inversion_loss,
    moment_distance,
)
from dfkd.errors import TrainingError
from dfkd.networks.vdsr import VDSR


def array(*shape: int, seed: int = 0, low: float = 0.1, high: float = 2.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape)


def tensor(values: np.ndarray, grad: bool = False) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


def norm_layer(kind: type, channels: int, seed: int = 0, eps: float = 1e-3) -> nn.Module:
    """A BatchNorm layer that has seen something."""
    layer = kind(channels, eps=eps).double().eval()
    layer.running_mean.copy_(tensor(array(channels, seed=seed, low=-1)))
    layer.running_var.copy_(tensor(array(channels, seed=seed + 1)))
    return layer


def slow_kl(m, v, stored_m, stored_v) -> float:
    """The integral of p log(p / q), on a grid."""
    total = 0.0
    for a, b, c, d in zip(m, v, stored_m, stored_v, strict=True):
        t = np.linspace(a - 12 * math.sqrt(b), a + 12 * math.sqrt(b), 20001)
        log_p = -((t - a) ** 2) / (2 * b) - 0.5 * math.log(2 * math.pi * b)
        log_q = -((t - c) ** 2) / (2 * d) - 0.5 * math.log(2 * math.pi * d)
        total += float(np.sum(np.exp(log_p) * (log_p - log_q)) * (t[1] - t[0]))
    return total


def softmax(rows: np.ndarray) -> np.ndarray:
    powers = np.exp(rows)
    return powers / powers.sum(axis=1, keepdims=True)


# ---- Eq. 7 -----------------------------------------------------------------------------------------------------------


def test_divergence_of_gaussians_is_the_integral():
    four = [array(3, seed=seed) for seed in range(4)]
    assert gaussian_kl(*map(tensor, four)).item() == pytest.approx(slow_kl(*four), abs=1e-8)


def test_moment_distance_by_hand():
    m, v, stored_m, stored_v = (array(3, seed=seed) for seed in range(4))
    expected = math.sqrt(((m - stored_m) ** 2).sum()) + math.sqrt(((v - stored_v) ** 2).sum())
    assert moment_distance(*map(tensor, (m, v, stored_m, stored_v))).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("distance", [gaussian_kl, moment_distance])
def test_distances_vanish_only_where_both_moments_agree(distance):
    m, v = tensor(array(4)), tensor(array(4, seed=1))
    assert distance(m, v, m, v).item() == pytest.approx(0, abs=1e-12)
    assert distance(m + 0.1, v, m, v).item() > 0 < distance(m, v * 1.1, m, v).item()


def test_eq7_by_hand():
    images, rows = array(5, 2, 3, 4, low=-1), array(5, 6, seed=1, low=-1)
    layers = [norm_layer(nn.BatchNorm2d, 2), norm_layer(nn.BatchNorm1d, 6, seed=2)]
    expected = 0.0
    for x, layer in zip((images, rows), layers, strict=True):
        by_channel = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1)
        m, v = by_channel.mean(axis=1), by_channel.var(axis=1, ddof=1)
        expected += slow_kl(m, v + layer.eps, layer.running_mean.numpy(), layer.running_var.numpy() + layer.eps)
    assert batchnorm_loss([tensor(images), tensor(rows)], layers).item() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("distance", [gaussian_kl, moment_distance])
def test_eq7_gradient(distance):
    layers = [norm_layer(nn.BatchNorm2d, 2), norm_layer(nn.BatchNorm1d, 3, seed=2)]
    x, y = tensor(array(3, 2, 2, 2, low=-1), True), tensor(array(4, 3, seed=1, low=-1), True)
    assert gradcheck(lambda a, b: batchnorm_loss([a, b], layers, distance), (x, y))


def test_eq7_is_zero_on_the_data_the_layer_saw():
    """Both sides estimate the variance alike: BatchNorm keeps the one divided by n - 1."""
    layer, x = nn.BatchNorm2d(3, momentum=1.0).double(), tensor(array(4, 3, 5, 5))
    layer(x)
    assert batchnorm_loss([x], [layer.eval()]).item() == pytest.approx(0, abs=1e-12)
    assert batchnorm_loss([x + 0.1], [layer]).item() > 1e-3


def test_a_channel_that_never_varied_divides_nothing_by_zero():
    layer = nn.BatchNorm1d(2, momentum=1.0, eps=0.01).double()
    layer(torch.zeros(4, 2, dtype=torch.float64))
    x = tensor(array(4, 2), True)
    loss = batchnorm_loss([x], [layer.eval()])
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all()


def test_as_many_inputs_as_layers():
    with pytest.raises(ValueError, match="zip"):
        batchnorm_loss([torch.rand(4, 2)], [])


# ---- the hooks -------------------------------------------------------------------------------------------------------


def network() -> nn.Module:
    body = [nn.BatchNorm1d(4), nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(12, 2)).eval()


def test_inputs_are_what_the_layers_get():
    net, x = network(), torch.rand(5, 4, requires_grad=True)
    with BatchNormInputs(net) as seen:
        net(x)
        assert seen.layers == [net[0], net[3]]
        assert torch.equal(seen.inputs[0], x) and torch.equal(seen.inputs[1], net[:3](x))
        net(x[:2])
        assert [len(one) for one in seen.inputs] == [2, 2]  # the latest pass
        batchnorm_loss(seen.inputs, seen.layers).backward()
    assert x.grad.abs().sum() > 0


def test_removed_hooks_hold_nothing():
    net, x = network(), torch.rand(5, 4)
    with BatchNormInputs(net) as seen:
        net(x)
        remembered = weakref.ref(seen.inputs[1])
    gc.collect()
    assert remembered() is None
    assert not any(layer._forward_pre_hooks for layer in seen.layers)


@pytest.mark.parametrize("net", [VDSR(4, 2), nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False))])
def test_a_network_without_statistics_cannot_be_inverted_so(net):
    with pytest.raises(TrainingError, match="no BatchNorm layer with running statistics"):
        BatchNormInputs(net)


# ---- Eqs. 8, 9, 6 ----------------------------------------------------------------------------------------------------


def test_eq8_by_hand():
    logits, classes = array(4, 3, low=-2), [0, 2, 1, 1]
    expected = -np.mean([math.log(row[c]) for row, c in zip(softmax(logits), classes, strict=True)])
    assert class_loss(tensor(logits), torch.tensor(classes)).item() == pytest.approx(expected, abs=1e-12)


def test_eq8_gradient():
    assert gradcheck(lambda x: class_loss(x, torch.tensor([0, 2])), (tensor(array(2, 3, low=-2), True),))


@pytest.mark.parametrize("tau", [0.5, 1.0, 4.0])
def test_eq9_by_hand(tau):
    t, s = array(4, 3, low=-2), array(4, 3, seed=1, low=-2)
    p, q = softmax(t / tau), softmax(s / tau)
    expected = -(p * np.log(p / q)).sum() / 4
    assert adversarial_loss(tensor(t), tensor(s), tau).item() == pytest.approx(expected, abs=1e-12)


def test_eq9_gradient():
    t, s = tensor(array(2, 3, low=-2), True), tensor(array(2, 3, seed=1, low=-2), True)
    assert gradcheck(lambda x, y: adversarial_loss(x, y, 2.0), (t, s))


def test_eq9_asks_who_is_the_teacher_and_ignores_a_shift_of_logits():
    t, s = tensor(array(4, 3, low=-2)), tensor(array(4, 3, seed=1, low=-2))
    assert adversarial_loss(t, s).item() != pytest.approx(adversarial_loss(s, t).item(), rel=1e-3)
    assert adversarial_loss(t + 5, s - 3).item() == pytest.approx(adversarial_loss(t, s).item(), abs=1e-12)
    assert adversarial_loss(t, t).item() == pytest.approx(0, abs=1e-12)


def test_eq9_does_not_overflow_where_the_teacher_is_sure():
    s = tensor(np.zeros((2, 3)), True)
    loss = adversarial_loss(tensor(np.array([[2000.0, 0, 0], [0, -2000, 0]])), s)
    loss.backward()
    assert loss.isfinite() and s.grad.isfinite().all()


def test_eq6_by_hand():
    bn, cls, adv = (tensor(np.array(value)) for value in (3.0, 2.0, -0.5))
    terms = inversion_loss(bn, cls, adv, alpha=0.1, beta=2.0, gamma=4.0)
    assert terms["total"].item() == pytest.approx(0.3 + 4 - 2, abs=1e-12)
    assert [terms[name].item() for name in ("batchnorm", "classes", "adversarial")] == [3, 2, -0.5]
