"""What was run, on what, and what came out: enough to repeat it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfkd.checkpoints import replacing
from dfkd.errors import CheckpointError, pick


def hardware() -> dict[str, Any]:
    """Processor, threads and GPU: numbers and times depend on them."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def versions() -> dict[str, str]:
    """Of the packages that decide what a run computes."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("dfkd", "torch", "numpy")}}


def now() -> str:
    """The time in UTC, to the second, ISO 8601."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def command() -> str:
    """The command line of this process, as one would type it."""
    program, *arguments = sys.argv
    name = ["python", "-m", "dfkd"] if os.path.basename(program) == "__main__.py" else [os.path.basename(program)]
    return shlex.join([*name, *arguments])


def fingerprint(weights: dict[str, Tensor]) -> str:
    """SHA-256 of weights: equal for bit-for-bit equal networks."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + b"\0" + weights[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write JSON, whole or not at all."""
    with replacing(path) as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read JSON.

    Raises:
        CheckpointError: no such file, or not JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error


def load_record(name: str) -> dict[str, Any]:
    """A packaged record, by the name of the network or experiment it belongs to.

    Raises:
        UnknownName: there is none of that name.
    """
    known = {file.name.removesuffix(".json"): file for file in files("dfkd").joinpath("records").iterdir()}
    return json.loads(known[pick("record", name, sorted(known))].read_text())
