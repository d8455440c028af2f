"""Executes chapters with another number of threads, whose sums round differently, and looks at their asserts alone.

    python tests/book/asserts.py --threads 2 [CHAPTER ...]

What a chapter says in words must hold there, too. Stored outputs are not compared, and nothing is written.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from tqdm import tqdm

BOOK = Path(__file__).parents[2] / "book"


def failure(chapter: Path) -> str | None:
    """The last line of what went wrong in a chapter, with the cell; None where all went well."""
    notebook = nbformat.read(chapter, as_version=4)
    at: dict[str, str] = {}
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(chapter.parent)}},
        on_cell_execute=lambda cell, cell_index: at.update(cell=cell.get("id", str(cell_index))),
    )  # fmt: skip
    try:
        client.execute()
    except CellExecutionError as error:
        return f"{chapter.name}, cell {at['cell']}: {error.ename}: {error.evalue}"
    return None


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("chapters", nargs="*", type=Path, default=sorted(BOOK.glob("*.ipynb")))
    wanted = options.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(wanted.threads)  # the kernels inherit it
    failed = [found for chapter in tqdm(wanted.chapters, unit="chapter") if (found := failure(chapter))]
    print("\n".join(failed) or f"every assert holds with {wanted.threads} threads")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
