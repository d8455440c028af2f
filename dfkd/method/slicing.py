"""A student cut out of its teacher in closed form: no gradient, no step size, less than a minute.

Layer by layer: keep the channels whose activations span the others' best (pivoted QR), then let least squares re-fit
the layer so that the student, from its *own* activations, gives the teacher's pre-activations of those channels. The
error of one layer is in the input of the next, whose fit corrects it as far as a linear map can.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, unfold

from dfkd.errors import TrainingError
from dfkd.method.sources import Source
from dfkd.networks.vdsr import VDSR
from dfkd.pixels.resize import imresize
from dfkd.seeds import stream

POSITIONS = 20_000  # pixels on which channels are compared
RIDGE = 1e-6  # of the normal equations, relative to their mean diagonal
CHUNK = 16  # images whose 3x3 patches are in memory at once


@torch.no_grad()
def slice_teacher(
    teacher: VDSR, width: int, source: Source, scales: tuple[int, ...] = (2, 3, 4), images: int = 192, seed: int = 0
) -> VDSR:
    """Cut a narrower network of the same depth out of a teacher.

    Args:
        teacher: T, a VDSR.
        width: channels to keep in every hidden layer.
        source: where the images come from on which channels are chosen and layers fitted.
        scales: upscaling factors, each of which gets an equal share of the images.
        images: how many are drawn in all; at least one a scale.
        seed: of the choice of pixels on which channels are compared.

    Returns:
        A VDSR of that width, on the teacher's device.

    Raises:
        TrainingError: the teacher is no VDSR, or has no more channels than are to be kept.
    """
    if not hasattr(teacher, "stack"):
        raise TrainingError(
            f"only a plain stack of convolutions such as VDSR can be sliced, not a {type(teacher).__name__}; "
            "start with init='random'"
        )
    if not 0 < width < teacher.width:
        raise TrainingError(f"cannot keep {width} of the teacher's {teacher.width} channels; choose fewer")
    rng = stream(seed, "slicing")
    student = VDSR(width, teacher.blocks).to(teacher.head.weight.device)
    # Interpolated images of all scales have the same size, so that one tensor holds them: [images, 1, patch, patch].
    share = -(-images // len(scales))
    seen = theirs = torch.cat([imresize(source.sample(share, s), s).clamp(0, 1) for s in scales])
    layers, ours = teacher.stack(), student.stack()
    for layer, following, sliced in zip(layers, layers[1:], ours, strict=False):
        target = layer(theirs)  # pre-activations, [images, teacher.width, patch, patch]
        theirs = target.relu()
        kept = choose_channels(theirs, following, width, rng)
        seen = _refit(sliced, seen, target[:, kept]).relu()
    _refit(student.tail, seen, teacher.tail(theirs))
    return student


@torch.no_grad()
def choose_channels(activations: Tensor, following: nn.Conv2d, width: int, rng: torch.Generator) -> list[int]:
    """The channels from which the others can best be told linearly, by QR with column pivoting.

    Each column is first multiplied by the norm of the following layer's weights on it, so that channels count as much
    as they are used.

    Args:
        activations: after the ReLU, [images, channels, height, width].
        following: the next layer.
        width: channels to keep.
        rng: random stream; a sample of pixels suffices.

    Returns:
        Their numbers, in order.
    """
    from scipy.linalg import qr  # torch has none with pivoting

    columns = activations.transpose(0, 1).flatten(1).T  # [positions, channels]
    some = torch.randperm(len(columns), generator=rng)[:POSITIONS].to(columns.device)
    heard = following.weight.transpose(0, 1).flatten(1).norm(dim=1)  # [channels]
    _, order = qr((columns[some] * heard).double().cpu().numpy(), mode="r", pivoting=True)
    return sorted(np.asarray(order[:width]).tolist())


def _refit(conv: nn.Conv2d, inputs: Tensor, target: Tensor) -> Tensor:
    """Solve for the weights of a 3x3 convolution, ``min |conv(inputs) - target|^2``, set them, and apply it."""
    unknowns = conv.weight[0].numel()
    gram = inputs.new_zeros(unknowns, unknowns, dtype=torch.float64)
    moment = inputs.new_zeros(unknowns, target.shape[1], dtype=torch.float64)
    for x, y in zip(inputs.split(CHUNK), target.split(CHUNK), strict=True):
        patches = unfold(x, 3, padding=1).transpose(0, 1).flatten(1)  # [unknowns, positions]
        gram += (patches @ patches.T).double()
        moment += (patches @ y.transpose(0, 1).flatten(1).T).double()
    gram += RIDGE * gram.diagonal().mean() * torch.eye(unknowns, dtype=torch.float64, device=gram.device)
    conv.weight.copy_(torch.linalg.solve(gram, moment).T.reshape(conv.weight.shape))
    return conv2d(inputs, conv.weight, padding=1)
