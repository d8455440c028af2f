"""The instance discriminator h: what makes two images different, seen through the teacher's features (section 3.2)."""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from dfkd.errors import TrainingError, UnknownName
from dfkd.precision import at_precision


class TeacherFeatures(nn.Module):
    """f_t(x): mean and standard deviation of each channel of some of the teacher's layers.

    Statistics over positions, because what matters is which textures an image holds, not where. The teacher is frozen,
    but gradients flow through it to the image.

    Args:
        teacher: network of signature ``teacher(lr, scale)``.
        layers: names of its layers (as in `named_modules`); by default an early, a middle and the last hidden
            convolution.
        precision: in which the teacher computes, one of `dfkd.precision.PRECISIONS`.
    """

    def __init__(self, teacher: nn.Module, layers: tuple[str, ...] | None = None, precision: str = "float32"):
        super().__init__()
        self.precision = precision
        self.teacher = [teacher]  # in a list, so that its weights do not count as this module's
        self.layers = tuple(layers) if layers else default_layers(teacher)
        known = dict(teacher.named_modules())
        for name in self.layers:
            if name not in known:
                raise UnknownName(f"the teacher has no layer {name!r}; it has {', '.join(filter(None, known))}")

    def forward(self, lr: Tensor, scale: int) -> Tensor:
        """Features of low-resolution images [batch, channels, height, width]: one row each, [batch, dimensions]."""
        with self._recording() as maps:
            at_precision(self.teacher[0], self.precision)(lr, scale)
        if len(maps) < len(self.layers):
            raise TrainingError(f"the teacher ran without using all of its layers {', '.join(self.layers)}")
        # The small constant keeps the root's gradient finite where a channel is flat, as all are on a black image.
        return torch.cat([s for x in maps for s in (x.mean((2, 3)), (x.var((2, 3)) + 1e-12).sqrt())], dim=1)

    @contextmanager
    def _recording(self):
        maps: list[Tensor] = []
        layers = [self.teacher[0].get_submodule(name) for name in self.layers]
        hooks = [layer.register_forward_hook(lambda _, __, output: maps.append(output.float())) for layer in layers]
        try:
            yield maps
        finally:
            for hook in hooks:
                hook.remove()


def default_layers(teacher: nn.Module) -> tuple[str, ...]:
    """Names of an early, a middle and the last hidden convolution of a network."""
    convolutions = [name for name, layer in teacher.named_modules() if isinstance(layer, nn.Conv2d)]
    if len(convolutions) < 3:
        raise TrainingError("the teacher has fewer than three Conv2d layers; name the layers whose features to compare")
    hidden = convolutions[1:-1] if len(convolutions) > 4 else convolutions
    return tuple(dict.fromkeys((hidden[0], hidden[len(hidden) // 2], hidden[-1])))


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
