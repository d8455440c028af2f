"""What was run, on what, and what came out: enough to repeat it."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import re
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from dfkd.errors import CheckpointError, UnknownName, pick
from dfkd.networks.zoo import lies_there, path_meant
from dfkd.writing import replacing

LOCAL = ("teacher", "start", "images")  # of a run, what has a place on this machine
LARGEST = 2**26  # bytes of a record or a curve; the longest of our runs has two thousandths of it


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
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def command() -> str:
    """The command line of this process, as one would type it."""
    program, *arguments = sys.argv
    name = ["python", "-m", "dfkd"] if os.path.basename(program) == "__main__.py" else [os.path.basename(program)]
    return shlex.join([*name, *(without_folders(argument) for argument in arguments)])


def without_folders(argument: str) -> str:
    """An absolute path, alone or behind its option, loses the folders, which are this machine's: records are published.

    >>> without_folders("--out=/srv/runs/one"), without_folders("runs/one")
    ('--out=one', 'runs/one')
    """
    option, path = re.fullmatch("(-[a-z]|--[a-z-]+=|)(.*)", argument, re.DOTALL).groups()
    return option + os.path.basename(path.rstrip(os.sep)) if os.path.isabs(path) else argument


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write JSON, whole or not at all."""
    with replacing(path) as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n")


def read_json(path: str | os.PathLike) -> Any:
    """Read JSON.

    Raises:
        CheckpointError: no such file, not JSON, or far larger than any record.
    """
    try:
        return json.loads(_text(Path(path)))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    except RecursionError as error:
        raise CheckpointError(f"cannot read {path}: nested too deeply") from error


def read_object(path: str | os.PathLike) -> dict[str, Any]:
    """Read a JSON object, which is what records and ``config.json`` are; errors as for `read_json`."""
    if not isinstance(content := read_json(path), dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, where a JSON object was expected")
    return content


def _text(path: Path) -> str:
    if not path.is_file():  # a pipe would be waited for, and a device may have no end
        raise FileNotFoundError("no such file")
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"{size:,} bytes are too many for a record")
    return path.read_text()


def load_record(name: str) -> dict[str, Any]:
    """A packaged record, by the name of the network or experiment it belongs to.

    Raises:
        UnknownName: there is none of that name.
    """
    known = _packaged(".json")
    return json.loads(known[pick("record", name, sorted(known))].read_text())


def load_curve(name: str) -> dict[str, list[float]]:
    """The packaged curve of a run, by the name of its record: columns by name, 'step' first.

    Raises:
        UnknownName: there is none of that name.
    """
    known = _packaged(".csv")
    return parse_curve(known[pick("curve", name, sorted(known))].read_text())


def parse_curve(text: str) -> dict[str, list[float]]:
    """The columns of a ``curves.csv``; a cell left empty becomes nan.

    Raises:
        CheckpointError: a cell that is no number, or a row longer than the header.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(text), restkey="too many"))
        if any("too many" in row for row in rows):
            raise ValueError("a row is longer than the first one")
        return {name: [float(row[name] or "nan") for row in rows] for name in (rows[0] if rows else ())}
    except (ValueError, csv.Error) as error:
        raise CheckpointError(f"this is no curve ({str(error)[:200]})") from error


def _packaged(suffix: str) -> dict[str, Any]:
    folder = files("dfkd").joinpath("records")
    return {file.name.removesuffix(suffix): file for file in folder.iterdir() if file.name.endswith(suffix)}


def find(what: str | os.PathLike) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """A run's record and its curve.

    Args:
        what: a packaged name, a run folder, or a record's file with its ``.csv`` (or ``curves.csv``) beside it.

    Raises:
        CheckpointError: no record, or none with a curve.
        UnknownName: neither a path nor a packaged name.
    """
    known = _packaged(".json")
    path = path_meant(what, known)
    if path is None:
        return load_record(str(what)), load_curve(str(what))
    if not lies_there(path):
        raise UnknownName(f"no record {str(what)!r}: not a file, not a run folder, none of {', '.join(sorted(known))}")
    path = path / "record.json" if path.is_dir() else path
    record = read_object(path)
    if (described := path.with_name("config.json")).is_file():  # which knows the folders that the record leaves out
        record |= {name: value for name, value in read_object(described).items() if name in LOCAL}
    for curve in (path.with_suffix(".csv"), path.with_name("curves.csv")):
        if curve.is_file():
            try:
                return record, parse_curve(_text(curve))
            except (OSError, ValueError, CheckpointError) as error:
                raise CheckpointError(f"cannot read {curve}: {error}") from error
    raise CheckpointError(f"{path} has no curve beside it: neither {path.stem}.csv nor curves.csv")
