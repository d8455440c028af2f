"""Pictures in and out: files to float tensors in [0, 1], and tensors to files."""

from __future__ import annotations

import io
import os
import struct
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dfkd.errors import DiskError, ImageError
from dfkd.writing import replacing

MAX_PIXELS = 100_000_000  # a 100-megapixel photo; more is nearly always a decompression bomb or a wrong file
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TGA", "TIFF", "WEBP")
BYTES = 16, 2**26  # a pixel's at most, and what a file may hold beside its pixels
BAND = 256  # rows that are turned into whole numbers at a time
DESCRIPTIVE = {
    getattr(ExifTags.Base, name)
    for name in ("ImageDescription", "Make", "Model", "Software", "DateTime", "Artist", "Copyright", "ExifOffset",
                 "GPSInfo")
}  # fmt: skip
SIXTEEN_BITS = ("I;16", "I;16B", "I")  # modes of 16-bit grey, which Pillow may widen to 32


@dataclass(frozen=True)
class Surroundings:
    """What a picture's file holds beside its pixels.

    Attributes:
        depth: bits of a value that are worth keeping, 8 or 16.
        exif: the camera's notes, without a rotation, since it has been applied; None where there are none.
        profile: the ICC profile that says what its colours mean; None where there is none.
    """

    depth: int = 8
    exif: bytes | None = None
    profile: bytes | None = None


