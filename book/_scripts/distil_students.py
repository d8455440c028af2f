"""Distil the students whose records the book and the README cite, one after the other; go on where a stop left off.

Each run has its folder under runs/. A finished one is scored on Set5 and Set14, and its record and curve are copied to
dfkd/records; the weights of those that people may want are copied to dfkd/weights. The four rows of the paper's
comparison see equally many images; the row of dead leaves, a third as many. Their step sizes are those of the record
'step-sizes'; the choices behind the best student are in the record 'recipe'.

    python book/_scripts/distil_students.py [NAME ...]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The first edition's runs warmed up for a hundred updates whatever their length: the share of theirs that this is.
ROW = "--teacher vdsr --steps 9000 --warm-up 0.0111 --lr 1e-3 --precision bfloat16"
FIRST = "--teacher vdsr --method dead-leaves --init teacher --lr 6e-4 --precision float32"
BEST = {
    "method": "dead-leaves", "textured": 0.5, "init": "teacher", "optim": "soap", "reuse": 4, "precision": "bfloat16",
    "steps": 40_000,
}  # fmt: skip
LONG = {"optim": "soap", "reuse": 4, "imitation-steps": 20, "precision": "bfloat16", "steps": 12_000}
# The paper's losses, generator and memory from a random start; the departures are the preset's and 'stretch'.
CMI = {"method": "cmi+", "stretch": 3} | LONG
# It goes on from there, with a new anneal, every answer fresh.
LONGER = {"start": "vdsr-half-cmi-12000"} | CMI | {"lr": 8e-4, "reuse": 1, "steps": 20_000, "seed": 1}
PRINTED = {"method": "cmi"} | LONG


def options(settings: dict) -> str:
    """As they are typed."""
    return " ".join(["--teacher vdsr", *(f"--{name} {value}" for name, value in settings.items())])


STUDENTS = {
    "vdsr-half-6000": f"{FIRST} --steps 6000 --warm-up 0.0167",
    "vdsr-half-12500": f"{FIRST} --steps 12500 --warm-up 0.008 --reuse 4",
    "vdsr-half-best": options(BEST),
    "vdsr-half-cmi-12000": options(CMI),
    "vdsr-half-cmi": options(LONGER),
    "vdsr-half-cmi-printed": options(PRINTED),
    "vdsr-half-cmi-30-minutes": "--teacher vdsr --method cmi --minutes 30",  # as many steps as its machine managed
    "vdsr-half-noise": f"{ROW} --method noise",
    "vdsr-half-untrained": f"{ROW} --method untrained",
    "vdsr-half-dfsr": f"{ROW} --method dfsr",
    "vdsr-half-cmi-9000": f"{ROW} --method cmi --w-contrast 10",
    # Not the paper's, and with a third of the updates: are drawn images better all the same?
    "vdsr-half-leaves": (
        "--teacher vdsr --steps 3000 --warm-up 0.0333 --lr 1e-3 --precision bfloat16 --method dead-leaves"
    ),
}
WITH_WEIGHTS = ("vdsr-half-best", "vdsr-half-cmi-12000", "vdsr-half-cmi")


def dfkd(*arguments: str) -> None:
    print("dfkd", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "dfkd", *arguments], check=True, cwd=ROOT)


def distil(name: str) -> None:
    """Start the run, go on with it, or leave a finished one alone."""
    folder = f"runs/{name}"
    if (ROOT / folder / "record.json").exists():
        return
    if (ROOT / folder / "config.json").exists():
        dfkd("distill", "--resume", folder)
    else:
        dfkd("distill", *STUDENTS[name].split(), "--out", folder)


def package(name: str) -> None:
    """Score a finished run and copy what the package ships of it."""
    folder = ROOT / "runs" / name
    dfkd("evaluate", f"runs/{name}", "--dataset", "Set5", "--dataset", "Set14")
    shutil.copy(folder / "record.json", ROOT / "dfkd" / "records" / f"{name}.json")
    shutil.copy(folder / "curves.csv", ROOT / "dfkd" / "records" / f"{name}.csv")
    if name in WITH_WEIGHTS:
        shutil.copy(folder / "student.safetensors", ROOT / "dfkd" / "weights" / f"{name}.safetensors")


if __name__ == "__main__":
    for student in sys.argv[1:] or STUDENTS:
        distil(student)
        package(student)
