"""The paper's equations, a function each, with the equation above it.

n counts pixels. L_R (Eq. 1) and the student's L_KD (Eq. 5) are means over pixels and batch. Eq. 3 is printed without
1/n and stands inside Eq. 2's logarithm: there the difference is summed over an image's pixels. With a mean in [0, 1]
instead, log(1 + x) would be x and the logarithm would do nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from dfkd.errors import TrainingError, pick
from dfkd.pixels.resize import imresize

DENOMINATORS = ("negatives", "all")
FAINT = 1e-3  # a quarter of a grey level


# $ \mathcal{L}_R = \mathbb{E}_{z \sim p_z} \left[ \frac{1}{n} \lVert R(\mathcal{T}(\mathcal{G}(z))) -
#   \mathcal{G}(z) \rVert_1 \right] \qquad (1) $
def reconstruction_loss(lr: Tensor, sr: Tensor, scale: int) -> Tensor:
    """How far the teacher's output, shrunk back, is from what went in: L_R, Eq. 1.

    Defined in chapter 3 of the book.

    Args:
        lr: generated images G(z), [batch, channels, height, width], in [0, 1].
        sr: the teacher's output T(G(z)), [batch, channels, scale * height, scale * width].
        scale: upscaling factor.

    Returns:
        Mean absolute difference, a scalar.
    """
    return (imresize(sr, 1 / scale).clamp(0, 1) - lr).abs().mean()


# $ \mathcal{L}_R = \mathbb{E}_{z \sim p_z} \left[ \lVert R(\mathcal{T}(\mathcal{G}(z))) - \mathcal{G}(z) \rVert_2^2
#   \right] $, not the paper's
def squared_reconstruction_loss(lr: Tensor, sr: Tensor, scale: int) -> Tensor:
    """Eq. 1 as the public code of DFSR weighs it: squared, and summed over an image's pixels.

    Arguments as for `reconstruction_loss`. Large differences count for more, and small images for less.

    Returns:
        Squared difference, summed over an image's pixels, averaged over the batch: a scalar.
    """
    return (imresize(sr, 1 / scale).clamp(0, 1) - lr).square().flatten(1).sum(dim=1).mean()


# $ \mathcal{L}_{KD} = \mathbb{E}_{x \sim p_x} \left[ \lVert \mathcal{T}(x) - \mathcal{S}(x) \rVert_1 \right]
#   \qquad (3) $
def discrepancy(teacher_sr: Tensor, student_sr: Tensor) -> Tensor:
    """How much teacher and student disagree on an image: L_KD as printed in Eq. 3.

    Defined in chapters 2 and 4 of the book.

    Args:
        teacher_sr: T(x), [batch, channels, height, width].
        student_sr: S(x), same shape.

    Returns:
        Absolute difference, summed over an image's pixels, averaged over the batch: a scalar.
    """
    return (teacher_sr - student_sr).abs().flatten(1).sum(dim=1).mean()


# $ \mathcal{L}_{GEN} = -\log(\mathcal{L}_{KD} + 1) \qquad (2) $
def adversarial_loss(
    teacher_sr: Tensor, student_sr: Tensor, mean: Callable[[Tensor], Tensor] = lambda value: value
) -> Tensor:  # fmt: skip
    """The generator's reward for images on which teacher and student disagree: L_GEN, Eq. 2.

    Defined in chapter 4 of the book.

    The logarithm keeps a few images of huge discrepancy from drowning everything else.

    Args:
        teacher_sr: T(x), [batch, channels, height, width].
        student_sr: S(x), same shape.
        mean: over processes that share a batch, for L_KD stands inside the logarithm (see `dfkd.method.team`).

    Returns:
        ``-log(L_KD + 1)``, a scalar; at most 0, and 0 when the two agree.
    """
    return -torch.log(mean(discrepancy(teacher_sr, student_sr)) + 1)


# $ \mathcal{L}_{GEN} = -\mathbb{E}_{x} \left[ \log \left( 1 + \frac{\lVert \mathcal{T}(x) - \mathcal{S}(x) \rVert_1}
#   {\lVert \mathcal{T}(x) - \mathrm{up}(x) \rVert_1} \right) \right] $, ours
def relative_adversarial_loss(teacher_sr: Tensor, student_sr: Tensor, upscaled: Tensor) -> Tensor:
    """Eq. 2 made free of scale: how much of what the teacher adds does the student miss, an image at a time? Ours.

    Defined in chapter 4 of the book. For networks without biases D(a x) = a D(x): an image made brighter earns more
    under Eq. 2 and shows nothing new. Here it earns the same.

    Args:
        teacher_sr: T(x), [batch, channels, height, width].
        student_sr: S(x), same shape.
        upscaled: x enlarged bicubically, same shape.

    Returns:
        The mean over the batch of ``-log(1 + |T - S|_1 / |T - up(x)|_1)``, a scalar; at most 0. Where the teacher adds
        less than `FAINT` a pixel, as on flat images, the ratio is taken to that.
    """
    missed, added = ((teacher_sr - other).abs().flatten(1).mean(dim=1) for other in (student_sr, upscaled))
    return -torch.log1p(missed / added.clamp_min(FAINT)).mean()


# $ \mathcal{L}_{KD_{S_k}} = \mathbb{E}_{z \sim p_z} \left[ \frac{1}{n} \lVert
#   \mathcal{T}(\mathcal{G}(z)) - S_k(\mathcal{G}(z)) \rVert_1 \right] \qquad (5, 14) $
def distillation_loss(teacher_sr: Tensor, student_sr: Tensor) -> Tensor:
    """What the student minimises: L_KD of Eq. 5, and of Eq. 14 in the last part.

    Defined in chapters 2 and 7 of the book.

    Arguments as for `discrepancy`.

    Returns:
        Absolute difference, averaged over pixels and batch (the 1/n of Eq. 5): a scalar.
    """
    return (teacher_sr - student_sr).abs().mean()


# $ \mathrm{sim}(v, v') = \frac{v^\top v'}{\lVert v \rVert \lVert v' \rVert}, \quad v = h(x) \qquad (11) $
def similarity(v1: Tensor, v2: Tensor) -> Tensor:
    """Cosine of every pair of embeddings, Eq. 11.

    Defined in chapter 6 of the book.

    Args:
        v1: embeddings h(x1), [rows1, dimensions].
        v2: embeddings h(x2), [rows2, dimensions].

    Returns:
        [rows1, rows2], in [-1, 1].
    """
    return normalize(v1, dim=1) @ normalize(v2, dim=1).T


# $ \mathcal{L}_{cr} = -\mathbb{E}_i \left[ \log \frac{\exp(\mathrm{sim}(v_i, v_i^+) / \tau)}{\sum_{j \neq i}
#   \exp(\mathrm{sim}(v_i, v_j^+) / \tau)} \right] \qquad (12) $
def contrastive_loss(
    anchors: Tensor,
    keys: Tensor,
    temperature: float = 0.1,
    *,
    fresh: int | None = None,
    denominator: str = "negatives",
) -> Tensor:
    """How hard it is to tell each image from all others: L_cr, Eq. 12.

    Defined in chapter 6 of the book.

    Row i of `keys` is the positive view of row i of `anchors`; all other rows are its negatives.

    Args:
        anchors: embeddings h(x_i) of one view of each image, [rows, dimensions], at least two rows.
        keys: embeddings h(x_i^+) of the other view, same shape.
        temperature: tau.
        fresh: the first so many rows are the new batch, the others come from the memory bank. The mean over each is
            taken first, then their sum, so that a large bank does not drown the new batch. All rows are new by default.
        denominator: 'negatives' sums over negatives only, as Eq. 12 is printed; 'all' includes the positive, as the
            usual cross entropy does (and the public code of contrastive model inversion).

    Returns:
        A scalar.

    Raises:
        TrainingError: a single row, which has no negatives, or no fresh one.
    """
    pick("denominator", denominator, DENOMINATORS)
    if (rows := len(anchors)) < 2:
        raise TrainingError(f"Eq. 12 tells images apart: it needs at least two rows, not {rows}")
    if fresh is not None and not 1 <= fresh <= rows:
        raise TrainingError(f"of {rows} rows between 1 and {rows} can be fresh, not {fresh}")
    logits = similarity(anchors, keys) / temperature  # [rows, rows], positives on the diagonal
    if denominator == "all":
        losses = cross_entropy(logits, torch.arange(rows, device=logits.device), reduction="none")
    else:
        positives = torch.eye(rows, dtype=torch.bool, device=logits.device)
        losses = logits.masked_fill(positives, -torch.inf).logsumexp(dim=1) - logits.diagonal()
    new, banked = losses[:fresh], losses[rows if fresh is None else fresh :]
    return new.mean() + banked.mean() if len(banked) else new.mean()


# $ \mathcal{L}_G = \mathcal{L}_{GEN} + \mathcal{W}_R \mathcal{L}_R + \mathcal{W}_C \mathcal{L}_{cr} \qquad (13; (4)
#   \text{ without the last term}) $
def generator_loss(
    adversarial: Tensor,
    reconstruction: Tensor,
    contrastive: Tensor | None = None,
    *,
    w_recon: float,
    w_contrast: float = 0.0,
    w_adversarial: float = 1.0,
) -> dict[str, Tensor]:
    """L_G: Eq. 4 without a contrastive term, Eq. 13 with one.

    Defined in chapter 8 of the book.

    Args:
        adversarial: L_GEN, Eq. 2.
        reconstruction: L_R, Eq. 1.
        contrastive: L_cr, Eq. 12, or None.
        w_recon: W_R.
        w_contrast: W_C.
        w_adversarial: weight of L_GEN, 1 in both equations; 0 to see what the other terms do without it.

    Returns:
        Every term before weighting, and their weighted sum: 'adversarial', 'reconstruction', 'contrastive' (if any),
        'total'. Only 'total' is to be differentiated; the others are there to be looked at.
    """
    terms = {"adversarial": adversarial, "reconstruction": reconstruction}
    total = w_adversarial * adversarial + w_recon * reconstruction
    if contrastive is not None:
        terms["contrastive"] = contrastive
        total = total + w_contrast * contrastive
    return terms | {"total": total}


def gradient_norms(terms: dict[str, Tensor], wrt: Tensor) -> dict[str, float]:
    """Norm of each loss term's gradient at `wrt`, usually G(z): the scales that W_R and W_C have to balance.

    It is 0 for a term that does not depend on `wrt`.
    """
    norms = {}
    for name, term in terms.items():
        gradient = None
        if term.requires_grad:
            (gradient,) = torch.autograd.grad(term, wrt, retain_graph=True, allow_unused=True)
        norms[name] = 0.0 if gradient is None else gradient.norm().item()
    return norms
