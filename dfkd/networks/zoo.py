"""Networks by name: the public teacher, the packaged ones, and files of your own."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import CheckpointError, UnknownName, pick
from dfkd.networks.base import Network
from dfkd.networks.edsr import EDSR
from dfkd.networks.foreign import SUFFIXES, load_foreign
from dfkd.networks.vdsr import VDSR
from dfkd.networks.weights import Allowance, read_description, read_pickled_module, read_weights, write_weights
from dfkd.pixels.benchmarks import VDSR_CHECKPOINT, fetch
from dfkd.pixels.resize import imresize

SHAPES = {
    "vdsr": {"width": 64, "blocks": 18},  # the paper's teacher, 664,704 parameters
    "vdsr-half": {"width": 32, "blocks": 18},  # and its student, 166,464
    "vdsr-small": {"width": 32, "blocks": 8},  # the book's teacher, 74,304
    "vdsr-small-half": {"width": 16, "blocks": 8},  # and its student, 18,720
}
SPARE = 2**24  # bytes that a network may take beyond what its file explains
ARCHITECTURES: dict[str, type[Network]] = {kind.architecture: kind for kind in (VDSR, EDSR)}  # what a file may hold


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


def load_model(name: str | os.PathLike = "vdsr-small") -> nn.Module:
    """A network by name, by safetensors file, or by the folder of a finished run.

    Args:
        name: one of `names()`, the path of a ``.safetensors`` file that `save_model` wrote, a run folder, or a file of
            weights from elsewhere (see `dfkd.networks.foreign`); see `path_meant` for which of them a word means.
            Without, the book's teacher.

    Returns:
        The network, frozen, in evaluation mode: ``model(lr, scale)``.

    Raises:
        UnknownName: neither a known name nor a path.
        CheckpointError: a file that is damaged, holds code, or belongs to no network that is known.
    """
    path = path_meant(name, names())
    if path is None:
        return describe(str(name)).load().eval().requires_grad_(False)
    if lies_there(path) and path.is_dir():
        path = _finished(path)
    if not lies_there(path):
        raise UnknownName(f"no model {str(name)!r}: not a file, not a run folder, none of {', '.join(names())}")
    return _load_file(path).eval().requires_grad_(False)


load_teacher = load_student = load_model  # by what one wants it for


def path_meant(name: str | os.PathLike, known: Collection[str]) -> Path | None:
    """The path that is meant, or None where one of the known names is.

    A path wins only where it is written as one: with a separator, with a suffix, or as a `Path`. A folder that happens
    to have a known name is meant by ``./name``.
    """
    if isinstance(name, str) and name in known:
        return None
    return Path(name)


def lies_there(path: Path) -> bool:
    """Whether there is such a file or folder; what no file can be called, and what may not be looked at, is not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def save_model(path: str | os.PathLike, model: Network, **description: Any) -> None:
    """Write a network as safetensors, with what `load_model` needs to build it and whatever else should be said of it.

    Raises:
        CheckpointError: a network of another class, or the place cannot be written; an older file there is left as
            it was.
    """
    if type(model) not in ARCHITECTURES.values():
        raise CheckpointError(
            f"dfkd cannot build a {type(model).__name__} from a file, only {', '.join(ARCHITECTURES)}; "
            "keep its state_dict with safetensors.torch.save_file"
        )
    write_weights(path, model.state_dict(), {"architecture": model.architecture, **model.spec(), **description})


def names(role: str | None = None) -> list[str]:
    """Names that `load_model` knows, all or those of one role ('baseline', 'teacher', 'student')."""
    known = [*_SPECIAL, *_packaged()]
    return known if role is None else [name for name in known if describe(name).role == role]


def describe(name: str) -> Entry:
    """What a name stands for."""
    pick("model", name, names())
    if name in _SPECIAL:
        return _SPECIAL[name]
    file = _packaged()[name]
    description = read_description(file)
    return Entry(description["role"], description["summary"], lambda: _build(file))


def student_shape(teacher: nn.Module) -> dict[str, int]:
    """The paper's choice of student: as deep as the teacher, half as wide.

    Raises:
        CheckpointError: the teacher's class does not say what its half is; give the student's shape.
    """
    if not hasattr(teacher, "halved"):
        name = getattr(teacher, "name", type(teacher).__name__)
        raise CheckpointError(f"cannot halve a {name}: say which student, for example --student edsr:32x8")
    return teacher.halved()


