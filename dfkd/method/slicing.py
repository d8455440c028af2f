"""A student cut out of its teacher in closed form: no gradient, no step size, less than a minute.

Layer by layer: keep the channels whose activations span the others' best (pivoted QR), then let least squares re-fit
the layer so that the student, from its *own* activations, gives the teacher's pre-activations of those channels. The
error of one layer is in the input of the next, whose fit corrects it as far as a linear map can.

Where residual blocks add to a common trunk, the trunk stays as it is and channels are cut inside the blocks.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from dfkd.errors import TrainingError, pick
from dfkd.method.sources import Source
from dfkd.networks.base import Network
from dfkd.networks.edsr import EDSR
from dfkd.networks.vdsr import VDSR
from dfkd.pixels.resize import imresize
from dfkd.seeds import stream

POSITIONS = 20_000  # pixels on which channels are compared
RIDGE = 1e-6  # of the normal equations, relative to their mean diagonal
CHUNK = 16  # images whose 3x3 patches are in memory at once


@torch.no_grad()
def slice_teacher(
    teacher: Network, width: int, source: Source, scales: tuple[int, ...] = (2, 3, 4), images: int = 192, seed: int = 0
) -> Network:
    """Cut a narrower network of the same depth out of a teacher.

    Args:
        teacher: T, a VDSR or an EDSR.
        width: channels to keep: in every hidden layer of a VDSR, inside every block of an EDSR.
        source: where the images come from on which channels are chosen and layers fitted.
        scales: upscaling factors, each of which gets an equal share of the images.
        images: how many are drawn in all; at least one a scale.
        seed: of the choice of pixels on which channels are compared.

    Returns:
        A network of the teacher's class with that many channels there, on the teacher's device.

    Raises:
        TrainingError: the teacher is neither, or has no more channels than are to be kept.
        UnknownName: an EDSR has no such scale.
    """
    blocks = isinstance(teacher, EDSR)
    if not blocks and not hasattr(teacher, "stack"):
        name = getattr(teacher, "name", type(teacher).__name__)
        raise TrainingError(
            "only a plain stack of convolutions such as VDSR, or residual blocks of two as in EDSR, can be sliced, not "
            f"a {name}; start with init='random'"
        )
    for scale in scales if blocks else ():
        pick("scale", scale, teacher.scales)
    has = teacher.inner if blocks else teacher.width
    if not 0 < width < has:
        raise TrainingError(f"cannot keep {width} of the teacher's {has} channels; choose fewer")
    share, rng = -(-images // len(scales)), stream(seed, "slicing")
    cut = _slice_blocks if blocks else _slice_stack
    return cut(teacher, width, [source.sample(share, scale) for scale in scales], scales, rng)


def _slice_stack(
    teacher: VDSR, width: int, drawn: list[Tensor], scales: tuple[int, ...], rng: torch.Generator
) -> VDSR:  # fmt: skip
    student = VDSR(width, teacher.blocks).to(teacher.head.weight.device)
    # Interpolated images of all scales have the same size, so that one tensor holds them: [images, 1, patch, patch].
    seen = theirs = torch.cat([imresize(lr, s).clamp(0, 1) for lr, s in zip(drawn, scales, strict=True)])
    layers, ours = teacher.stack(), student.stack()
    for layer, following, sliced in zip(layers, layers[1:], ours, strict=False):
        target = layer(theirs)  # pre-activations, [images, teacher.width, patch, patch]
        theirs = target.relu()
        kept = choose_channels(theirs, following, width, rng)
        seen = _refit(sliced, [seen], [target[:, kept]])[0].relu()
    _refit(student.tail, [seen], [teacher.tail(theirs)])
    return student


def _slice_blocks(
    teacher: EDSR, width: int, drawn: list[Tensor], scales: tuple[int, ...], rng: torch.Generator
) -> EDSR:  # fmt: skip
    """Images of each scale have their own size here: lists hold a tensor a scale, [images, width, height, width]."""
    student = EDSR(teacher.width, teacher.blocks, scales, inner=width).to(teacher.head.weight.device)
    student.head.load_state_dict(teacher.head.state_dict())
    seen, theirs = ([teacher.head(lr) for lr in drawn] for _ in range(2))
    for block, (first, _, second) in zip(teacher.body, student.body, strict=True):
        target = [block[0](x) for x in theirs]
        columns = torch.cat([x.relu().transpose(0, 1).flatten(1) for x in target], dim=1)  # [channels, positions]
        kept = choose_channels(columns[None, ..., None], block[2], width, rng)
        inside = _refit(first, seen, [x[:, kept] for x in target])
        theirs = [x + block(x) for x in theirs]
        missing = [t - s for t, s in zip(theirs, seen, strict=True)]
        seen = [s + r for s, r in zip(seen, _refit(second, [x.relu() for x in inside], missing), strict=True)]
    for scale, s, t in zip(scales, seen, theirs, strict=True):
        _refit(student.heads[str(scale)], [s], [teacher.heads[str(scale)](t)])
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

    columns = activations.flatten(2)  # [images, channels, positions]
    images, _, positions = columns.shape
    some = torch.randperm(images * positions, generator=rng)[:POSITIONS].to(columns.device)
    seen = columns[some // positions, :, some % positions]  # [POSITIONS, channels]
    heard = following.weight.transpose(0, 1).flatten(1).norm(dim=1)  # [channels]
    triangle = torch.linalg.qr((seen * heard).double(), mode="r").R  # columns of the same lengths and angles, few rows
    _, order = qr(triangle.cpu().numpy(), mode="r", pivoting=True)
    return sorted(np.asarray(order[:width]).tolist())


def _refit(conv: nn.Conv2d, inputs: list[Tensor], targets: list[Tensor]) -> list[Tensor]:
    """Solve for a 3x3 convolution, ``min |conv(inputs) - targets|^2``, set its weights and bias, and apply it."""
    unknowns = conv.weight[0].numel() + (conv.bias is not None)
    gram = conv.weight.new_zeros(unknowns, unknowns, dtype=torch.float64)
    moment = conv.weight.new_zeros(unknowns, len(conv.weight), dtype=torch.float64)
    chunks = (pair for x, y in zip(inputs, targets, strict=True)
              for pair in zip(x.split(CHUNK), y.split(CHUNK), strict=True))  # fmt: skip
    for x, y in chunks:
        patches = _patches(x)
        if conv.bias is not None:  # a bias weighs an input that is one everywhere
            patches = torch.cat([patches, torch.ones_like(patches[:1])])
        gram += (patches @ patches.T).double()
        moment += (patches @ y.transpose(0, 1).flatten(1).T).double()
    gram += RIDGE * gram.diagonal().mean() * torch.eye(unknowns, dtype=torch.float64, device=gram.device)
    solved = torch.linalg.solve(gram, moment).T
    if conv.bias is not None:
        conv.bias.copy_(solved[:, -1])
        solved = solved[:, :-1]
    conv.weight.copy_(solved.reshape(conv.weight.shape))
    return [conv2d(x, conv.weight, conv.bias, padding=1) for x in inputs]


def _patches(x: Tensor) -> Tensor:
    """What a 3x3 convolution sees at every pixel, [9 * channels, positions]: `unfold`'s numbers, in less time."""
    height, width = x.shape[-2:]
    padded = pad(x, (1, 1, 1, 1)).transpose(0, 1)  # [channels, images, height + 2, width + 2]
    shifted = [padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return torch.stack(shifted, dim=1).flatten(0, 1).flatten(1)
