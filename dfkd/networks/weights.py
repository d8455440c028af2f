"""Weights on disk: safetensors for networks, restricted unpickling for the old files that exist.

A pickle is a program. Unpickling one from the internet runs whatever its author put there, so no file is ever read by
the plain unpickler: what a network's weights need is admitted by name, and anything else is refused before it runs.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import pickletools
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.overrides import TorchFunctionMode

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
_OLD_START = pickle.dumps(_MAGIC, 2)
_MADE_OF = {"collections.OrderedDict", "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2",
            "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state",
            "torch._tensor._rebuild_from_type_v2", "torch.nn.parameter.Parameter", "torch.Tensor", "torch.Size",
            "torch.device", "_codecs.encode"}  # fmt: skip
SHARED = 4  # tensors may take as many times their file's size, where several show the same numbers


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
        if file.read(len(_OLD_START)) != _OLD_START:
            raise ValueError("not in torch's format of before 2020")
        _version, _system, root, keys = (_unpickle(file) for _ in range(4))
        storages = {key: _read_storage(file) for key in keys}
        recipes = dict(_tensors(root["model"], set()))
        if sum(math.prod(size) for _, _, size, _ in recipes.values()) > sum(map(len, storages.values())):
            raise ValueError("its tensors have more numbers than it holds")
        return {
            name: torch.as_strided(storages[key], size, stride, offset).clone()
            for name, (key, offset, size, stride) in recipes.items()
        }


def _unpickle(file: BinaryIO) -> Any:
    """The next pickle of a file, looked through before it is run: a few bytes could ask for gigabytes of memory."""
    start = file.tell()
    for read, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if opcode.proto > 2 or "PUT" in opcode.name and int(argument) > read:
            raise _Refused(f"its pickle uses {opcode.name} as no old file does")
    file.seek(start)
    return _Unpickler(file).load()


def _read_storage(file: BinaryIO) -> Tensor:
    count = int.from_bytes(file.read(8), "little")
    if 4 * count > os.fstat(file.fileno()).st_size - file.tell():
        raise ValueError(f"it ends before {count} numbers that it promises")
    return torch.from_numpy(np.frombuffer(file.read(4 * count), dtype="<f4").copy())


def _tensors(module: Any, seen: set[int], prefix: str = "") -> Iterator[tuple[str, tuple]]:
    """Each module once, as torch has it: one that holds itself would have parameters without end."""
    if id(module) in seen:
        return
    seen.add(id(module))
    for name, parameter in vars(module)["_parameters"].items():
        if parameter is not None:
            yield prefix + name, parameter.tensor
    for name, child in vars(module)["_modules"].items():
        yield from _tensors(child, seen, f"{prefix}{name}.")


def read_state(path: str | os.PathLike) -> Any:
    """A training state written by `write_state`: tensors, numbers, strings, lists and dicts, nothing else.

    Raises:
        CheckpointError: no such file, a damaged one, or one that holds code.
    """
    with _reading(path):
        _look_through(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        _require_plain(state, SHARED * os.path.getsize(path))
        return state


def _look_through(path: str | os.PathLike) -> None:
    """Refuse what torch's reader would spend memory on before it finds out: small files that unfold to large ones.

    Besides tensors it admits whatever takes a size and gives as many zeros.
    """
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            if file.read(len(_OLD_START)) != _OLD_START:
                raise _Refused("it was not written by torch.save")
            _require_known(file for _ in range(4))
            return
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
            if packed or sum(entry.file_size for entry in entries) > os.path.getsize(path):
                raise _Refused("its parts unfold to more than the file itself")
            _require_known(archive.open(entry) for entry in entries if entry.filename.endswith("data.pkl"))


def _require_known(pickles: Iterable[Any]) -> None:
    for file in pickles:
        for opcode, argument, _ in pickletools.genops(file):
            name = str(argument).replace(" ", ".") if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL") else None
            if name and name not in _MADE_OF and not (name.startswith("torch.") and name.endswith("Storage")):
                raise _Refused(f"its pickle asks for {name[:80]}, more than tensors, numbers and strings")


def _require_plain(state: Any, limit: int) -> None:
    """Tensors on the processor, number by number, that together are no larger than `limit` bytes."""
    waiting, seen, total = [state], set(), 0
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
                raise ValueError("some of its tensors are sparse, quantised or without numbers")
            total += value.numel() * value.element_size()
        elif isinstance(value, dict | list | tuple):
            waiting += [*value.keys(), *value.values()] if isinstance(value, dict) else value
    if total > limit:
        raise ValueError(f"its tensors would take {total:,} bytes, many times the file")


class Allowance(TorchFunctionMode):
    """Within the block tensors are made up to a number of bytes in all, not counting what is computed from others.

    What a file of weights says decides how large a network is built for it; no honest one is much larger than the file.
    """

    def __init__(self, left: int):
        super().__init__()
        self.left = left

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _MAKERS:
            sizes = args[0] if args and isinstance(args[0], list | tuple) else args
            whole = [size for size in sizes if isinstance(size, int)]
            self.left -= 4 * math.prod(whole) if whole else 0
        if self.left < 0:
            raise CheckpointError("the network would be far larger than the file of its weights")
        return func(*args, **(kwargs or {}))


_MAKERS = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.arange}


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
            why = why[:200] if isinstance(error, _Refused) else "it asks for more than tensors, numbers and strings"
            raise CheckpointError(
                f"refused to load {self.path}: it may hold code, not only weights, and none of it was run ({why}). "
                "Ask its author for a safetensors file"
            ) from error
        raise CheckpointError(
            f"{self.path} is damaged or not a file of weights ({why[:200]}); fetch it again"
        ) from error