def read_image(path: str | os.PathLike, *, alpha: bool = False, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read a picture of any common kind.

    8 and 16 bit, grey, palette, CMYK and transparent files are understood; the EXIF rotation is applied. 16-bit grey
    keeps its depth. Transparent pixels are laid on white, unless `alpha` asks for them as a last channel.

    Args:
        path: the file.
        alpha: return transparency, where the file has any, as one more channel.
        max_pixels: refuse anything larger before it is decoded.

    Returns:
        float32 [1, channels, height, width] in [0, 1]: 1 channel for grey, 3 for colour and for whatever is
        transparent, 4 for the latter with `alpha`.

    Raises:
        ImageError: no such file, empty, truncated, not a picture, or too large.
    """
    return read_photograph(path, alpha=alpha, max_pixels=max_pixels)[0]


def read_photograph(
    path: str | os.PathLike, *, alpha: bool = True, max_pixels: int = MAX_PIXELS
) -> tuple[Tensor, Surroundings]:
    """Read a picture with what its file holds beside the pixels; arguments, tensor and errors as for `read_image`."""
    path = Path(path)
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe or a device may have no end
            raise ImageError(f"cannot read {path}: neither a file nor a folder")
        if path.is_file() and path.stat().st_size > BYTES[0] * max_pixels + BYTES[1]:
            raise ImageError(
                f"{path} is above the limit of {max_pixels:,} pixels by its bytes alone; crop it, or raise the limit, "
                "max_pixels"
            )
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not content:
        raise ImageError(f"{path} is empty; was its download cut off?")
    try:
        with _limited_to(max_pixels):
            # Not all that Pillow knows: its reader of EPS starts a program, others unpack without a limit.
            Image.init()
            picture = Image.open(io.BytesIO(content), formats=[name for name in FORMATS if name in Image.OPEN])
            picture.load()
            return _to_tensor(_upright(picture), alpha), _surroundings(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{path} is above the limit of {max_pixels:,} pixels; crop it, or raise the limit, max_pixels ({error})"
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is not a picture of a kind that is read here; convert it to PNG or JPEG") from error
    except Exception as error:  # Pillow's readers let through whatever their parsing of a broken file runs into
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageError(f"{path} is damaged, truncated or rare ({why}); fetch it again or convert it") from error


@contextmanager
def _limited_to(max_pixels: int):
    """Pillow's own limit set to ours: it looks at the header of every format, before any pixel is decoded."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of notes that Pillow cannot make sense of
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # as below: notes that make no sense say nothing of how the picture is to be turned
        return picture


def _surroundings(picture: Image.Image) -> Surroundings:
    profile = None if picture.mode == "CMYK" else picture.info.get("icc_profile")  # it has become RGB
    depth = 16 if picture.mode in SIXTEEN_BITS else 8
    try:
        notes = _notes(picture)
        if notes:
            _resized(notes, 1, 1)
    except Exception:  # a file may hold as notes whatever it likes; those that cannot be written again are left out
        notes = None
    return Surroundings(depth, notes, profile if isinstance(profile, bytes) else None)


def _notes(picture: Image.Image) -> bytes | None:
    exif = picture.getexif()
    # A TIFF has its layout among its tags; of these only what people or cameras wrote goes into another file.
    foreign = set(exif) - DESCRIPTIVE if picture.format == "TIFF" else set()
    for tag in {ExifTags.Base.Orientation, *foreign} & set(exif):
        del exif[tag]
    return exif.tobytes() if exif else None


def _to_tensor(picture: Image.Image, alpha: bool) -> Tensor:
    if picture.mode in SIXTEEN_BITS:
        return _batch(picture, 65535)
    if picture.mode == "F":
        return _batch(picture, _white_of_floats(np.asarray(picture)))
    if picture.has_transparency_data:
        rgba = _batch(picture.convert("RGBA"), 255)
        rgb, opacity = rgba[:, :3], rgba[:, 3:]
        return rgba if alpha else rgb * opacity + 1 - opacity
    return _batch(picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB"), 255)


def _white_of_floats(pixels: np.ndarray) -> int:
    """Which value is white in a floating-point file: 1, or 255 where some pixel is clearly above 1."""
    if not np.isfinite(pixels).all():
        raise ValueError("some pixels are not finite")
    white = 1 if pixels.max() <= 1.5 else 255
    if not -white / 2 <= pixels.min() <= pixels.max() <= 1.5 * white:  # room for what bicubic overshoots
        raise ValueError(f"its floats run from {pixels.min():g} to {pixels.max():g}; scale them to [0, 1]")
    return white


def _batch(picture: Image.Image, white: int) -> Tensor:
    pixels = np.atleast_3d(np.array(picture, dtype=np.float32))
    pixels /= np.float32(white)
    np.clip(pixels, 0, 1, out=pixels)
    return torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0).contiguous()


def to_uint8(image: Tensor) -> np.ndarray:
    """One image in [0, 1], [(1,) channels, height, width], as rounded uint8 [height, width(, channels)]."""
    return _whole_numbers(image, np.uint8)


def _whole_numbers(image: Tensor, kind: type) -> np.ndarray:
    """Band by band: a large photograph fits into memory as floats once, hardly twice."""
    if image.dim() == 4 and len(image) == 1:
        image = image[0]
    if image.dim() != 3 or len(image) not in (1, 3, 4) or not image.is_floating_point() or not image.numel():
        raise ImageError(f"a picture is one float tensor [1, 1 or 3 or 4, height, width], not {tuple(image.shape)}")
    pixels = np.empty((*image.shape[1:], len(image)), dtype=kind)
    for top in range(0, len(pixels), BAND):
        band = image[:, top : top + BAND].detach().cpu().float()
        if not torch.isfinite(band).all():
            raise ImageError("some pixels are not finite; the network that made them is damaged")
        white = np.iinfo(kind).max
        pixels[top : top + BAND] = band.clamp(0, 1).mul_(white).round_().permute(1, 2, 0).numpy()
    return pixels.squeeze(-1) if len(image) == 1 else pixels


def picture_format(path: str | os.PathLike) -> str:
    """The format that a file's suffix asks for, in Pillow's spelling.

    Raises:
        ImageError: a suffix that names none Pillow can write.
    """
    name = Image.registered_extensions().get(Path(path).suffix.lower())
    if name not in Image.SAVE:
        raise ImageError(f"cannot tell a format from {Path(path).name!r}; end its name in .png, .jpg, .webp or .tif")
    return name


def write_image(path: str | os.PathLike, image: Tensor, surroundings: Surroundings = Surroundings()) -> None:
    """Write an image; the suffix names the format, and nothing is left behind when it fails.

    Args:
        path: the file to write, for example ``photo.png``.
        image: [1, channels, height, width] in [0, 1]; values outside are clamped. Channels: 1, 3, or 4 with alpha.
        surroundings: what else to put into the file; 16 bits only for grey, and where the format has them; a profile
            only if it is one of grey for grey, of RGB for colour.

    Raises:
        ImageError: an unknown suffix, a shape no picture has, or a picture that the format cannot hold.
        DiskError: a folder or disk that cannot take the file.
    """
    path = Path(path)
    format_name = picture_format(path)
    deep = surroundings.depth == 16 and image.shape[-3] == 1 and format_name in ("PNG", "TIFF")
    picture = Image.fromarray(_whole_numbers(image, np.uint16) if deep else to_uint8(image))
    if format_name == "JPEG" and picture.mode == "RGBA":
        raise ImageError(f"{path.name}: JPEG has no transparency; write a .png or .webp")
    options: dict[str, Any] = {"quality": 95} if format_name in ("JPEG", "WEBP") else {}
    options |= {"exif": _resized(surroundings.exif, *picture.size)} if surroundings.exif else {}
    options |= {"icc_profile": surroundings.profile} if _fits(surroundings.profile, image) else {}
    if not path.parent.is_dir():
        raise DiskError(f"cannot write {path}: there is no folder {path.parent}")
    try:
        with replacing(path, ImageError) as file:
            picture.save(file, format=format_name, **options)
    except ImageError as error:
        if getattr(error.__cause__, "errno", None):  # the system's; Pillow's own have no number
            raise DiskError(str(error)) from error.__cause__
        raise
    except (ValueError, KeyError, OverflowError, struct.error) as error:  # of a picture that the format cannot hold
        raise ImageError(f"cannot write {path}: {error}") from error


def _fits(profile: bytes | None, image: Tensor) -> bool:
    """Whether a profile speaks of the channels there are: transparent grey has become RGB, and its profile has not."""
    space = b"GRAY" if image.shape[-3] == 1 else b"RGB "
    return profile is not None and profile[16:20] == space  # where ICC.1 has a profile's colour space


def _resized(exif: bytes, width: int, height: int) -> bytes:
    """A camera's notes with another size, where they name one, and without the thumbnail."""
    notes = Image.Exif()
    notes.load(exif)
    details = notes.get_ifd(ExifTags.IFD.Exif)
    for tag, size in ((ExifTags.Base.ExifImageWidth, width), (ExifTags.Base.ExifImageHeight, height)):
        if tag in details:
            details[tag] = size
    notes.get_ifd(ExifTags.IFD.IFD1).clear()
    return notes.tobytes()
