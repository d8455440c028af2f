"""Weights on disk: safetensors for networks, restricted unpickling for the old files that exist.

A pickle is a program. Unpickling one from the internet runs whatever its author put there, so no file is ever read by
the plain unpickler: what a network's weights need is admitted by name, and anything else is refused before it runs.
"""

from __future__ import annotations

import json
import os
import pickle
import tempfile
import warnings
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.serialization import SourceChangeWarning

from dfkd.errors import CheckpointError


class _Inert:
    """Stands in for every class of module in a pickle: it takes the attributes and has no behaviour."""

    dump_patches = False  # torch asks every class of an old file whether its source should be compared; no


def _inert_function() -> None:
    return None


# All that the public VDSR checkpoint names; its own two classes and torch's layers become inert.
_ADMITTED = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor": torch._utils._rebuild_tensor,
    "torch.nn.parameter.Parameter": torch.nn.Parameter,
    "torch.FloatStorage": torch.FloatStorage,
    "torch.nn.backends.thnn._get_thnn_function_backend": _inert_function,
    "torch.nn.modules.activation.ReLU": _Inert,
    "torch.nn.modules.container.Sequential": _Inert,
    "torch.nn.modules.conv.Conv2d": _Inert,
    "vdsr.Conv_ReLU_Block": _Inert,
    "vdsr.Net": _Inert,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[f"{module}.{name}"]
        except KeyError:
            raise CheckpointError(f"it asks for {module}.{name}, which no file of weights needs") from None


def _load(file, **options) -> Any:
    return _Unpickler(file, **options).load()


_PICKLE = SimpleNamespace(__name__="dfkd.checkpoints", Unpickler=_Unpickler, load=_load)


def read_pickled_module(path: str | os.PathLike) -> dict[str, Tensor]:
    """The weights in a checkpoint that is a whole pickled module, as the public VDSR teacher is.

    Args:
        path: a file ``torch.save(module)`` wrote long ago.

    Returns:
        Tensors by the name they had in the module, for example ``residual_layer.0.conv.weight``.

    Raises:
        CheckpointError: the file names anything but the classes that the VDSR checkpoint needs (nothing of it has run
            then), is damaged, or holds no module.
    """
    with _reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", SourceChangeWarning)  # stand-ins have other source code, as they should
        # Its own pickle module replaces torch's unpickler, which does not read strings written by Python 2.
        root = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_PICKLE)["model"]
        return dict(_tensors(root))


def _tensors(module: _Inert, prefix: str = ""):
    for name, parameter in vars(module)["_parameters"].items():
        if parameter is not None:
            yield prefix + name, parameter.detach()
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
    with _reading(path), safe_open(path, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        return weights, json.loads((file.metadata() or {}).get("dfkd", "{}"))


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
        if isinstance(error, CheckpointError | pickle.UnpicklingError) and self._refused(error):
            raise CheckpointError(
                f"refused to load {self.path}: it holds code, not only weights, and none of it was run "
                f"({str(error).splitlines()[0]}). Ask its author for a safetensors file"
            ) from error
        if isinstance(error, Exception):
            raise CheckpointError(f"{self.path} is damaged or not a file of weights ({error}); fetch it again") from error

    @staticmethod
    def _refused(error: Exception) -> bool:
        return any(word in str(error) for word in ("asks for", "Unsupported global", "Unsupported class", "weights_only"))


class replacing:
    """Write a file beside its place and move it there when it is complete: a full disk or a kill leaves the old one."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    def __enter__(self):
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = tempfile.NamedTemporaryFile(dir=self.path.parent, prefix=f".{self.path.name}.", delete=False)
        except OSError as error:
            raise CheckpointError(f"cannot write {self.path}: {error.strerror or error}") from error
        return self.file

    def __exit__(self, kind, error, trace):
        try:
            if error is None:
                self.file.flush()
                os.fsync(self.file.fileno())
            self.file.close()
            if error is None:
                os.chmod(self.file.name, 0o644)
                os.replace(self.file.name, self.path)
                return
        except OSError as failure:
            error = failure
        Path(self.file.name).unlink(missing_ok=True)
        if isinstance(error, OSError | RuntimeError):  # torch reports a full disk as a RuntimeError
            raise CheckpointError(f"cannot write {self.path}: {error}; what was there before is untouched") from error