def shape_of(student: nn.Module) -> dict[str, Any]:
    """The shape of a student that is there, as `shape_named` gives it.

    Raises:
        CheckpointError: a class that no run of ours trains.
    """
    if type(student) not in ARCHITECTURES.values():
        raise CheckpointError(f"cannot go on from a {type(student).__name__}, only from {', '.join(ARCHITECTURES)}")
    shape = {"architecture": student.architecture, **student.spec()}
    shape.pop("scales", None)  # what a run is told of those is among its settings
    return shape


def shape_named(text: str) -> dict[str, Any]:
    """The shape of a student in a word.

    Args:
        text: one of `SHAPES`, or architecture, width and blocks, as ``vdsr:32x18`` and ``edsr:32x8``; with a slash the
            channels inside a residual block, as ``edsr:64x8/16``.

    Returns:
        'architecture', 'width', 'blocks' and, where it is given, 'inner'.

    Raises:
        UnknownName: neither.

    >>> shape_named("edsr:32x8")
    {'architecture': 'edsr', 'width': 32, 'blocks': 8}
    """
    if text in SHAPES:
        return {"architecture": "vdsr", **SHAPES[text]}
    found = re.fullmatch(r"(\w+):(\d{1,4})x(\d{1,4})(?:/(\d{1,4}))?", text)
    numbers = [int(n) for n in found.groups()[1:] if n] if found else []
    if not found or found[1] not in ARCHITECTURES or min(numbers) < 1 or (found[4] and found[1] != "edsr"):
        raise UnknownName(
            f"unknown student {text!r}; choose one of: {', '.join(SHAPES)}, or architecture:widthxblocks, as in "
            "vdsr:32x18, edsr:32x8, or edsr:64x8/16 with 16 channels inside its blocks"
        )
    return {"architecture": found[1], **dict(zip(("width", "blocks", "inner"), numbers, strict=False))}


def _packaged() -> dict[str, Path]:
    """The weights that come with the package, by name. Only the file that is asked for is opened."""
    folder = files("dfkd").joinpath("weights")
    found = sorted(file.name for file in folder.iterdir() if file.name.endswith(".safetensors"))
    return {name.removesuffix(".safetensors"): folder.joinpath(name) for name in found}


def _load_file(path: Path) -> nn.Module:
    """A file of ours or one from elsewhere."""
    if path.suffix != ".safetensors":
        if path.suffix in SUFFIXES:
            return load_foreign(path)
    elif "architecture" not in _dict(read_description(path)):
        return load_foreign(path)
    return _build(path)


def _dict(value: Any) -> dict:
    return value if isinstance(value, dict) else {}


def _build(path: Path) -> Network:
    weights, description = read_weights(path)
    if not isinstance(description, dict) or description.get("architecture") not in [*ARCHITECTURES]:
        raise CheckpointError(f"{path} does not say how to build its network; write it with dfkd.save_model")
    kind = ARCHITECTURES[description["architecture"]]
    # Compared before a network is made: a file that says it is a million channels wide must not cost their memory.
    try:
        shape = kind.spec_of(weights)
    except TypeError as error:  # a number where there should be a matrix
        raise CheckpointError(f"{path} does not hold the network it describes: {error}") from error
    if shape != {name: description.get(name) for name in shape} or shape["blocks"] < 0:
        held = ", ".join(f"{name} {value}" for name, value in shape.items())
        raise CheckpointError(f"{path} does not hold the network it describes: its weights are those of {held}")
    try:
        with Allowance(SPARE + 2 * os.path.getsize(path)):
            model = kind(**shape)
        model.load_state_dict(weights)
    except (RuntimeError, CheckpointError) as error:
        why = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path} does not hold the network it describes: {why}") from error
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise CheckpointError(f"{path} holds weights that are not finite; the run that made it went wrong")
    return model


def _finished(run: Path) -> Path:
    for network in ("student", "teacher"):
        if (run / f"{network}.safetensors").is_file():
            return run / f"{network}.safetensors"
    quoted = shlex.quote(str(run))
    raise CheckpointError(f"{run} holds no finished network; go on with its command and --resume {quoted}")


def _public_vdsr() -> VDSR:
    """The checkpoint's layers are our head, body and tail under other names."""
    weights = read_pickled_module(fetch(VDSR_CHECKPOINT))
    model = VDSR(width=64, blocks=18)
    ours = {"head.weight": weights["input.weight"], "tail.weight": weights["output.weight"]}
    for block in range(model.blocks):
        ours[f"body.{block}.weight"] = weights[f"residual_layer.{block}.conv.weight"]
    model.load_state_dict(ours)
    return model


_SPECIAL = {
    "bicubic": Entry("baseline", "bicubic upscaling, no network", Bicubic),
    "vdsr": Entry("teacher", "the public VDSR checkpoint (fetched on first use)", _public_vdsr),
}
