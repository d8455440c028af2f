"""Teachers from elsewhere: super-resolution networks of the ecosystem, recognised by their weights.

Which architecture some weights belong to is found out by spandrel, an optional package. It is never given a file: our
own reader takes the tensors out of it, and nothing that a file holds is run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from dfkd.errors import CheckpointError, pick
from dfkd.networks.weights import Allowance, read_state, read_weights
from dfkd.pixels.colour import as_convolutions

EXTRA = 'pip install "dfkd[teachers]"'
SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
SPARE = 2**28  # bytes that a network may make beyond its weights: tables of positions, masks
DEEPEST = 10_000  # a number in a layer's name beyond it, and the network is made of names, not of weights


class Foreign(nn.Module):
    """A network of one scale as a teacher: ``teacher(lr, scale)`` on luma, images of any size.

    A network on colour is given grey, the same red, green and blue; the luma of its answer is the answer. Sides are
    mirrored up to what it asks for, and cut again. Unlike spandrel's own call this neither clamps nor cuts gradients.

    Args:
        model: the network, a function of the image alone.
        scale: its upscaling factor.
        channels: that it sees, 1 or 3.
        padding: what has to be added to a width and a height before the network sees the image; None for nothing.
        name: of its architecture.

    Attributes:
        scales: the one scale it serves.
    """

    def __init__(
        self, model: nn.Module, scale: int, channels: int = 3,
        padding: Callable[[int, int], tuple[int, int]] | None = None, name: str = "",
    ):  # fmt: skip
        super().__init__()
        self.model, self.scales, self.channels, self.padding = model, (scale,), channels, padding
        self.name = name or type(model).__name__
        weight, bias = as_convolutions()[0]
        self.register_buffer("luma_weight", weight[:1], persistent=False)
        self.register_buffer("luma_bias", bias[:1], persistent=False)

    def forward(self, lr: Tensor, scale: int) -> Tensor:
        """Upscale luma images.

        Args:
            lr: [batch, 1, height, width], Y in [16, 235] / 255.
            scale: upscaling factor, its only one.

        Returns:
            [batch, 1, scale * height, scale * width], not clamped.

        Raises:
            UnknownName: another scale.
        """
        pick("scale", scale, self.scales)
        height, width = lr.shape[-2:]
        # Luma 16 is black. Copies, because some networks work in place on what they are given (RCAN does).
        image = lr.clone() if self.channels == 1 else ((255 * lr - 16) / 219).repeat(1, 3, 1, 1)
        if self.padding is None:
            sr = self.model(image)
        else:
            sr = self.model(_mirrored(image, *self.padding(width, height)))[..., : scale * height, : scale * width]
        if self.channels == 1:
            return sr
        with torch.autocast(lr.device.type, enabled=False):  # in bfloat16 a grey level would be lost here
            return conv2d(sr.to(self.luma_weight.dtype), self.luma_weight, self.luma_bias)


def load_foreign(path: str | os.PathLike) -> Foreign:
    """A network of the ecosystem from a file of weights.

    Args:
        path: ``.safetensors``, or a file of torch.save that holds tensors and nothing that runs.

    Returns:
        The network in float32, as a teacher on luma.

    Raises:
        CheckpointError: spandrel is missing, the file is damaged or holds code, or its weights belong to no
            super-resolution network that spandrel knows.
    """
    file = Path(path)
    state = read_weights(file)[0] if file.suffix == ".safetensors" else read_state(file)
    spandrel = need_spandrel(f"{file} was not written by dfkd")
    if not isinstance(state, dict):
        raise CheckpointError(f"{file} holds a {type(state).__name__}, not weights by name")
    state = _canonical(file, state, spandrel)
    _require_tensors(file, state)
    known = spandrel.ModelLoader(device="cpu")
    try:
        with Allowance(SPARE + 4 * file.stat().st_size):
            found = known.load_from_state_dict(state)
    except spandrel.UnsupportedModelError:
        raise CheckpointError(
            f"{file} holds weights of no network that spandrel knows; build it in Python and call dfkd.Distillation"
        ) from None
    except Exception as error:  # architectures check what they are built from each in its own way
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{file} looks like a known network but does not fit one ({why})") from error
    return _adapt(file, found)


def _canonical(file: Path, state: dict, spandrel: Any) -> dict:
    try:
        return spandrel.canonicalize_state_dict(state)
    except Exception as error:  # it takes for granted that names are words, and hold what such names usually do
        raise CheckpointError(f"{file} does not hold weights by name ({type(error).__name__})") from error


def _adapt(file: Path, found: Any) -> Foreign:
    """The network in one of spandrel's descriptions, if it is one that enlarges grey or colour."""
    channels, name = found.input_channels, found.architecture.name
    if found.purpose != "SR" or found.scale < 2 or channels != found.output_channels or channels not in (1, 3):
        raise CheckpointError(
            f"{file} holds a {name} from {channels} to {found.output_channels} channels at x{found.scale}, for "
            f"{found.purpose}: not a network that enlarges grey or colour images"
        )
    needs = found.size_requirements
    model = found.model.float().eval().requires_grad_(False)
    for layer in model.modules():  # SPAN merges its branches anew in each pass; once will do, and exporters crash on it
        if hasattr(layer, "update_params") and hasattr(layer, "eval_conv"):
            layer.update_params()
            layer.update_params = _nothing
    return Foreign(model, found.scale, channels, None if needs.none else needs.get_padding, name)


def _nothing() -> None:
    """What is left to do."""


def _require_tensors(file: Path, state: dict) -> None:
    """Refuse what no network is made of, before one is made: a name alone may ask for a million layers."""
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{file} does not hold weights by name; save the network's state_dict()")
    largest = max((int(n) for name in state for n in re.findall(r"(?<![A-Za-z\d])\d{1,18}", str(name))), default=0)
    if largest > DEEPEST:
        raise CheckpointError(f"{file} names a layer number {largest}; no network is as deep")
    if not all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point()):
        raise CheckpointError(f"{file} holds weights that are not finite; the training that made it went wrong")


def need_spandrel(why: str) -> Any:
    """The package, ready for use.

    Args:
        why: it is needed, to begin the message with.

    Raises:
        CheckpointError: it is not installed, or not usable beside the torch that is.
    """
    try:
        _declare_what_torchvision_lacks()
        import spandrel
    except ImportError as error:
        raise CheckpointError(f"{why}; to read weights from elsewhere: {EXTRA}") from error
    except RuntimeError as error:  # what a torchvision says that was built for another torch
        raise CheckpointError(
            f"spandrel does not load ({' '.join(str(error).split())[:100]}): install torchvision from where torch came"
        ) from error
    return spandrel


def _declare_what_torchvision_lacks() -> None:
    """Let spandrel load beside a torchvision whose compiled part does not fit.

    It needs one function of torchvision, in Python; but pip likes to fetch a torchvision built for CUDA beside a torch
    built without, and that one stops at its first operator unless somebody has declared it.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        if _declared:
            raise
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(library)  # an operator lives as long as who declared it


_declared: list[torch.library.Library] = []


def _mirrored(image: Tensor, more_width: int, more_height: int) -> Tensor:
    """Columns and rows added at the right and at the bottom, mirrored as often as it takes."""
    while more_width or more_height:
        wide, high = min(more_width, image.shape[-1] - 1), min(more_height, image.shape[-2] - 1)
        if not (wide or high):  # a single pixel has nothing to mirror
            return pad(image, (0, more_width, 0, more_height), mode="replicate")
        image = pad(image, (0, wide, 0, high), mode="reflect")
        more_width, more_height = more_width - wide, more_height - high
    return image
