"""Reads thousands of bad inputs and looks at what comes of them: ``python tests/fuzz/fuzz.py --inputs 10000``.

Of every input it is asked that nothing runs, that nothing is written or removed outside of its folder, that little
memory is taken, that it takes seconds at most, and that a failure is a `DfkdError` of one printable line. One input
again: ``python tests/fuzz/fuzz.py --reader states --first 17 --inputs 1``.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

SLOWEST = 10.0  # seconds an input may take
MEMORY = 700  # MB beyond what was taken before: nothing here is a large picture or network
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.startfile", "socket.connect")
CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.utime", "os.symlink", "os.link")


class Hang(BaseException):
    """An input took too long."""


@dataclass
class Outcome:
    """What came of some inputs.

    Attributes:
        counts: 'read', or the name of the error.
        slowest: seconds, and the number of the input.
        memory: MB that were taken at most, and the number of the input.
        faults: number of the input, and what must not be.
    """

    counts: Counter = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, 0)
    memory: tuple[float, int] = (0.0, 0)
    faults: list[tuple[int, str]] = field(default_factory=list)


class _Watch:
    """Hears of programs that start and of files that are written; an audit hook cannot be taken away again."""

    folder: str | None = None
    heard: list[str] = []  # noqa: RUF012

    @classmethod
    def hear(cls, event: str, arguments: tuple) -> None:
        if cls.folder is None:
            return
        if event in STARTS:
            cls.heard.append(f"{event} {arguments!r:.100}")
        elif event in CHANGES or event == "open" and isinstance(arguments[2], int) and arguments[2] & 3:
            path = arguments[0]
            if isinstance(path, str | bytes | os.PathLike):
                path = os.path.realpath(os.fsdecode(path))
                if not path.startswith((cls.folder, "/dev/", "/proc/")) and "__pycache__" not in path:
                    cls.heard.append(f"{event} {path}")


_hooked = False


@contextmanager
def _watching(folder: Path):
    global _hooked
    if not _hooked:
        sys.addaudithook(_Watch.hear)
        _hooked = True
    _Watch.folder, _Watch.heard = os.path.realpath(folder), []
    try:
        yield _Watch.heard
    finally:
        _Watch.folder = None


def _peak() -> float:
    """Largest resident memory since the last `_forget_peak`, in MB; 0 where the system does not say."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1000
    return 0.0


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _too_slow(*_) -> None:
    raise Hang


def _no_network(*_, **__) -> None:
    raise ConnectionError("no network here")


def fuzz(name: str, inputs: int, seed: int = 0, first: int = 0) -> Outcome:
    """Try one reader.

    Args:
        name: of `readers.READERS`.
        inputs: how many.
        seed: and the number of an input decide what it is.
        first: number of the first input.
    """
    from readers import READERS, foreign

    foreign()  # what it imports makes folders of its own
    outcome = Outcome()
    before = signal.signal(signal.SIGALRM, _too_slow)
    try:
        for number in range(first, first + inputs):
            with tempfile.TemporaryDirectory() as folder:
                _try(READERS[name], random.Random(f"{seed} {name} {number}"), Path(folder), number, outcome)
    finally:
        signal.signal(signal.SIGALRM, before)
    return outcome


def _try(reader, rng: random.Random, folder: Path, number: int, outcome: Outcome) -> None:
    from dfkd.errors import DfkdError

    reader.write(rng, folder)
    _forget_peak()
    memory, started, said = _peak(), time.monotonic(), "read"
    signal.setitimer(signal.ITIMER_REAL, SLOWEST)
    faulthandler.dump_traceback_later(10 * SLOWEST, exit=True)  # where a library would not let go
    faults = []
    here = {"DFKD_DATA_DIR": str(folder)}  # with the photographs at hand, a command may well read all of them
    with (
        patch("pooch.retrieve", _no_network), patch("pooch.os_cache", lambda _: folder), patch.dict(os.environ, here),
        chdir(folder), _watching(folder) as heard,
    ):  # fmt: skip
        try:
            reader.read(folder)
        except DfkdError as error:
            said = type(error).__name__
            if not str(error).isprintable() or not str(error) or len(str(error)) > 1500:
                faults.append(f"a message that is no line: {str(error)[:300]!r}")
        except Hang:
            faults.append(f"took longer than {SLOWEST} s")
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            faults.append(f"{type(error).__name__}: {str(error)[:200]!r} at {Path(where.filename).name}:{where.lineno}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()
    took, taken = time.monotonic() - started, _peak() - memory
    faults += [f"did what it must not: {what}" for what in heard]
    faults += [f"took {taken:.0f} MB"] if taken > MEMORY else []
    outcome.counts[said if not faults else "FAULT"] += 1
    outcome.slowest = max(outcome.slowest, (took, number))
    outcome.memory = max(outcome.memory, (taken, number))
    outcome.faults += [(number, fault) for fault in faults]


def report(name: str, outcome: Outcome) -> str:
    """One row of the table, and a line for each kind of fault."""
    counts = ", ".join(f"{count} {what}" for what, count in outcome.counts.most_common())
    (seconds, slowest), (memory, _) = outcome.slowest, outcome.memory
    row = f"{name:<12} {seconds:>6.2f} s (input {slowest:>5}) {memory:>5.0f} MB  {counts}"
    first: dict[str, int] = {}
    for number, fault in outcome.faults:
        first.setdefault(fault, number)
    return "\n".join([row, *(f"    input {number}: {fault}" for fault, number in list(first.items())[:20])])


def main() -> None:
    os.environ["TQDM_DISABLE"] = "1"
    from readers import READERS

    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--inputs", type=int, default=10_000)
    options.add_argument("--reader", choices=READERS)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--first", type=int, default=0)
    wanted = options.parse_args()
    if wanted.reader:
        outcome = fuzz(wanted.reader, wanted.inputs, wanted.seed, wanted.first)
        print(report(wanted.reader, outcome), flush=True)
        sys.exit(bool(outcome.faults))
    shares = sum(reader.share for reader in READERS.values())
    failed = []
    for name, reader in READERS.items():  # each in a process of its own, which it may bring down
        inputs = round(wanted.inputs * reader.share / shares)
        command = [sys.executable, __file__, "--reader", name, "--inputs", str(inputs), "--seed", str(wanted.seed)]
        if code := subprocess.run(command, check=False).returncode:
            failed.append(f"{name} ({'faults' if code == 1 else f'ended by {code}'})")
    print("FAILED: " + ", ".join(failed) if failed else "every input was read or refused in one line")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
