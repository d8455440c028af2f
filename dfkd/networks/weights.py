"""Weights on disk: safetensors for networks, restricted unpickling for the old files that exist.

A pickle is a program. Unpickling one from the internet runs whatever its author put there, so no file is ever read by
the plain unpickler: what a network's weights need is admitted by name, and anything else is refused before it runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dfkd.errors import CheckpointError
from dfkd.writing import replacing


class _Refused(CheckpointError):
    """A pickle asked for something that no file of weights needs."""


class _Unpickler(pickle.Unpickler):
    """Admits what the public VDSR checkpoint names and nothing else; not even torch's own functions.

    Everything admitted is a stand-in made afresh for each load: a pickle may set attributes on whatever it can name,
    and on these that has no effect. Tensors come out as recipes `(storage key, offset, size, stride)`, for the numbers
    stand at the end of the file.
    """

    def __init__(self, file: BinaryIO):
        super().__init__(file, encoding="utf-8")  # the encoding of Python 2's strings

        class Parameter:
            def __init__(self, tensor, *_):
                self.tensor = tensor

            def __setstate__(self, state):
                """Gradients and hooks are of no interest."""

        modules = ("torch.nn.modules.activation.ReLU", "torch.nn.modules.container.Sequential",
                   "torch.nn.modules.conv.Conv2d", "vdsr.Conv_ReLU_Block", "vdsr.Net")  # fmt: skip
        self._admitted = {name: type("Module", (), {}) for name in modules} | {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor": lambda key, offset, size, stride: (key, offset, size, stride),
            "torch.nn.parameter.Parameter": Parameter,
            "torch.FloatStorage": "float32",
            "torch.nn.backends.thnn._get_thnn_function_backend": lambda: None,
        }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._admitted[f"{module}.{name}"]
        except KeyError:
            raise _Refused(f"it asks for {module}.{name}") from None

    def persistent_load(self, reference: tuple) -> str | type:
        kind, what, *rest = reference
        if kind == "module":  # a class and its source code, kept by old versions of torch for comparison
            return what
        if kind != "storage" or what != "float32" or rest[3] is not None:
            raise ValueError(f"a {kind} of an unknown kind")
        return rest[0]


_MAGIC = 0x1950A86A20F9469CFC6C  # how every file of torch.save began until 2020


def read_pickled_module(path: str | os.PathLike) -> dict[str, Tensor]:
    """The weights in a checkpoint that is a whole pickled module, as the public VDSR teacher is.

    The old file format is read here, not by torch: its loader, given such a file, may write files the pickle names, and
    given a TorchScript archive runs the code in it.

    Args:
        path: a file ``torch.save({"model": module})`` wrote long ago.

    Returns:
        Tensors by the name they had in the module, for example ``residual_layer.0.conv.weight``.

    Raises:
        CheckpointError: the file names anything but the classes that the VDSR checkpoint needs (nothing of it has run
            then), is damaged, or holds no module.
    """
    with _reading(path), open(path, "rb") as file:
        if _Unpickler(file).load() != _MAGIC:
            raise ValueError("not in torch's format of before 2020")
        _version, _system, root, keys = (_Unpickler(file).load() for _ in range(4))
        storages = {key: _read_storage(file) for key in keys}
        return {
            name: torch.as_strided(storages[key], size, stride, offset).clone()
            for name, (key, offset, size, stride) in _tensors(root["model"])
        }


def _read_storage(file: BinaryIO) -> Tensor:
    count = int.from_bytes(file.read(8), "little")
    if 4 * count > os.fstat(file.fileno()).st_size - file.tell():
        raise ValueError(f"it ends before {count} numbers that it promises")
    return torch.from_numpy(np.frombuffer(file.read(4 * count), dtype="<f4").copy())


def _tensors(module: Any, prefix: str = "") -> Iterator[tuple[str, tuple]]:
    for name, parameter in vars(module)["_parameters"].items():
        if parameter is not None:
            yield prefix + name, parameter.tensor
    for name, child in vars(module)["_modules"].items():
        yield from _tensors(child, f"{prefix}{name}.")


def read_state(path: str | os.PathLike) -> Any:
    """A training state written by `write_state`: tensors, numbers, strings, lists and dicts, nothing else.

    Raises:
        CheckpointError: no such file, a damaged one, or one that holds code.
    """
    with _reading(path):
        return torch.load(path, map_location="cpu", weights_only=True)


def write_state(path: str | os.PathLike, state: Any) -> None:
    """Write a training state whole or not at all."""
    with replacing(path) as file:
        torch.save(state, file)


def read_weights(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and description of a safetensors file.

    Returns:
        Tensors by name, and the metadata `write_weights` stored; {} for a file of another origin.

    Raises:
        CheckpointError: no such file, or not a sound safetensors file.
    """
    with _reading(path), _open_safetensors(path) as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        return weights, _description(file)


def read_description(path: str | os.PathLike) -> dict[str, Any]:
    """The description alone of a safetensors file, without its weights; {} for a file of another origin.

    Raises:
        CheckpointError: no such file, or not a sound safetensors file.
    """
    with _reading(path), _open_safetensors(path) as file:
        return _description(file)


def _description(file) -> dict[str, Any]:
    return json.loads((file.metadata() or {}).get("dfkd", "{}"))


def _open_safetensors(path: str | os.PathLike):
    sys.audit("open", str(path), "r", 0)  # safetensors opens files outside Python's sight; say so to who listens
    try:
        return safe_open(path, framework="pt")
    except SafetensorError:
        if Path(path).read_bytes()[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise _Refused("it is a pickle, not a safetensors file") from None
        raise


def fingerprint(weights: dict[str, Tensor]) -> str:
    """SHA-256 of weights: equal for bit-for-bit equal networks."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + b"\0" + weights[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_weights(path: str | os.PathLike, weights: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Write weights as safetensors, whole or not at all, with a description in the file's metadata."""
    # A copy in the ordinary layout: channels_last tensors are not contiguous, and safetensors wants them to be.
    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    with replacing(path) as file:
        file.write(save(plain, metadata={"dfkd": json.dumps(description, sort_keys=True)}))


class _reading:
    """Turns whatever goes wrong while a file of weights is read into one clear error."""

    def __init__(self, path: str | os.PathLike):
        self.path = path

    def __enter__(self):
        if not Path(self.path).is_file():
            raise CheckpointError(f"no file {self.path}")

    def __exit__(self, kind, error, trace):
        if not isinstance(error, Exception):
            return
        why = " ".join(str(error).split()) or type(error).__name__  # torch's messages run over many lines
        if isinstance(error, _Refused) or isinstance(error, pickle.UnpicklingError) and "weights_only" in why:
            why = why if isinstance(error, _Refused) else "it asks for more than tensors, numbers and strings"
            raise CheckpointError(
                f"refused to load {self.path}: it may hold code, not only weights, and none of it was run ({why}). "
                "Ask its author for a safetensors file"
            ) from error
        raise CheckpointError(
            f"{self.path} is damaged or not a file of weights ({why[:200]}); fetch it again"
        ) from error
