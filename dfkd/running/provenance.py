"""Which files a run read: the evidence that a data-free run saw no image.

Python tells audit hooks of every file it opens. `FilesRead` listens for as long as its block lasts; what it heard goes
into the run's record, sorted by where the files lie. A run that calls itself data-free has nothing to explain beyond
its teacher, the package's own files, and what the system needs (`unexplained`).

The hook hears `open` and `os.open`, which everything written in Python goes through, Pillow and scikit-image included.
A library that opened files by itself in C would not be heard; safetensors does, and
`dfkd.networks.weights` speaks for it.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from glob import escape
from pathlib import Path

import dfkd
from dfkd.networks.zoo import names, path_meant
from dfkd.pixels.benchmarks import cache_folder

# Modules and what describes their packages: any import reads some, and which ones differs between machines.
MODULES = ("*.py", "*.pyc", "*.so", "*.so.*", "*.pyd", "*.dll", "*/python3*.zip")
MODULES += ("*.dist-info/*", "*.egg-info/*", "*-packages/*.pth", "*/pyvenv.cfg")
MODULES += ("*-packages/setuptools/_vendor/*",)  # older torches import setuptools, which reads a text
SYSTEM = ("/proc/*", "/sys/*", "/dev/*", "/etc/*")
NEEDED = ("dfkd/*", "data/checkpoints/*", "run/config.json", "run/checkpoint.pt", "teacher/*", "start/*")


class FilesRead:
    """A context manager that notes every file opened for reading within its block.

    Attributes:
        paths: absolute paths, each once.
    """

    _listening: list[FilesRead] = []  # noqa: RUF012 (one list for all: an audit hook cannot be taken away again)
    _hooked = False

    def __init__(self, paths: Iterable[str] = ()):
        self.paths = set(paths)

    def __enter__(self) -> FilesRead:
        if not FilesRead._hooked:
            sys.addaudithook(_hear)
            FilesRead._hooked = True
        FilesRead._listening.append(self)
        return self

    def __exit__(self, *_) -> None:
        FilesRead._listening.remove(self)


def _hear(event: str, arguments: tuple) -> None:
    if event != "open" or not FilesRead._listening:
        return
    path, _, flags = arguments
    # Files that are written, newly made, or emptied have nothing to tell; a number is a file that was opened before.
    if flags & (os.O_WRONLY | os.O_EXCL | os.O_TRUNC) or not isinstance(path, str | bytes | os.PathLike):
        return
    absolute = os.path.abspath(os.fsdecode(path))
    if not os.path.isdir(absolute):
        for listener in FilesRead._listening:
            listener.paths.add(absolute)


def places(
    paths: Iterable[str], run: str | os.PathLike | None = None, named: Mapping[str, str] | None = None
) -> list[str]:
    """Paths as a reader elsewhere can understand them, sorted; Python's own modules are left out.

    Args:
        paths: absolute paths.
        run: the run's folder.
        named: files and folders of the user that have a role in the run, path to what to call it.

    Returns:
        ``run/...``, ``dfkd/...`` (the package), ``data/...`` (`DFKD_DATA_DIR` or the download cache), ``packages/...``
        (other installed packages), ``python/...``, ``tmp/...``; anything else as it is.
    """
    roots = [(name, os.path.abspath(path)) for path, name in (named or {}).items()] + _roots(run)
    return sorted({_place(path, roots) for path in paths if not any(fnmatch(path, module) for module in MODULES)})


def unexplained(files: Iterable[str], *networks: str) -> list[str]:
    """Those of `places` that a data-free run has no business with: neither package, teacher, system nor its own.

    Args:
        files: as `places` gives them.
        networks: names or paths of the teacher, and of a student that the run went on from.
    """
    # A folder here that has a packaged network's name has no part in the run.
    paths = [os.path.abspath(path) for network in networks if (path := path_meant(network, names()))]
    own = [place for path in paths for place in (path, _place(path, _roots(None)))]
    expected = [*NEEDED, *SYSTEM, *(escape(path) + rest for path in own for rest in ("", "/*"))]
    return [file for file in files if not any(fnmatch(file, pattern) for pattern in expected)]


def _roots(run: str | os.PathLike | None) -> list[tuple[str, str]]:
    """Folders by the name they go under, the most particular first."""
    roots = [("run", run), ("dfkd", Path(dfkd.__file__).parent), ("data", os.environ.get("DFKD_DATA_DIR"))]
    roots += [("data", cache_folder()), *(("packages", folder) for folder in site.getsitepackages())]
    roots += [("python", sysconfig.get_path("stdlib")), ("tmp", tempfile.gettempdir())]
    return [(name, os.path.abspath(folder)) for name, folder in roots if folder]


def _place(path: str, roots: list[tuple[str, str]]) -> str:
    for name, folder in roots:
        if path == folder:
            return f"{name}/{Path(path).name}"
        if path.startswith(folder + os.sep):
            return f"{name}/{Path(path).relative_to(folder).as_posix()}"
    return path
