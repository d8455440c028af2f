"""Files that are written whole or not at all: a full disk or a kill leaves what was there before."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dfkd.errors import CheckpointError, DfkdError


def require_place(path: str | os.PathLike) -> None:
    """Find out before long work whether its file can be written; makes a missing folder, leaves an older file alone.

    Raises:
        CheckpointError: it cannot be.
    """
    path = Path(path)
    with _naming(path):
        if path.is_dir():
            raise IsADirectoryError("a folder has that name")
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()


def require_folder(folder: str | os.PathLike) -> None:
    """Find out before long work whether a folder can be made, or be written to; leaves nothing behind.

    Raises:
        CheckpointError: it cannot be.
    """
    folder = Path(folder).absolute()
    with _naming(folder):
        tempfile.TemporaryFile(dir=next(path for path in (folder, *folder.parents) if path.exists())).close()


@contextmanager
def _naming(path: Path, kind: type[DfkdError] = CheckpointError) -> Iterator[None]:
    """Turn what the system says about a place into an error that names the place."""
    try:
        yield
    except OSError as error:
        raise kind(f"cannot write {path}: {error.strerror or error}") from error


class replacing:
    """Open a file beside its place and move it there when it is complete.

    The new file has the permissions that any new file of the user would have (the umask decides).

    Args:
        path: where the file is to be; missing folders are made.
        error: what to raise when the place cannot be written.
    """

    def __init__(self, path: str | os.PathLike, error: type[DfkdError] = CheckpointError):
        self.path, self.error = Path(path), error
        self.unfinished = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")

    def __enter__(self):
        with _naming(self.path, self.error):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = open(self.unfinished, "x+b")
        return self.file

    def __exit__(self, kind, error, trace):
        try:
            if error is None:
                self.file.flush()
                os.fsync(self.file.fileno())
            self.file.close()
            if error is None:
                os.replace(self.unfinished, self.path)
                return
        except OSError as failure:
            error = failure
        self.unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError | RuntimeError):  # torch reports a full disk as a RuntimeError
            raise self.error(f"cannot write {self.path}: {error}; what was there before is untouched") from error
