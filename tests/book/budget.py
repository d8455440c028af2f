"""A pytest plugin for `make chapters`: what each notebook that nbval runs costs, and a failure where it is too much.

Asked is each kernel itself, after the last cell: the processor time that it and its children used, which depends less
on what else a machine does than the time on the clock, and the most memory it held.
"""

import json
import tempfile
from pathlib import Path

import pytest

# A free Binder machine: 90 s on two cores a chapter and 10 min the book; 2 GB. Seconds have a margin of three: a
# processor without AVX-512, and busy with something else, took twice as long as the others that we met.
LIMITS = {"chapter-cpu": 270, "book-cpu": 1800, "chapter-mb": 2000}

ASK = """
def _cost():
    import json, resource, sys
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    unit = 1 if sys.platform == "darwin" else 1024  # what ru_maxrss counts in, in bytes
    cost = {{"cpu": sum(u.ru_utime + u.ru_stime for u in usage), "mb": unit * usage[0].ru_maxrss / 1e6}}
    with open({path!r}, "w") as file:
        json.dump(cost, file)
_cost()
"""


def pytest_addoption(parser):
    for name, limit in LIMITS.items():
        parser.addoption(f"--{name}", type=float, default=limit, metavar="LIMIT", help=f"budget of the book: {name}")


def pytest_configure(config):
    config.costs = {}  # notebook to what it cost


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item, nextitem):
    """After a notebook's last cell, while its kernel still runs, ask for what it used."""
    notebook = item.parent
    last = nextitem is None or nextitem.parent is not notebook
    if last and getattr(notebook, "kernel", None) and notebook.kernel.is_alive():
        cells = sum(cell.cell_type == "code" for cell in notebook.nb.cells)
        item.config.costs[notebook.path.stem] = ask(notebook.kernel) | {"cells": cells}


def ask(kernel) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cost.json"
        kernel.await_reply(kernel.execute_cell_input(ASK.format(path=str(path)), allow_stdin=False), timeout=60)
        return json.loads(path.read_text())


def complaints(costs: dict, limits: dict) -> list[str]:
    """What is above its limit, in words."""
    found = [(name, "chapter-cpu", cost["cpu"]) for name, cost in costs.items()]
    found += [(name, "chapter-mb", cost["mb"]) for name, cost in costs.items()]
    found.append(("the book", "book-cpu", sum(cost["cpu"] for cost in costs.values())))
    return [f"{where}: {name} is {x:.1f}, limit {limits[name]:g}" for where, name, x in found if x > limits[name]]


def pytest_sessionfinish(session, exitstatus):
    limits = {name: session.config.getoption(f"--{name}") for name in LIMITS}
    session.config.over = complaints(session.config.costs, limits)
    if session.config.over and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    """A table of the chapters, then what is too much."""
    if not config.costs:
        return
    write = terminalreporter.write_line
    terminalreporter.section("what the chapters cost")
    write(f"{'chapter':32}{'CPU s':>8}{'MB':>8}{'cells':>8}")
    for name, cost in config.costs.items():
        write(f"{name:32}{cost['cpu']:8.0f}{cost['mb']:8.0f}{cost['cells']:8}")
    write(f"{'the book':32}{sum(cost['cpu'] for cost in config.costs.values()):8.0f}")
    for complaint in config.over:
        write(f"TOO MUCH: {complaint}", red=True)
