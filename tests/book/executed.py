"""A pytest plugin for `make chapters`: what nbval executed is handed to the book, which need not execute it again.

The book's build looks for executed chapters in a cache (see `book/_ext/execution_cache.py`). A notebook whose cells all
passed goes there with the outputs it just had, so that the pages show what the checks saw.
"""

import importlib.util
import sys
import time
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]


def pytest_addoption(parser):
    parser.addoption("--keep-executed", action="store_true", help="put executed chapters into the book's cache")


def pytest_configure(config):
    config.failed_notebooks = set()
    config.begun = {}  # notebook to when its first cell ran


def pytest_runtest_setup(item):
    item.config.begun.setdefault(item.parent, time.monotonic())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        item.config.failed_notebooks.add(item.parent)
    return report


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """After a notebook's last cell: keep it, if all went well and all of it ran."""
    config, notebook = item.config, item.parent
    last = nextitem is None or nextitem.parent is not notebook
    if last and config.getoption("--keep-executed") and notebook not in config.failed_notebooks:
        cells = [other for other in item.session.items if other.parent is notebook]
        made = [cell.test_outputs for cell in cells if hasattr(cell, "test_outputs")]
        if executed := with_outputs(nbformat.read(notebook.path, as_version=4), made):
            keep(executed, notebook.path, time.monotonic() - config.begun[notebook])


def with_outputs(notebook, outputs):
    """The notebook as if it had been executed in an editor; None if there are outputs for some of its cells only."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if len(code) != len(outputs):
        return None
    for count, (cell, made) in enumerate(zip(code, outputs, strict=True), start=1):
        cell.execution_count, cell.outputs = count, [nbformat.from_dict(output) for output in made]
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    return notebook


def keep(notebook, path, seconds):
    """Put an executed notebook into the cache in which the book's build looks for it."""
    from jupyter_cache import get_cache
    from jupyter_cache.base import CacheBundleIn

    cache = get_cache(cache_folder())
    bundle = CacheBundleIn(notebook, uri=str(path), data={"execution_seconds": seconds})
    cache.cache_notebook_bundle(bundle, overwrite=True)


def cache_folder():
    """Where the book's extension says."""
    spec = importlib.util.spec_from_file_location("execution_cache", ROOT / "book" / "_ext" / "execution_cache.py")
    module = sys.modules.setdefault("execution_cache", importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module.cache_folder(ROOT, ROOT / "_build")
