"""Networks by name: the public teacher, the packaged ones, and files of your own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.checkpoints import read_pickled_module, read_weights, write_weights
from dfkd.data import VDSR_CHECKPOINT, fetch
from dfkd.errors import CheckpointError, UnknownName, pick
from dfkd.models.edsr import EDSR
from dfkd.models.vdsr import VDSR
from dfkd.resize import imresize

SHAPES = {
    "vdsr": {"width": 64, "blocks": 18},  # the paper's teacher, 664,704 parameters
    "vdsr-half": {"width": 32, "blocks": 18},  # and its student, 166,464
    "vdsr-small": {"width": 32, "blocks": 8},  # the book's teacher, 74,304
    "vdsr-small-half": {"width": 16, "blocks": 8},  # and its student, 18,720
}
ARCHITECTURES = {"vdsr": VDSR, "edsr": EDSR}  # what a file may hold, by the name in its description


class Bicubic(nn.Module):
    """Plain bicubic upscaling, with the signature of a network: what every method has to beat."""

    def forward(self, lr: Tensor, scale: int) -> Tensor:
        """[batch, channels, height, width] to [batch, channels, scale * height, scale * width]."""
        return imresize(lr, scale)


@dataclass(frozen=True)
class Entry:
    """A network that can be asked for by name."""

    role: str
    summary: str
    load: Callable[[], nn.Module]


def load_model(name: str | os.PathLike) -> nn.Module:
    """A network by name, by safetensors file, or by the folder of a finished run.

    Args:
        name: one of `names()`, the path of a ``.safetensors`` file that `save_model` wrote, or a run folder.

    Returns:
        The network, frozen, in evaluation mode: ``model(lr, scale)``.

    Raises:
        UnknownName: neither a known name nor a path.
        CheckpointError: a file that is damaged, holds code, or is not one of ours.
    """
    if str(name) in _zoo():
        return _zoo()[str(name)].load().eval().requires_grad_(False)
    path = Path(name)
    if path.is_dir():
        path = _finished(path)
    if not path.exists():
        raise UnknownName(f"no model {str(name)!r}: not a file, not a run folder, none of {', '.join(names())}")
    return _build(path).eval().requires_grad_(False)


def load_teacher(name: str = "vdsr-small") -> nn.Module:
    """A teacher: 'vdsr' is the public checkpoint, 'vdsr-small' a packaged one; or a file. See `load_model`."""
    return load_model(name)


def load_student(name: str | os.PathLike) -> nn.Module:
    """A packaged student, or one of your own by file or run folder. See `load_model`."""
    return load_model(name)


def save_model(path: str | os.PathLike, model: VDSR | EDSR, **description: Any) -> None:
    """Write a network as safetensors, with what `load_model` needs to build it and whatever else should be said of it.

    Raises:
        CheckpointError: a network of another class, or the place cannot be written; an older file there is left as
            it was.
    """
    name = next((name for name, kind in ARCHITECTURES.items() if isinstance(model, kind)), None)
    if name is None:
        raise CheckpointError(
            f"dfkd cannot build a {type(model).__name__} from a file, only {', '.join(ARCHITECTURES)}; "
            "keep its state_dict with safetensors.torch.save_file"
        )
    write_weights(path, model.state_dict(), {"architecture": name, **model.spec(), **description})


def names(role: str | None = None) -> list[str]:
    """Names that `load_model` knows, all or those of one role ('baseline', 'teacher', 'student')."""
    return [name for name, entry in _zoo().items() if role in (None, entry.role)]


def describe(name: str) -> Entry:
    """What a name stands for."""
    return _zoo()[pick("model", name, _zoo())]


def student_shape(teacher: nn.Module) -> dict[str, int]:
    """The paper's choice of student: as deep as the teacher, half as wide.

    Raises:
        CheckpointError: the teacher is not a VDSR, so that its half is not defined; give width and blocks.
    """
    if not isinstance(teacher, VDSR):
        raise CheckpointError(f"cannot halve a {type(teacher).__name__}; give the student's width and blocks")
    return {"width": teacher.width // 2, "blocks": teacher.blocks}


def _zoo() -> dict[str, Entry]:
    zoo = {
        "bicubic": Entry("baseline", "bicubic upscaling, no network", Bicubic),
        "vdsr": Entry("teacher", "the public VDSR checkpoint (fetched on first use)", _public_vdsr),
    }
    for file in sorted(files("dfkd").joinpath("weights").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".safetensors"):
            zoo[file.name.removesuffix(".safetensors")] = _packaged(file)
    return zoo


def _packaged(file) -> Entry:
    _, description = read_weights(file)
    return Entry(description["role"], description["summary"], lambda: _build(file))


def _build(path: Path) -> nn.Module:
    weights, description = read_weights(path)
    if not isinstance(description, dict) or description.get("architecture") not in ARCHITECTURES:
        raise CheckpointError(f"{path} does not say how to build its network; write it with dfkd.save_model")
    # Compared before a network is made: a file that says it is a million channels wide must not cost their memory.
    shape = _shape(weights, description["architecture"])
    if shape != {name: description.get(name) for name in shape} or shape["blocks"] < 0:
        held = ", ".join(f"{name} {value}" for name, value in shape.items())
        raise CheckpointError(f"{path} does not hold the network it describes: its weights are those of {held}")
    model = ARCHITECTURES[description["architecture"]](**shape)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        why = " ".join(str(error).split())
        raise CheckpointError(f"{path} does not hold the network it describes: {why}") from error
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise CheckpointError(f"{path} holds weights that are not finite; the run that made it went wrong")
    return model


def _shape(weights: dict[str, Tensor], architecture: str) -> dict[str, Any]:
    """What `spec` says of a network, read off its weights."""
    width = len(weights.get("head.weight", ()))
    if architecture == "vdsr":
        return {"width": width, "blocks": len(weights) - 2}
    blocks = sum(bool(re.fullmatch(r"body\.\d+\.0\.weight", name)) for name in weights)
    scales = sorted(int(found[1]) for name in weights if (found := re.fullmatch(r"heads\.([2-9])\.weight", name)))
    return {"width": width, "blocks": blocks, "scales": scales}


def _finished(run: Path) -> Path:
    for network in ("student", "teacher"):
        if (run / f"{network}.safetensors").is_file():
            return run / f"{network}.safetensors"
    raise CheckpointError(f"{run} holds no finished network; go on with its command and --resume {run}")


def _public_vdsr() -> VDSR:
    """The checkpoint's layers are our head, body and tail under other names."""
    weights = read_pickled_module(fetch(VDSR_CHECKPOINT))
    model = VDSR(width=64, blocks=18)
    ours = {"head.weight": weights["input.weight"], "tail.weight": weights["output.weight"]}
    for block in range(model.blocks):
        ours[f"body.{block}.weight"] = weights[f"residual_layer.{block}.conv.weight"]
    model.load_state_dict(ours)
    return model
