"""A whole photograph, enlarged by the page from a server: the result is dfkd's, and nothing leaves the browser."""

import numpy as np
import pytest
import torch
from PIL import Image
from test_upscaler_in_browser import drawn_from

import dfkd
from dfkd.networks.zoo import load_model
from dfkd.pixels.files import to_uint8

PAGE = "book/11_your_own.html"


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    """Larger than a tile in both directions, and no multiple of one."""
    from skimage import data

    path = tmp_path_factory.mktemp("photograph") / "mine.photo.png"
    Image.fromarray(data.coffee()[100:261, 150:297]).save(path)  # 161 x 147
    return path


@pytest.fixture
def opened(page_opener, site, offline):
    if not (site / "_static" / "networks").is_dir():
        pytest.skip("the book was built without its npm packages: it takes no whole photographs")
    return page_opener(PAGE)


def part(opened):
    return opened.page.locator(".dfkd-whole")


def choose(opened, path):
    part(opened).get_by_label("Choose a photograph").set_input_files(path)
    part(opened).get_by_role("status").filter(has_text=path.name).wait_for()


def enlarge(opened, scale=2):
    part(opened).locator("select").select_option(str(scale))
    part(opened).get_by_role("button", name="Enlarge").click()
    part(opened).get_by_role("status").filter(has_text="Done in").wait_for(timeout=120_000)


@pytest.mark.parametrize("scale", [2, 3])
def test_whole_photograph_is_enlarged_as_dfkd_enlarges_it(opened, photograph, scale):
    choose(opened, photograph)
    enlarge(opened, scale)
    result = drawn_from(part(opened).locator("canvas.dfkd-after"))
    pixels = torch.from_numpy(to_uint8(dfkd.upscale(load_model("vdsr-half-best"), dfkd.read_image(photograph), scale)))
    expected = pixels.permute(2, 0, 1)[None] / 255
    assert result.shape == expected.shape == (1, 3, 161 * scale, 147 * scale)
    assert (result - expected).abs().max() <= 1.001 / 255
    assert opened.problems == [] and opened.elsewhere == []


def test_border_moves_and_the_result_is_downloaded(opened, photograph, tmp_path):
    choose(opened, photograph)
    enlarge(opened)
    border = part(opened).get_by_label("Left of the border")
    border.focus()
    opened.page.keyboard.press("End")
    assert part(opened).locator("canvas.dfkd-after").evaluate("c => c.style.clipPath") == "inset(0px 0px 0px 100%)"
    assert border.get_attribute("aria-valuetext") == "100 % from the left"
    with opened.page.expect_download() as waiting:
        part(opened).get_by_role("button", name="Download").click()
    assert waiting.value.suggested_filename == "mine.photo-x2.png"
    waiting.value.save_as(tmp_path / "saved.png")
    saved = np.asarray(Image.open(tmp_path / "saved.png").convert("RGB"), dtype=np.float32) / 255
    shown = drawn_from(part(opened).locator("canvas.dfkd-after"))[0].permute(1, 2, 0).numpy()
    assert np.array_equal(saved, shown)


def test_work_can_be_cancelled_and_another_picture_chosen(opened, photograph, tmp_path):
    Image.new("RGB", (900, 700), "teal").save(tmp_path / "large.png")
    choose(opened, tmp_path / "large.png")
    part(opened).get_by_role("button", name="Enlarge").click()
    opened.page.wait_for_function("document.querySelector('.dfkd-whole progress').value > 0", timeout=60_000)
    part(opened).get_by_role("button", name="Cancel").click()
    assert part(opened).get_by_role("status").inner_text() == "Cancelled."
    assert part(opened).locator("canvas").count() == 0
    (tmp_path / "broken.png").write_bytes(b"no picture")
    choose(opened, tmp_path / "broken.png")
    assert "no picture" in part(opened).get_by_role("status").inner_text()
    assert part(opened).get_by_role("button", name="Enlarge").is_enabled()  # the picture before is still there


def test_what_no_tab_can_hold_is_said_before_the_work(opened, tmp_path):
    Image.new("1", (9000, 20)).save(tmp_path / "long.png")
    choose(opened, tmp_path / "long.png")
    part(opened).get_by_role("button", name="Enlarge").click()
    assert "18000 by 40 pixels are more than a browser can hold" in part(opened).get_by_role("status").inner_text()


def test_a_photograph_can_be_dropped(opened, photograph):
    opened.page.evaluate(
        """async (bytes) => {
            const carried = new DataTransfer();
            carried.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
            const drop = document.querySelector(".dfkd-drop");
            drop.dispatchEvent(new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true }));
        }""",
        list(photograph.read_bytes()),
    )
    part(opened).get_by_role("status").filter(has_text="dropped.png, 147 by 161").wait_for()


def test_from_disk_only_the_small_version_is_offered(page_opener, site):
    if not (site / PAGE).exists():
        pytest.skip("this build of the book has no chapter 11")
    opened = page_opener(PAGE, disk=True)
    assert opened.page.locator(".dfkd-whole").count() == 0 and opened.page.locator(".dfkd-upscaler").count() == 1


@pytest.mark.parametrize("width", [380, 1280])
def test_a_result_needs_no_sideways_scrolling(page_opener, site, offline, photograph, width):
    opened = page_opener(PAGE, width=width)
    before = opened.page.evaluate("document.documentElement.scrollWidth")
    choose(opened, photograph)
    enlarge(opened)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= max(before, width)
