"""Pictures of every kind in, pictures out, and a clear word about those that cannot be read or written."""

import contextlib
import io
import os
import stat
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dfkd.errors import DiskError, ImageError
from dfkd.pixels.colour import luma, rgb_to_ycbcr, ycbcr_to_rgb
from dfkd.pixels.files import picture_format, read_image, read_photograph, to_uint8, write_image

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
ALPHA = COLOUR[..., 1]


def tensor(pixels: np.ndarray, white: int = 255) -> torch.Tensor:
    return torch.from_numpy(np.atleast_3d(pixels).astype(np.float64) / white).permute(2, 0, 1)[None].float()


def read(tmp_path, picture: Image.Image, suffix: str = ".png", *, alpha: bool = False, **options) -> torch.Tensor:
    path = tmp_path / f"picture{suffix}"
    picture.save(path, **options)
    image = read_image(path, alpha=alpha)
    assert image.dtype == torch.float32 and image.is_contiguous() and 0 <= image.min() and image.max() <= 1
    return image


# ---- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_colour_and_grey(suffix, tmp_path):
    assert torch.equal(read(tmp_path, Image.fromarray(COLOUR), suffix), tensor(COLOUR))
    assert torch.equal(read(tmp_path, Image.fromarray(GREY), suffix), tensor(GREY))


def test_16_bit_grey_keeps_its_depth(tmp_path):
    deep = GREY.astype(np.uint16) * 256 + ALPHA
    for suffix in (".png", ".tif"):
        assert torch.equal(read(tmp_path, Image.fromarray(deep), suffix), tensor(deep, 65535))


def test_16_bit_colour(tmp_path):
    """Written by hand, for Pillow writes none: eight bits are all that is promised of it."""
    deep = np.dstack([COLOUR, COLOUR[..., ::-1]])[..., [0, 3, 1, 4, 2, 5]]  # high byte, low byte, for each channel

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    path = tmp_path / "deep.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 6, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )  # fmt: skip
    torch.testing.assert_close(read_image(path), tensor(COLOUR), atol=1.01 / 255, rtol=0)


