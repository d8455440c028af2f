"""The instance discriminator h, and the teacher's features it tells images apart by (section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from dfkd.errors import TrainingError, UnknownName
from dfkd.networks.precision import answer

SIZES = {2: 24, 3: 16, 4: 12}  # sides of low-resolution images whose enlarged ones have 48 pixels


class TeacherFeatures(nn.Module):
    """f_t(x): mean and standard deviation of each channel of some of the teacher's layers.

    Statistics over positions, because what matters is which textures an image holds, not where. The teacher is frozen,
    but gradients flow through it to the image.

    Args:
        teacher: network of signature ``teacher(lr, scale)``.
        layers: names of its layers (as in `named_modules`); see `default_layers` for what is taken without.
        precision: in which the teacher computes, one of `dfkd.networks.precision.PRECISIONS`.
        sizes: side of the low-resolution images, by scale, for `default_layers`.
    """

    def __init__(
        self, teacher: nn.Module, layers: tuple[str, ...] | None = None, precision: str = "float32",
        sizes: Mapping[int, int] = SIZES,
    ):  # fmt: skip
        super().__init__()
        self.precision = precision
        self.teacher = [teacher]  # in a list, so that its weights do not count as this module's
        self.layers = tuple(layers) if layers else default_layers(teacher, sizes)
        known = dict(teacher.named_modules())
        for name in self.layers:
            if name not in known:
                raise UnknownName(f"the teacher has no layer {name!r}; it has {', '.join(filter(None, known))}")

    def forward(self, lr: Tensor, scale: int) -> Tensor:
        """Features of low-resolution images [batch, channels, height, width]: one row each, [batch, dimensions]."""
        with self._recording() as maps:
            answer(self.teacher[0], lr, scale, self.precision)
        if len(maps) < len(self.layers):
            raise TrainingError(f"the teacher ran without using all of its layers {', '.join(self.layers)}")
        # The small constant keeps the root's gradient finite where a channel is flat, as all are on a black image.
        return torch.cat([s for x in maps for s in (x.mean((2, 3)), (x.var((2, 3)) + 1e-12).sqrt())], dim=1)

    @contextmanager
    def _recording(self):
        maps: list[Tensor] = []

        def keep(name: str, output: Tensor) -> None:
            if not _has_positions(output):
                raise TrainingError(f"layer {name!r} gives no maps [batch, channels, height, width]; name another")
            maps.append(output.to(torch.float32, copy=True))  # what follows may be done in place

        hooks = [
            self.teacher[0].get_submodule(name).register_forward_hook(lambda *args, name=name: keep(name, args[2]))
            for name in self.layers
        ]
        try:
            yield maps
        finally:
            for hook in hooks:
                hook.remove()


def default_layers(teacher: nn.Module, sizes: Mapping[int, int] = SIZES) -> tuple[str, ...]:
    """Names of an early, a middle and the last hidden convolution that the teacher runs at every scale.

    The network is run to see which convolutions it uses, and in which order: those that serve one scale only are no
    layers to compare images by, and the first and the last it runs are not hidden.

    Args:
        teacher: network of signature ``teacher(lr, scale)`` on luma.
        sizes: side of the low-resolution images, by scale.

    Raises:
        TrainingError: fewer than three convolutions.
    """
    if sum(isinstance(layer, nn.Conv2d) for layer in teacher.modules()) < 3:
        raise TrainingError("the teacher has fewer than three Conv2d layers; name the layers whose features to compare")
    used = [_convolutions_run(teacher, scale, size) for scale, size in sizes.items() if _serves(teacher, scale)]
    edge = 1 if used and min(map(len, used)) > 4 else 0
    hidden = [name for name in (used or [[]])[0] if all(name in names[edge : len(names) - edge] for names in used)]
    if not hidden:
        raise TrainingError("the teacher uses other layers at each scale; name those whose features to compare")
    return tuple(dict.fromkeys((hidden[0], hidden[len(hidden) // 2], hidden[-1])))


def _serves(network: nn.Module, scale: int) -> bool:
    return getattr(network, "scales", None) is None or scale in network.scales


def _has_positions(output: object) -> bool:
    """Whether a layer's output is maps, over whose positions there is a mean and a deviation."""
    return isinstance(output, Tensor) and output.dim() == 4 and output.shape[2:].numel() > 1


@torch.no_grad()
def _convolutions_run(network: nn.Module, scale: int, size: int) -> list[str]:
    """Names of the convolutions that an image of some size goes through, in the order in which it first does.

    Those whose output is one number a channel, as in channel attention, are left out.
    """
    names: dict[str, None] = {}

    def note(name: str, output: Tensor) -> None:
        if _has_positions(output):
            names.setdefault(name)

    layers = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]
    hooks = [layer.register_forward_hook(lambda *args, name=name: note(name, args[2])) for name, layer in layers]
    device = layers[0][1].weight.device if layers else "cpu"
    try:
        network(torch.zeros(1, 1, size, size, device=device), scale)
    finally:
        for hook in hooks:
            hook.remove()
    return list(names)


class InstanceDiscriminator(nn.Module):
    """h(.): two linear layers from teacher features to unit vectors v, whose inner products are Eq. 11's similarities.

    Args:
        dimensions: length of a row of features.
        embedding: length of v.
    """

    def __init__(self, dimensions: int, embedding: int = 128):
        super().__init__()
        # Features differ in size from image to image by orders of magnitude; h is to compare patterns, not sizes.
        self.layers = nn.Sequential(
            nn.LayerNorm(dimensions), nn.Linear(dimensions, embedding), nn.ReLU(), nn.Linear(embedding, embedding)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Rows of features [rows, dimensions] to unit vectors [rows, embedding]."""
        return normalize(self.layers(features), dim=1)
