"""Files by name and hash: the folder first, the network second, and a clear word when neither has them."""

import hashlib
import re
import shutil
from pathlib import Path

import pytest

from dfkd.errors import DataError, UnknownName
from dfkd.pixels import benchmarks as data
from dfkd.pixels.benchmarks import DATASETS, VDSR_CHECKPOINT, benchmark_files, fetch, registry, training_files, url

NAME = "benchmarks/Set5/image_SRF_2/img_001_SRF_2_HR.png"
TRAINING = "jiny2001/dcscn-super-resolution/d382bc30d41c94ac72f8cb148d61cc4864b3b380/data"


@pytest.fixture
def known(monkeypatch):
    """A registry of one small file; returns its content."""
    content = b"twelve bytes"
    monkeypatch.setattr(data, "registry", lambda: {NAME: hashlib.sha256(content).hexdigest()})
    return content


def _put(folder: Path, content: bytes) -> Path:
    path = folder / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_registry_is_complete():
    sizes = {"Set5": 5, "Set14": 14, "BSD100": 100, "Urban100": 100}
    for dataset, count in sizes.items():
        for scale in DATASETS[dataset]:
            names = benchmark_files(dataset, scale)
            assert len(names) == count == len({registry()[name] for name in names}) and names == sorted(names)
            assert all(
                re.fullmatch(rf"benchmarks/{dataset}/image_SRF_{scale}/img_\d{{3}}_SRF_{scale}_HR\.png", n)
                for n in names
            )
    assert DATASETS == {"Set5": (2, 3, 4), "Set14": (2, 3, 4), "BSD100": (2, 3, 4), "Urban100": (2, 4)}
    assert len(training_files()) == 291 and sum(n.split("/")[1].startswith("t") for n in training_files()) == 91
    assert len(registry()) == 3 * (5 + 14 + 100) + 2 * 100 + 291 + 1
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in registry().values())


def test_unknown_names_are_errors_that_list_what_there_is():
    with pytest.raises(UnknownName, match=r"'Set6'.*Set5, Set14, BSD100, Urban100"):
        benchmark_files("Set6", 2)
    with pytest.raises(UnknownName, match=r"Urban100 3.*2, 4"):
        benchmark_files("Urban100", 3)
    with pytest.raises(UnknownName, match="no file"):
        fetch("benchmarks/Set5/../../etc/passwd")


@pytest.mark.parametrize(
    "name, address",
    [(NAME, "jbhuang0604/SelfExSR/8f6dd8c1d20cb7e8792a7177b4f6fd677633f598/data/Set5/image_SRF_2/img_001_SRF_2_HR.png"),
     ("train291/t1.bmp", f"{TRAINING}/yang91/t1.bmp"),
     ("train291/tt1.bmp", f"{TRAINING}/yang91/tt1.bmp"),
     ("train291/100075.png", f"{TRAINING}/bsd200/100075.png"),
     (VDSR_CHECKPOINT, "twtygqyy/pytorch-vdsr/514b021044018baf909e79f48392783daa592888/model/model_epoch_50.pth")],
)  # fmt: skip
def test_addresses(name, address):
    assert name in registry()
    assert url(name) == "https://raw.githubusercontent.com/" + address


def test_folder_comes_first(known, tmp_path, monkeypatch, no_network):
    path = _put(tmp_path, known)
    monkeypatch.setenv("DFKD_DATA_DIR", str(tmp_path))
    assert fetch(NAME) == path and no_network == []


def test_damaged_file_in_the_folder_is_an_error_and_not_downloaded(known, tmp_path, monkeypatch, no_network):
    path = _put(tmp_path, known + b"!")
    monkeypatch.setenv("DFKD_DATA_DIR", str(tmp_path))
    found = hashlib.sha256(known + b"!").hexdigest()[:12]
    with pytest.raises(DataError, match=rf"SHA-256 {found}.*delete it.*unset DFKD_DATA_DIR") as error:
        fetch(NAME)
    assert str(path) in str(error.value) and no_network == []


def test_network_comes_second_and_is_told_the_hash(known, tmp_path, monkeypatch):
    import pooch

    calls = []

    def retrieve(url, known_hash, fname, path, **options):
        calls.append((url, known_hash))
        Path(path).mkdir(parents=True, exist_ok=True)
        (Path(path) / fname).write_bytes(known)
        return str(Path(path) / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    for folder in (None, tmp_path / "empty"):
        if folder:
            monkeypatch.setenv("DFKD_DATA_DIR", str(folder))
        else:
            monkeypatch.delenv("DFKD_DATA_DIR", raising=False)
        path = fetch(NAME)
        assert path.read_bytes() == known and path == tmp_path / "cache" / "dfkd" / NAME
    assert calls == [(url(NAME), "sha256:" + hashlib.sha256(known).hexdigest())] * 2


def test_neither_is_an_error_that_names_both(known, tmp_path, monkeypatch, no_network):
    monkeypatch.setenv("DFKD_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError) as error:
        fetch(NAME)
    for word in (NAME, str(tmp_path), "DFKD_DATA_DIR", url(NAME), "ConnectionError", "point DFKD_DATA_DIR at"):
        assert word in str(error.value)
    monkeypatch.delenv("DFKD_DATA_DIR")
    with pytest.raises(DataError, match=r"DFKD_DATA_DIR is not set.*https://"):
        fetch(NAME)
    assert no_network == [url(NAME)] * 2


def test_wrong_download_is_an_error(known, tmp_path, monkeypatch):
    """pooch itself refuses the hash; the file comes from a local address instead of the network."""
    import pooch

    (tmp_path / "served.png").write_bytes(b"something else")
    monkeypatch.delenv("DFKD_DATA_DIR", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)

    def copy(url, output_file, pooch=None):
        shutil.copy(tmp_path / "served.png", output_file)

    retrieve = pooch.retrieve
    monkeypatch.setattr(pooch, "retrieve", lambda **options: retrieve(**{**options, "downloader": copy}))
    with pytest.raises(DataError, match=r"ValueError.*hash"):
        fetch(NAME)
    assert not list((tmp_path / "cache").rglob("*.png"))


@pytest.mark.data
def test_every_file_of_the_folder_is_the_one_in_the_registry(data_dir, no_network):
    present = [name for name in registry() if (data_dir / name).is_file()]
    assert len(present) >= 15
    for name in present:
        assert fetch(name) == data_dir / name
