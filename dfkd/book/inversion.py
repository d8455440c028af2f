"""Model inversion, Eqs. 6 to 9: images recovered from a trained classifier.

For classifiers only: Eq. 7 needs BatchNorm layers and Eq. 8 needs classes, and a super-resolution network like VDSR has
neither. So nothing else in the package uses this module; chapter 5 does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from torch.nn.modules.batchnorm import _BatchNorm

from dfkd.errors import TrainingError


class BatchNormInputs:
    """Remembers what went into each BatchNorm layer in the network's latest forward pass.

    Gradients flow through what it remembers. Use it as a context, or call `remove` when done::

        with BatchNormInputs(teacher) as seen:
            logits = teacher(x)
            loss = batchnorm_loss(seen.inputs, seen.layers)

    Args:
        network: any module; its layers count in the order in which it registered them.

    Raises:
        TrainingError: the network has no BatchNorm layer that keeps running statistics.
    """

    def __init__(self, network: nn.Module):
        self.layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
        if not self.layers:
            raise TrainingError(
                f"{type(network).__name__} has no BatchNorm layer with running statistics, so Eq. 7 has nothing to "
                "compare with; super-resolution networks seldom have one"
            )
        self._seen: dict[nn.Module, Tensor] = {}
        self._hooks = [layer.register_forward_pre_hook(self._remember) for layer in self.layers]

    def _remember(self, layer: nn.Module, arguments: tuple[Tensor]) -> None:
        self._seen[layer] = arguments[0]

    @property
    def inputs(self) -> list[Tensor]:
        """One tensor a layer, [batch, channels, ...], in the order of `layers`."""
        return [self._seen[layer] for layer in self.layers]

    def remove(self) -> None:
        """Let go of the network and of everything remembered."""
        for hook in self._hooks:
            hook.remove()
        self._seen.clear()

    def __enter__(self) -> BatchNormInputs:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def gaussian_kl(mean: Tensor, variance: Tensor, stored_mean: Tensor, stored_variance: Tensor) -> Tensor:
    """D in Eq. 7 as a Kullback-Leibler divergence, KL(N(mean, variance) || N(stored_mean, stored_variance)).

    Args:
        mean: mu_l(x), [channels].
        variance: sigma_l^2(x), [channels], positive.
        stored_mean: mu_l, [channels].
        stored_variance: sigma_l^2, [channels], positive.

    Returns:
        Sum over channels, which are taken as independent: a scalar, at least 0.
    """
    ratio = variance / stored_variance
    return 0.5 * (ratio - ratio.log() - 1 + (mean - stored_mean) ** 2 / stored_variance).sum()


def moment_distance(mean: Tensor, variance: Tensor, stored_mean: Tensor, stored_variance: Tensor) -> Tensor:
    """D in Eq. 7 as two Euclidean distances, that of the means plus that of the variances.

    Arguments as for `gaussian_kl`.

    Returns:
        A scalar, at least 0. Channels count as much as they are large.
    """
    return (mean - stored_mean).norm() + (variance - stored_variance).norm()


def batchnorm_loss(
    inputs: Sequence[Tensor],
    layers: Sequence[nn.Module],
    distance: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = gaussian_kl,
) -> Tensor:
    """How far a batch's statistics are from those the teacher kept of its training data: L_bn, Eq. 7.

    Statistics are taken for each channel over the batch and all positions. The layer's own eps is added to both
    variances, as BatchNorm adds it before dividing: a channel that never varied has variance 0 and would divide by it.

    Args:
        inputs: what goes into each BatchNorm layer, [batch, channels, ...], more than one value a channel.
        layers: the BatchNorm layers, in the same order.
        distance: D, of `gaussian_kl`'s signature. The paper does not say which.

    Returns:
        Sum over layers, a scalar.
    """
    total = torch.zeros((), device=inputs[0].device)
    for x, layer in zip(inputs, layers, strict=True):
        variance, mean = torch.var_mean(x, dim=[0, *range(2, x.dim())])  # [channels] each
        stored = layer.running_mean, layer.running_var + layer.eps
        total = total + distance(mean, variance + layer.eps, *stored)
    return total


def class_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """How unsure the teacher is that each image is of the class it is meant to be of: L_cls, Eq. 8.

    Args:
        logits: f_t(x), [batch, classes].
        classes: c, the class each image is meant to show, [batch], integers.

    Returns:
        Cross entropy, averaged over the batch: a scalar.
    """
    return cross_entropy(logits, classes)


def adversarial_loss(teacher_logits: Tensor, student_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """The reward for images on which teacher and student disagree: L_adv, Eq. 9.

    Eq. 9 is printed as a divergence of logits. It is one between distributions: softmax comes first.

    Args:
        teacher_logits: f_t(x), [batch, classes].
        student_logits: f_s(x), same shape.
        temperature: tau; above 1 it brings out the teacher's opinion of the classes it rejects.

    Returns:
        ``-KL(softmax(f_t / tau) || softmax(f_s / tau))``, averaged over the batch: a scalar, at most 0.
    """
    teacher, student = (log_softmax(logits / temperature, dim=1) for logits in (teacher_logits, student_logits))
    return -kl_div(student, teacher, reduction="batchmean", log_target=True)


def inversion_loss(
    batchnorm: Tensor, classes: Tensor, adversarial: Tensor, *, alpha: float, beta: float, gamma: float
) -> dict[str, Tensor]:
    """L_inv: the three terms weighted, Eq. 6.

    Args:
        batchnorm: L_bn, Eq. 7.
        classes: L_cls, Eq. 8.
        adversarial: L_adv, Eq. 9.
        alpha: weight of L_bn.
        beta: weight of L_cls.
        gamma: weight of L_adv.

    Returns:
        Every term before weighting, and their weighted sum: 'batchnorm', 'classes', 'adversarial', 'total'.
    """
    total = alpha * batchnorm + beta * classes + gamma * adversarial
    return {"batchnorm": batchnorm, "classes": classes, "adversarial": adversarial, "total": total}
