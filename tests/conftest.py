"""What several test files share."""

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the benchmarks and the public teacher."""
    folder = os.environ.get("DFKD_DATA_DIR")
    if not folder:
        pytest.skip("DFKD_DATA_DIR is not set; this test needs the benchmark images")
    if not (Path(folder) / "benchmarks" / "Set5").is_dir():
        pytest.skip(f"DFKD_DATA_DIR ({folder}) holds no benchmarks/Set5")
    return Path(folder)


@pytest.fixture
def no_network(monkeypatch):
    """Downloads fail at once; returns the list of addresses that were asked for."""
    import pooch

    asked = []

    def refuse(url, *args, **kwargs):
        asked.append(url)
        raise ConnectionError("no network in this test")

    monkeypatch.setattr(pooch, "retrieve", refuse)
    return asked


@pytest.fixture
def random() -> torch.Generator:
    """A random stream of the test's own."""
    return torch.Generator().manual_seed(20)
