"""The reader's own picture, enlarged in the page from disk: the numbers are dfkd's, and nothing leaves the browser."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch
from book_pages import BOOK
from PIL import Image

import dfkd
from dfkd.networks.zoo import load_model
from dfkd.pixels.files import to_uint8

FAITHFUL = 45  # dB between the page's picture and dfkd's: weights rounded to 16 bits, colours to 8


def extension():
    spec = importlib.util.spec_from_file_location("upscaler_page", BOOK / "_ext" / "upscaler_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A page as the book's build makes one, and beside it a picture of a reader's own."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("upscaler.js", "upscaler.css"):
        shutil.copy(BOOK / "_web" / name, folder)
    (folder / "upscaler_data.js").write_text(f"window.dfkdUpscaler = {json.dumps(extension().data())};")
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Upscaler</title>'
        '<link rel="stylesheet" href="upscaler.css">'
        '<script defer src="upscaler_data.js"></script><script defer src="upscaler.js"></script>'
    )
    body = '<div class="dfkd-upscaler"><p>Only in the rendered book.</p></div>'
    (folder / "page.html").write_text(f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>')
    from skimage import data

    Image.fromarray(data.coffee()[150:229, 200:303]).save(folder / "mine.png")  # 79 x 103, smaller than a region
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def page(chromium, saved):
    complaints = []
    context = chromium.new_context(viewport={"width": 380, "height": 900})
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda r: r.url.startswith(("file:", "data:", "blob:")) or complaints.append(r.url))
    page.goto((saved / "page.html").as_uri())
    yield page
    context.close()
    assert complaints == []


def choose(page, path):
    page.get_by_label("Choose a picture of your own").set_input_files(path)
    page.get_by_role("status").filter(has_text=path.name).wait_for()


def enlarge(page):
    page.get_by_role("button", name="Enlarge").click()
    page.get_by_role("status").filter(has_text="Done in").wait_for(timeout=120_000)


def drawn_from(canvas) -> torch.Tensor:
    """What a canvas shows, as dfkd has images: [1, 3, height, width] in [0, 1]."""
    height, width, pixels = canvas.evaluate(
        """(canvas) => {
            const { height, width, data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return [height, width, Array.from(data)];
        }"""
    )
    rgba = np.array(pixels, dtype=np.float32).reshape(height, width, 4) / 255
    return torch.from_numpy(rgba[..., :3]).permute(2, 0, 1)[None]


def drawn(page, name) -> torch.Tensor:
    """A result of the small version."""
    return drawn_from(page.locator(f'figure[data-name^="{name}"] canvas'))


@pytest.mark.parametrize("scale", [2, 3])
def test_a_chosen_picture_is_enlarged_as_dfkd_enlarges_it(page, saved, scale):
    choose(page, saved / "mine.png")
    page.locator("select").select_option(str(scale))
    enlarge(page)
    photo = dfkd.read_image(saved / "mine.png")
    results = {}
    for name, model in (("bicubic", "bicubic"), ("network", "vdsr-small")):
        results[name] = drawn(page, name)
        pixels = torch.from_numpy(to_uint8(dfkd.upscale(load_model(model), photo, scale)))
        expected = pixels.permute(2, 0, 1)[None] / 255
        assert results[name].shape == expected.shape == (1, 3, 79 * scale, 103 * scale)
        assert dfkd.psnr(results[name], expected) > FAITHFUL, name
    assert dfkd.psnr(results["bicubic"], results["network"]) < FAITHFUL - 5  # the two are told apart


def test_shrinking_first_gives_the_decibels_of_the_protocol(page, saved):
    choose(page, saved / "mine.png")
    page.get_by_label("Shrink the region first").check()
    enlarge(page)
    hr = dfkd.luma(dfkd.read_image(saved / "mine.png"))[..., :78, :102]
    for name, model in (("bicubic", "bicubic"), ("network", "vdsr-small")):
        with torch.no_grad():
            expected = dfkd.psnr(load_model(model)(dfkd.imresize(hr, 1 / 2), 2), hr, shave=2)
        caption = page.locator(f'figure[data-name^="{name}"] figcaption').inner_text()
        assert float(caption.split(", ")[-1].removesuffix(" dB")) == pytest.approx(expected, abs=0.02), name
    assert page.locator("figure").count() == 3


def test_keyboard_alone_moves_the_frame_and_says_where_it_is(page):
    page.get_by_role("status").filter(has_text="512 by 512").wait_for()
    left = page.get_by_label("Region, from the left")
    before = int(left.input_value())
    left.focus()
    page.keyboard.press("ArrowRight")
    assert left.get_attribute("aria-valuetext") == f"{before + 1} of 512 pixels"
    assert f"{before + 1} from the left" in page.locator(".dfkd-preview").get_attribute("aria-label")
    page.keyboard.press("End")
    assert int(left.input_value()) == 512 - 128


def test_a_click_moves_the_frame(page):
    page.get_by_role("status").filter(has_text="512 by 512").wait_for()
    box = page.locator(".dfkd-preview").bounding_box()
    page.locator(".dfkd-preview").click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    assert abs(int(page.get_by_label("Region, from the top").input_value()) - (256 - 64)) <= 2


def test_work_can_be_cancelled_and_the_page_stays_awake(page):
    page.get_by_role("status").filter(has_text="512 by 512").wait_for()
    page.locator("select").select_option("4")
    page.get_by_role("button", name="Enlarge").click()
    page.wait_for_function("document.querySelector('.dfkd-upscaler progress').value > 0")
    page.get_by_role("button", name="Cancel").click()
    assert page.get_by_role("status").inner_text() == "Cancelled."
    assert page.locator("figure").count() == 0
    assert page.get_by_role("button", name="Enlarge").is_enabled()
    assert page.get_by_role("button", name="Cancel").is_disabled()


def test_what_is_no_picture_is_said_to_be_none(page, saved):
    choose(page, saved / "broken.png")
    assert "no picture" in page.get_by_role("status").inner_text()
    assert page.get_by_role("button", name="Enlarge").is_enabled()  # the picture before is still there


def test_a_narrow_screen_needs_no_sideways_scrolling(page, saved):
    choose(page, saved / "mine.png")
    enlarge(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_the_books_own_page_has_it(page_opener, site):
    if not (site / "book" / "11_your_own.html").exists():
        pytest.skip("this build of the book has no chapter 11")
    opened = page_opener("book/11_your_own.html", disk=True)
    opened.page.get_by_role("status").filter(has_text="512 by 512").wait_for()
    assert opened.problems == []
