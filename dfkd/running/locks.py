"""One process at a time in a run's folder."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO

from dfkd.errors import CheckpointError, TrainingError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None


def hold(folder: str | os.PathLike, name: str = ".lock") -> IO:
    """Keep other processes out of a folder until `release`, or until this process ends, however it ends.

    Two would write each other's checkpoints. Within one process, runs may follow each other.

    Args:
        folder: made if it is not there.
        name: of the file that is locked; whoever holds one may take another.

    Raises:
        TrainingError: another process is at work there.
        CheckpointError: the folder cannot be written.
    """
    folder = Path(folder)
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = open(folder / name, "a")  # noqa: SIM115 (it stays open: closed, it would hold nothing)
        except OSError as error:
            raise CheckpointError(f"cannot write {folder}: {error.strerror or error}") from error
        try:
            if fcntl:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            lock.close()
            raise TrainingError(f"another process is at work in {folder}; wait for it, or stop it") from error
        except OSError:  # a file system that knows no locks
            return lock
        if _still_there(folder / name, lock):
            return lock
        lock.close()  # whoever had it took it away between our two calls


def release(lock: IO) -> None:
    """Let others in, and leave no file behind."""
    if fcntl is None:
        lock.close()  # Windows takes no open file away; elsewhere, closed before, it would be another's
    with contextlib.suppress(OSError):
        Path(lock.name).unlink(missing_ok=True)
    lock.close()


def _still_there(path: Path, lock: IO) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(lock.fileno()))
    except FileNotFoundError:
        return False