def test_palette_with_and_without_transparency(tmp_path):
    levels = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    picture = Image.fromarray(levels, "L").convert("P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    rgb = tensor(np.eye(3)[levels] * 255)
    assert torch.equal(read(tmp_path, picture), rgb)
    assert torch.equal(read(tmp_path, picture, ".gif"), rgb)
    seen = read(tmp_path, picture, transparency=1)
    hidden = torch.from_numpy(levels == 1)
    assert torch.equal(seen[..., ~hidden], rgb[..., ~hidden]) and (seen[..., hidden] == 1).all()
    rgba = read(tmp_path, picture, alpha=True, transparency=1)
    assert rgba.shape[1] == 4 and torch.equal(rgba[0, 3] == 0, hidden)


def test_transparent_pixels_lie_on_white_or_are_handed_out(tmp_path):
    picture = Image.fromarray(np.dstack([COLOUR, ALPHA]))
    opacity = tensor(ALPHA)
    torch.testing.assert_close(read(tmp_path, picture), tensor(COLOUR) * opacity + 1 - opacity)
    assert torch.equal(read(tmp_path, picture, alpha=True), torch.cat([tensor(COLOUR), opacity], 1))
    assert torch.equal(read(tmp_path, Image.fromarray(COLOUR), alpha=True), tensor(COLOUR))


def test_grey_with_alpha_counts_as_colour(tmp_path):
    picture = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    opacity, grey = tensor(ALPHA), tensor(GREY).expand(-1, 3, -1, -1)
    torch.testing.assert_close(read(tmp_path, picture), grey * opacity + 1 - opacity)
    assert torch.equal(read(tmp_path, picture, alpha=True), torch.cat([grey, opacity], 1))


def test_cmyk(tmp_path):
    flat = np.broadcast_to(np.array([200, 100, 50, 20], np.uint8), (16, 16, 4)).copy()
    expected = [(255 - c) * (255 - 20) / 255 / 255 for c in (200, 100, 50)]
    for suffix in (".tif", ".jpg"):
        image = read(tmp_path, Image.fromarray(flat, "CMYK"), suffix)
        torch.testing.assert_close(image.mean((0, 2, 3)), torch.tensor(expected), atol=0.02, rtol=0)


def test_one_bit(tmp_path):
    bits = GREY > 128
    assert torch.equal(read(tmp_path, Image.fromarray(bits)), tensor(bits, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(orientation, tmp_path):
    upright = tensor(COLOUR)
    stored = {
        1: upright, 2: upright.flip(3), 3: upright.rot90(2, (2, 3)), 4: upright.flip(2), 5: upright.transpose(2, 3),
        6: upright.rot90(1, (2, 3)), 7: upright.rot90(2, (2, 3)).transpose(2, 3), 8: upright.rot90(-1, (2, 3)),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert torch.equal(read(tmp_path, Image.fromarray(to_uint8(stored)), exif=exif), upright)


def test_rarer_modes(tmp_path):
    for mode, channels in {"YCbCr": 3, "RGBX": 3, "F": 1, "I": 1}.items():
        Image.new(mode, (8, 8)).save(tmp_path / f"{mode}.tif")
        assert read_image(tmp_path / f"{mode}.tif").shape == (1, channels, 8, 8)


def floats(tmp_path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels.astype(np.float32)).save(tmp_path / "floats.tif")
    assert Image.open(tmp_path / "floats.tif").mode == "F"
    return tmp_path / "floats.tif"


def test_floats_in_the_unit_range_are_kept(tmp_path):
    assert torch.equal(read_image(floats(tmp_path, GREY / 255)), tensor(GREY))


def test_floats_up_to_255_are_divided_by_it(tmp_path):
    assert torch.equal(read_image(floats(tmp_path, GREY)), tensor(GREY))


@pytest.mark.parametrize("value", [400, 65535, 1e30, -1, -256, -1e5])
def test_floats_far_outside_are_refused(value, tmp_path):
    with pytest.raises(ImageError, match=r"scale them to \[0, 1\]"):
        read_image(floats(tmp_path, np.array([[0, 0.5, value]])))


@pytest.mark.parametrize("value", [-0.2, 1.2])
def test_floats_that_overshoot_the_unit_range_are_clamped(value, tmp_path):
    image = read_image(floats(tmp_path, np.array([[0, 0.5, value]])))
    assert image.flatten().tolist() == [0, 0.5, min(max(value, 0), 1)]


@pytest.mark.parametrize("white", [1, 255])
def test_floats_may_overshoot_as_bicubic_does(white, tmp_path):
    image = read_image(floats(tmp_path, white * np.array([[-0.2, 0.5, 1.2]])))
    assert torch.equal(image, torch.tensor([0, 0.5, 1]).view(1, 1, 1, 3))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_floats_without_end_are_refused(value, tmp_path):
    with pytest.raises(ImageError, match="not finite"):
        read_image(floats(tmp_path, np.array([[0, 0.5, value]])))


def test_numbers_that_are_none_are_an_error(tmp_path):
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(ImageError, match="not finite"):
        read_image(tmp_path / "nan.tif")


# ---- what cannot be read ---------------------------------------------------------------------------------------------


def _encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.8])
def test_truncated(kind, keep, tmp_path):
    content = _encoded(kind)
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ImageError, match=rf"cut\.{kind.lower()}"):
        read_image(path)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"]), st.data())
def test_damaged_files_are_an_error_or_a_picture(tmp_path_factory, kind, data):
    content = bytearray(_encoded(kind))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.one_of(st.integers(0, 60), st.integers(0, len(content) - 1)))
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "x"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(ImageError):  # and no other
            assert read_image(path, max_pixels=10**7).isfinite().all()


