"""What `import dfkd` costs and what it leaves alone."""

import os
import resource
import subprocess
import sys

import pytest

HEAVY = (
    "matplotlib", "ipywidgets", "IPython", "sphinx", "skimage", "scipy", "pooch", "typer", "requests", "sklearn",
    "pandas",
)  # fmt: skip


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600).stdout


def test_importing_leaves_what_it_does_not_need():
    # Of what torch itself brings along, nothing can be said here.
    code = f"""
import sys, torch
before = set(sys.modules)
import dfkd
print(*sorted(m for m in {HEAVY!r} if m in sys.modules and m not in before))
"""
    assert _run(code).split() == []


def _cpu_seconds(module: str) -> float:
    """Processor time of a fresh interpreter that imports a module; other load on the machine hardly counts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(f"import {module}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
def test_importing_costs_little_more_than_torch():
    _run("import dfkd")  # byte code and disk cache
    ratio = float("inf")
    best = {"torch": float("inf"), "dfkd": float("inf")}
    for _ in range(6):
        for module in best:
            best[module] = min(best[module], _cpu_seconds(module))
        ratio = best["dfkd"] / best["torch"]
        if ratio <= 1.15:
            break
    assert ratio <= 1.2, best


def test_version_agrees_with_the_package():
    from importlib.metadata import version

    import dfkd

    assert dfkd.__version__ == version("dfkd")
    assert all(hasattr(dfkd, name) for name in dfkd.__all__)


def test_nothing_is_printed_or_written(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "import dfkd"], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.stdout == done.stderr == "" and os.listdir(tmp_path) == []
