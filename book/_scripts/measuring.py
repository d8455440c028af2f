"""What the scripts that write records share: where records lie, what each says of itself, chapters as a library."""

from __future__ import annotations

import os
import signal
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import nbformat
import torch

from dfkd.running import records

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "dfkd" / "records"
WORKERS = int(os.environ.get("WORKERS", "2"))  # processes at a time, of one thread each


def header(script: str | os.PathLike, kind: str, summary: str, **more: Any) -> dict[str, Any]:
    """What a record says beside its figures.

    Args:
        script: its file, ``__file__``.
        kind: what sort of record it is.
        summary: what was measured, in a line.
        more: whatever else should be said.
    """
    return {
        "kind": kind, "summary": summary, "command": f"python book/_scripts/{Path(script).name}", **more,
        "finished": records.now(), "hardware": records.hardware(), "versions": records.versions(),
    }  # fmt: skip


def chapter_names(chapter: str, *ids: str, **known: Any) -> dict[str, Any]:
    """What some cells of a chapter define, so that a script need not write it a second time.

    Args:
        chapter: the notebook's name without suffix.
        ids: the cells, in the order in which they are to run.
        known: what they take for granted.
    """
    names = dict(known)
    source = {cell.id: cell.source for cell in nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4).cells}
    for cell_id in ids:
        exec(source[cell_id], names)
    return names


def side_by_side(
    measure: Callable[[Any], Any], items: Iterable[Any], workers: int = WORKERS
) -> Iterator[tuple[Any, Any]]:
    """Measure independent things in processes of one thread each, which share cores better than threads do.

    Args:
        measure: a function that another process can import.
        items: what it is called with.
        workers: how many at a time; 0 measures one after the other in this process, with all its threads.

    Yields:
        Each item with its outcome, as they come.
    """
    if not workers:
        yield from ((item, measure(item)) for item in items)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _one_thread_each)
    waiting = {pool.submit(measure, item): item for item in items}
    try:
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    except BaseException:  # a Ctrl-C, or an item that failed: nobody would write down what the others find
        pool.shutdown(wait=False, cancel_futures=True)
        for process in active_children():
            process.terminate()
        raise
    pool.shutdown()


def _one_thread_each() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches all; the parent ends us
    torch.set_num_threads(1)


def fill(
    file: Path, said: Mapping[str, Any], wanted: Iterable[Mapping[str, Any]], measure: Callable[[tuple], Mapping], *,
    by: Sequence[str], under: str = "runs", workers: int = WORKERS,
) -> dict[str, Any]:  # fmt: skip
    """Measure what a record lacks, and write it anew after each, so that a stop costs no more than what was going on.

    Args:
        file: of the record; what is in it stays.
        said: what the record says of itself, as `header` gives it.
        wanted: how each entry begins, in the order in which they are to be measured.
        measure: called with an entry's values of `by`; gives the rest of it.
        by: names by which an entry is told from others; one that is there already is not measured again.
        under: where the entries lie in the record.
        workers: as for `side_by_side`.

    Returns:
        The record.
    """
    record = records.read_json(file) if file.exists() else {under: []}
    record |= said

    def key(entry: Mapping[str, Any]) -> tuple:
        return tuple(entry.get(name) for name in by)

    known, to_do = [key(entry) for entry in record[under]], []  # no set: settings may be part of a key
    for entry in wanted:
        if key(entry) not in known:
            known.append(key(entry))
            to_do.append(entry)
    for values, found in side_by_side(measure, map(key, to_do), workers):
        begun = next(entry for entry in to_do if key(entry) == values)
        if file.exists():  # another process may be filling it, too
            record = records.read_json(file) | said
        record[under].append({**begun, **found})
        record["finished"] = records.now()
        records.write_json(file, record)
        print(textwrap.shorten(str(record[under][-1]), 240), flush=True)
    return record