def test_empty_missing_folder_and_text(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    said = {"empty.png": "is empty", "gone.png": "No such file", "text.png": "not a picture", "": "cannot read"}
    for name, words in said.items():
        with pytest.raises(ImageError, match=words) as error:
            read_image(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)


def _bomb(path: Path, width: int, height: int) -> Path:
    """A PNG whose header promises what its few bytes do not hold."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = bytearray(_encoded("PNG"))
    content[16:29] = header
    content[29:33] = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("side", [60_000, 10_100, 13_000])
def test_bomb_is_refused_before_it_is_decoded(side, tmp_path, monkeypatch):
    path = _bomb(tmp_path / "bomb.png", side, side)
    Image.init()  # some of its plugins decode a picture of their own
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match=r"above the limit of 100,000,000 pixels; .* raise the limit, max_pixels"):
            read_image(path)


@pytest.mark.parametrize("kind", ["EPS", "ICNS", "PDF"])
def test_formats_whose_readers_start_programs_or_unpack_without_limit_are_refused(kind, tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "x.png", kind)
    with pytest.raises(ImageError, match="not a picture of a kind that is read here"):
        read_image(tmp_path / "x.png")


def test_file_too_large_for_its_pixels_is_refused_before_it_is_read(tmp_path):
    with open(tmp_path / "x.png", "wb") as file:
        file.truncate(2**34)  # sparse: no disk is taken
    with pytest.raises(ImageError, match="by its bytes alone"):
        read_image(tmp_path / "x.png")


def test_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(ImageError, match="neither a file nor a folder"):
        read_image(tmp_path / "x.png")


def test_notes_that_cannot_be_written_again_are_left_out(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png", exif=b"Exif\0\0MM\t*\0\0\0\x08\0\0")  # no notes at all
    image, surroundings = read_photograph(tmp_path / "x.png")
    write_image(tmp_path / "y.png", image, surroundings)
    assert surroundings.exif is None


def test_limit_can_be_set(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "p.png")
    before = Image.MAX_IMAGE_PIXELS
    assert read_image(tmp_path / "p.png", max_pixels=54).shape == (1, 3, 6, 9)
    for limit in (53, 10):
        with pytest.raises(ImageError, match=f"limit of {limit} pixels"):
            read_image(tmp_path / "p.png", max_pixels=limit)
    with pytest.raises(ImageError, match="damaged"):  # beyond Pillow's own limit, when asked for
        read_image(_bomb(tmp_path / "b.png", 14_000, 14_000), max_pixels=200_000_000)
    assert before == Image.MAX_IMAGE_PIXELS


# ---- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".PNG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_written_and_read_again(suffix, channels, tmp_path):
    image = tensor(COLOUR[..., :channels])
    write_image(tmp_path / f"p{suffix}", image)
    assert torch.equal(read_image(tmp_path / f"p{suffix}"), image)
    assert os.listdir(tmp_path) == [f"p{suffix}"]


def test_alpha_is_written_where_a_format_has_it(tmp_path):
    image = tensor(np.dstack([COLOUR, ALPHA]))
    write_image(tmp_path / "p.png", image)
    assert torch.equal(read_image(tmp_path / "p.png", alpha=True), image)
    with pytest.raises(ImageError, match="no transparency"):
        write_image(tmp_path / "p.jpg", image)


@pytest.mark.parametrize("mode, space, kept", [
    ("L", b"GRAY", True), ("I;16", b"GRAY", True), ("RGB", b"RGB ", True), ("P", b"RGB ", True),
    ("RGBA", b"RGB ", True), ("LA", b"GRAY", False), ("P", b"GRAY", False), ("L", b"RGB ", False),
    ("LAB", b"Lab ", False), ("CMYK", b"CMYK", False), ("L", b"", False),
])  # fmt: skip
def test_profile_is_written_where_it_fits_what_is_written(mode, space, kept, tmp_path):
    """Transparent grey, for one, becomes RGB, of which a profile of grey says nothing."""
    profile = bytes(16) + space + bytes(200) if space else b"none"
    file = tmp_path / ("in.tif" if mode in ("LAB", "CMYK") else "in.png")
    Image.new(mode, (4, 4)).save(file, icc_profile=profile)
    write_image(tmp_path / "out.png", *read_photograph(file))
    assert Image.open(tmp_path / "out.png").info.get("icc_profile") == (profile if kept else None)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".gif", ".tga", ".sgi"])
def test_a_picture_too_wide_for_its_format_is_not_blamed_on_the_disk(suffix, tmp_path):
    with pytest.raises(ImageError) as refused:
        write_image(tmp_path / f"p{suffix}", torch.zeros(1, 3, 1, 70_000))
    assert not isinstance(refused.value, DiskError) and os.listdir(tmp_path) == []


def test_jpeg_is_close(tmp_path):
    smooth = torch.linspace(0, 1, 32).view(1, 1, 1, 32).expand(1, 3, 32, 32)
    write_image(tmp_path / "p.jpg", smooth)
    assert (read_image(tmp_path / "p.jpg") - smooth).abs().max() < 0.02


def test_values_are_clamped_and_rounded():
    values = torch.tensor([-1.0, 0.0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 1.0, 7.0])
    assert to_uint8(values.view(1, 1, 1, -1)).tolist() == [[0, 0, 0, 1, 254, 255, 255]]


@pytest.mark.parametrize("name", ["photo", "photo.xyz", "photo.psd", "photo.png.", ".png"])
def test_unknown_suffix(name, tmp_path):
    with pytest.raises(ImageError, match=r"end its name in \.png"):
        write_image(tmp_path / name, tensor(COLOUR))
    with pytest.raises(ImageError, match=r"end its name in \.png"):
        picture_format(name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (1, 5, 4, 4), (2, 3, 4, 4), (4, 4), (1, 3, 0, 4), (3,)])
def test_a_shape_no_picture_has(shape, tmp_path):
    with pytest.raises(ImageError, match=r"not \("):
        write_image(tmp_path / "p.png", torch.zeros(shape))


def test_pixels_that_are_no_numbers(tmp_path):
    with pytest.raises(ImageError, match="not finite"):
        write_image(tmp_path / "p.png", torch.full((1, 1, 4, 4), float("nan")))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("moment", ["save", "replace"])
def test_full_disk_leaves_the_old_picture_and_nothing_else(moment, tmp_path, monkeypatch):
    path = tmp_path / "p.png"
    write_image(path, tensor(COLOUR))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((Image.Image, "save") if moment == "save" else (os, "replace")), full)
    with pytest.raises(ImageError, match=r"cannot write .*No space left"):
        write_image(path, tensor(GREY))
    monkeypatch.undo()
    assert torch.equal(read_image(path), tensor(COLOUR)) and os.listdir(tmp_path) == ["p.png"]


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "none" / "p.png", tmp_path / "file" / "p.png", tmp_path / "folder.png"):
        with pytest.raises(ImageError, match="cannot write"):
            write_image(path, tensor(GREY))
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


@pytest.mark.parametrize("umask, mode", [(0o077, 0o600), (0o002, 0o664)])
def test_pictures_have_the_permissions_that_the_umask_leaves(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        write_image(tmp_path / "p.png", tensor(COLOUR))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "p.png").stat().st_mode) == mode


def test_error_names_the_place_once(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError) as error:
        write_image(tmp_path / "folder.png", tensor(GREY))
    assert str(error.value).count("cannot write") == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ImageError, match="cannot write"):
        write_image(tmp_path / "p.png", tensor(GREY))


# ---- luma ------------------------------------------------------------------------------------------------------------


def test_luma_and_chroma_by_hand():
    primaries = {(0, 0, 0): 16, (255, 255, 255): 235, (255, 0, 0): 81.481, (0, 255, 0): 144.553, (0, 0, 255): 40.966}
    for rgb, y in primaries.items():
        pixel = torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1) / 255
        assert rgb_to_ycbcr(pixel)[0, 0].item() * 255 == pytest.approx(y, abs=1e-9)
    r, g, b = 0.2, 0.5, 0.9
    ours = rgb_to_ycbcr(torch.tensor([r, g, b], dtype=torch.float64).view(1, 3, 1, 1)).flatten() * 255
    luma_full = 0.299 * r + 0.587 * g + 0.114 * b  # BT.601 itself, then squeezed into studio range
    expected = [16 + 219 * luma_full, 128 + 224 * (b - luma_full) / 1.772, 128 + 224 * (r - luma_full) / 1.402]
    assert ours.tolist() == pytest.approx(expected, abs=2e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_round_trip(seed):
    rgb = torch.rand(2, 3, 3, 4, generator=torch.Generator().manual_seed(seed))
    ycbcr = rgb_to_ycbcr(rgb)
    torch.testing.assert_close(ycbcr_to_rgb(ycbcr), rgb, atol=1e-6, rtol=0)
    assert ycbcr.dtype == torch.float32
    assert 16 / 255 - 1e-6 <= ycbcr[:, 0].min() and ycbcr[:, 0].max() <= 235 / 255 + 1e-6
    assert 16 / 255 - 1e-6 <= ycbcr[:, 1:].min() and ycbcr[:, 1:].max() <= 240 / 255 + 1e-6
    torch.testing.assert_close(luma(rgb), ycbcr[:, :1])


def test_luma_of_grey_is_that_of_equal_colours():
    grey = torch.rand(2, 1, 4, 5)
    torch.testing.assert_close(luma(grey), (16 + 219 * grey) / 255, atol=1e-6, rtol=0)
    torch.testing.assert_close(luma(grey), luma(grey.expand(-1, 3, -1, -1)))
    torch.testing.assert_close(rgb_to_ycbcr(grey.expand(-1, 3, -1, -1))[:, 1:], torch.full((2, 2, 4, 5), 128 / 255))


@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (1, 4, 4, 4), (3, 4, 4), (1, 4)])
def test_luma_of_what_has_none(shape):
    with pytest.raises(ImageError, match="colour images"):
        luma(torch.rand(shape))


@pytest.mark.parametrize("channels", [1, 3])
def test_luma_refuses_bytes(channels):
    with pytest.raises(ImageError, match="uint8; divide it by 255"):
        luma(torch.from_numpy(COLOUR[..., :channels].copy()).permute(2, 0, 1)[None])


@pytest.mark.parametrize("channels", [1, 3])
def test_luma_refuses_floats_up_to_255(channels):
    with pytest.raises(ImageError, match=r"not in \[.*\]; divide it by 255"):
        luma(255 * tensor(COLOUR[..., :channels]))


def test_luma_takes_what_bicubic_overshoots():
    assert luma(torch.tensor([-0.2, 1.2]).view(1, 1, 1, 2)).shape == (1, 1, 1, 2)
