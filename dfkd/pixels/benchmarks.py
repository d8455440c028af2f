"""Files by name, each with its SHA-256: `DFKD_DATA_DIR` first, the network second, an error that names both.

The registry (`registry.txt`) lists every file of the benchmarks, the 291 training images and the public teacher, as
``name sha256``. Where a file comes from follows from its name. Low-resolution images are computed, never downloaded.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from importlib.resources import files
from pathlib import Path

from dfkd.errors import DataError, UnknownName, pick

DATASETS = {"Set5": (2, 3, 4), "Set14": (2, 3, 4), "BSD100": (2, 3, 4), "Urban100": (2, 4)}
TRAIN291 = "train291"
VDSR_CHECKPOINT = "checkpoints/pytorch-vdsr-model_epoch_50.pth"

_GITHUB = "https://raw.githubusercontent.com"
_BENCHMARKS = f"{_GITHUB}/jbhuang0604/SelfExSR/8f6dd8c1d20cb7e8792a7177b4f6fd677633f598/data"
_TRAINING = f"{_GITHUB}/jiny2001/dcscn-super-resolution/d382bc30d41c94ac72f8cb148d61cc4864b3b380/data"
_TEACHER = f"{_GITHUB}/twtygqyy/pytorch-vdsr/514b021044018baf909e79f48392783daa592888/model/model_epoch_50.pth"


def benchmark_files(dataset: str, scale: int) -> list[str]:
    """Names of a benchmark's high-resolution images at one scale, in their order.

    Raises:
        UnknownName: no such data set, or it has no images cropped for that scale.
    """
    scales = DATASETS[pick("data set", dataset, DATASETS)]
    pick(f"scale for {dataset}", scale, scales)
    prefix = f"benchmarks/{dataset}/image_SRF_{scale}/"
    return sorted(name for name in registry() if name.startswith(prefix))


def training_files() -> list[str]:
    """Names of the 291 images VDSR was trained on: 91 of Yang et al., 200 of the Berkeley segmentation set."""
    return sorted(name for name in registry() if name.startswith(TRAIN291 + "/"))


@cache
def registry() -> dict[str, str]:
    """SHA-256 of every file the project knows, by name."""
    lines = files("dfkd.pixels").joinpath("registry.txt").read_text().splitlines()
    return dict(line.split() for line in lines)


def fetch(name: str) -> Path:
    """The path of a file whose content is checked against its SHA-256.

    Args:
        name: as in `benchmark_files`, `training_files` or `VDSR_CHECKPOINT`.

    Raises:
        UnknownName: the registry has no such file.
        DataError: the file in `DFKD_DATA_DIR` is damaged, or there is none and the download failed.
    """
    if name not in registry():
        raise UnknownName(f"no file {name!r} in the registry; dfkd.pixels.benchmarks.registry() lists them")
    expected = registry()[name]
    folder = os.environ.get("DFKD_DATA_DIR")
    if folder and (path := Path(folder) / name).is_file():
        if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != expected:
            raise DataError(
                f"{path} is not the file it should be: SHA-256 {found[:12]}..., expected {expected[:12]}...; "
                "delete it to have it downloaded, or unset DFKD_DATA_DIR"
            )
        return path
    return _download(name, expected, folder)


def _download(name: str, expected: str, folder: str | None) -> Path:
    import pooch  # imported here: most users of the package never download

    target = cache_folder() / name
    try:
        return Path(
            pooch.retrieve(
                url=url(name), known_hash=f"sha256:{expected}", fname=target.name, path=target.parent,
                progressbar=not target.exists(),
            )
        )
    except Exception as error:  # requests, OSError and ValueError (hash) all mean: the file is not to be had
        tried = f"{folder} (DFKD_DATA_DIR) does not hold it" if folder else "DFKD_DATA_DIR is not set"
        raise DataError(
            f"cannot get {name}: {tried}, and {url(name)} failed ({type(error).__name__}: {error}). "
            "Connect to the network, or point DFKD_DATA_DIR at a folder that holds the file under that name"
        ) from error


def cache_folder() -> Path:
    """Where downloads are kept: the user's cache folder, whatever the system calls it."""
    import pooch

    return Path(pooch.os_cache("dfkd"))


def url(name: str) -> str:
    """Where a file of the registry comes from."""
    top, _, rest = name.partition("/")
    if top == "benchmarks":
        return f"{_BENCHMARKS}/{rest}"
    if top == TRAIN291:
        return f"{_TRAINING}/{'yang91' if rest.startswith('t') else 'bsd200'}/{rest}"
    return _TEACHER
