"""Many photographs at once: what goes where, and what could not be read or written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor
from tqdm.auto import tqdm

from dfkd.errors import DiskError, ImageError
from dfkd.pixels.files import MAX_PIXELS, picture_format, read_photograph, write_image
from dfkd.running.jobs import PICTURES


@dataclass
class Outcome:
    """What became of some photographs.

    Attributes:
        written: file read, file written, and its width and height before and after.
        skipped: file, and why it was left out.
    """

    written: list[tuple[Path, Path, tuple[int, int], tuple[int, int]]] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)


def plan(pictures: Iterable[Path], out: Path, overwrite: bool = False) -> list[tuple[Path, Path]]:
    """Which file is to be written for which.

    A single file goes to the file `out`, whose suffix names the format, unless `out` is a folder. Several files, or the
    pictures of folders, go to the folder `out` under their own names; formats that can only be read become PNG.

    Args:
        pictures: files and folders.
        out: file or folder.
        overwrite: whether files that are there may be replaced.

    Raises:
        ImageError: two pictures of one name, nothing to do, a file that cannot be written as asked, or is there already
            and no other is left to do.
    """
    pictures = list(pictures)
    files = [file for path in pictures for file in (_pictures_of(path) if path.is_dir() else [path])]
    if not files:
        raise ImageError(f"no pictures ({', '.join(PICTURES)}) in {', '.join(map(str, pictures))}")
    if len(pictures) == 1 and not pictures[0].is_dir() and not out.is_dir():
        picture_format(out)
        pairs = [(files[0], out)]
    elif out.is_file() or (out.suffix.lower() in PICTURES and not out.is_dir()):
        raise ImageError(f"{out} names one file, and there may be several pictures to write; name a folder")
    else:
        pairs = [(file, out / _writable(file)) for file in files]
    twice = [name for name, count in Counter(to.name for _, to in pairs).items() if count > 1]
    if twice:
        raise ImageError(f"several pictures would become {out / twice[0]}; give them a folder each")
    for file, to in pairs:
        if file.exists() and to.exists() and file.samefile(to):
            raise ImageError(f"{to} would replace the picture it is made from; choose another place")
    if not overwrite and all(to.exists() for _, to in pairs):
        raise ImageError(f"{pairs[0][1]} is there already; choose another name, or say --overwrite")
    return pairs


def _pictures_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES and path.is_file())


def _writable(file: Path) -> str:
    try:
        picture_format(file)
        return file.name
    except ImageError:
        return f"{file.stem}.png"


def carry_out(
    pairs: list[tuple[Path, Path]], enlarge: Callable[[Tensor], Tensor], overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Outcome:  # fmt: skip
    """Enlarge one photograph after the other; one that cannot be read, or held by its format, does not stop the others.

    Camera's notes, colour profile, transparency and, for grey, 16 bits are kept.

    Args:
        pairs: as `plan` gave them.
        enlarge: from a picture [1, channels, height, width] in [0, 1] to a larger one.
        overwrite: whether files that are there may be replaced; otherwise they are skipped.
        max_pixels: a larger picture is left out before it is decoded.

    Raises:
        DiskError: a folder or disk that cannot take a file; it stops all.
        ImageError: the only picture cannot be read, or its format cannot hold what it becomes.
        OSError: a folder cannot be made.
    """
    outcome = Outcome()
    for file, to in tqdm(pairs, desc="photographs", unit="picture", disable=len(pairs) == 1):
        if to.exists() and not overwrite:
            outcome.skipped.append((file, f"{to} is there already"))
            continue
        try:
            image, surroundings = read_photograph(file, max_pixels=max_pixels)
            large = enlarge(image)
            to.parent.mkdir(parents=True, exist_ok=True)
            write_image(to, large, surroundings)
        except ImageError as error:
            if len(pairs) == 1 or isinstance(error, DiskError):
                raise
            outcome.skipped.append((file, str(error)))
            continue
        outcome.written.append((file, to, _size(image), _size(large)))
    return outcome


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[-1], image.shape[-2]
