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

# Canvases of more pixels than window.limit stay blank, or have nothing that draws, as on a phone.
SMALL_CANVASES = """(kind) => {
    const real = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (...rest) {
        if (this.width * this.height <= window.limit) return real.apply(this, rest);
        if (kind === "none") return null;
        const pen = real.apply(this, rest);
        pen.fillRect = pen.drawImage = pen.putImageData = () => {};
        pen.getImageData = (left, top, width, height) => new ImageData(width, height);
        return pen;
    };
}"""

# Pictures are decoded when the test says so: window.go[name]() decodes, window.decoded[name] is what came out.
DECODE_LATER = """() => {
    [window.go, window.decoded] = [{}, {}];
    const real = window.createImageBitmap;
    window.createImageBitmap = async (file) => {
        await new Promise((resolve) => (window.go[file.name] = resolve));
        return (window.decoded[file.name] = await real(file));
    };
}"""


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


def status(opened):
    return part(opened).get_by_role("status").inner_text()


def begin(opened, path):
    """Choose a picture whose decoding waits for `decode`."""
    part(opened).get_by_label("Choose a photograph").set_input_files(path)
    opened.page.wait_for_function("name => Boolean(window.go[name])", arg=path.name)


def decode(opened, path):
    opened.page.evaluate("name => window.go[name]()", path.name)
    opened.page.wait_for_function("name => Boolean(window.decoded[name])", arg=path.name)
    opened.page.wait_for_timeout(100)  # for what the page does with it


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
    assert "18000 by 40 pixels are more than this browser can hold" in part(opened).get_by_role("status").inner_text()


@pytest.mark.parametrize("kind", ["blank", "none"])
def test_a_photograph_larger_than_a_canvas_is_refused(opened, photograph, kind):
    opened.page.evaluate("window.limit = 20_000")
    opened.page.evaluate(SMALL_CANVASES, kind)
    choose(opened, photograph)
    assert "147 by 161 pixels are more than this browser can hold" in status(opened)
    assert "Crop mine.photo.png" in status(opened) and "dfkd upscale on a computer" in status(opened)
    assert part(opened).get_by_role("button", name="Enlarge").is_disabled()
    assert opened.problems == []


@pytest.mark.parametrize("kind", ["blank", "none"])
@pytest.mark.parametrize("late", [False, True])
def test_a_result_larger_than_a_canvas_is_refused(opened, photograph, kind, late):
    choose(opened, photograph)
    opened.page.evaluate(
        """(late) => {
            window.limit = late ? Infinity : 50_000; // late: the memory is gone when the work is done
            const real = Worker.prototype.postMessage;
            Worker.prototype.postMessage = function (...rest) {
                [window.began, window.limit] = [true, 50_000];
                real.apply(this, rest);
            };
        }""",
        late,
    )
    opened.page.evaluate(SMALL_CANVASES, kind)
    part(opened).get_by_role("button", name="Enlarge").click()
    said = part(opened).get_by_role("status").filter(has_text="294 by 322 pixels are more than this browser can hold")
    said.wait_for(timeout=60_000)
    assert "Crop the photograph" in status(opened) and "dfkd upscale on a computer" in status(opened)
    assert opened.page.evaluate("window.began ?? false") == late
    assert part(opened).locator("canvas").count() == 0
    assert part(opened).get_by_role("button", name="Enlarge").is_enabled()
    assert opened.problems == []


def test_a_result_that_no_file_can_hold_is_said(opened, photograph):
    choose(opened, photograph)
    enlarge(opened)
    opened.page.evaluate("() => { HTMLCanvasElement.prototype.toBlob = (done) => done(null); }")
    part(opened).get_by_role("button", name="Download").click()
    assert "This browser cannot write so large a file" in status(opened)
    assert opened.problems == []


def test_memory_is_given_back(opened, photograph):
    opened.page.evaluate(DECODE_LATER)
    opened.page.evaluate(
        """() => {
            const real = Worker.prototype.postMessage;
            Worker.prototype.postMessage = function (job, ...rest) {
                real.call(this, job, ...rest);
                window.kept = job.picture.data.byteLength;
            };
        }"""
    )
    begin(opened, photograph)
    decode(opened, photograph)
    assert opened.page.evaluate("name => window.decoded[name].width", photograph.name) == 0  # closed
    enlarge(opened)
    assert opened.page.evaluate("window.kept") == 0  # the worker's, not a copy


@pytest.fixture
def other(tmp_path):
    path = tmp_path / "other.png"
    Image.new("RGB", (40, 30), "teal").save(path)
    return path


def test_a_picture_is_not_enlarged_while_the_next_is_decoded(opened, photograph, other):
    choose(opened, photograph)
    opened.page.evaluate(DECODE_LATER)
    begin(opened, other)
    assert part(opened).get_by_role("button", name="Enlarge").is_disabled()
    decode(opened, other)
    enlarge(opened)
    assert part(opened).locator("canvas.dfkd-after").evaluate("c => [c.width, c.height]") == [80, 60]
    with opened.page.expect_download() as waiting:
        part(opened).get_by_role("button", name="Download").click()
    assert waiting.value.suggested_filename == "other-x2.png"


def test_the_picture_chosen_last_counts_not_the_one_decoded_last(opened, photograph, other):
    opened.page.evaluate(DECODE_LATER)
    begin(opened, photograph)
    begin(opened, other)
    decode(opened, other)
    decode(opened, photograph)
    assert "other.png, 40 by 30 pixels" in status(opened)
    assert opened.page.evaluate("name => window.decoded[name].width", photograph.name) == 0  # closed


def test_a_download_keeps_its_name_when_another_picture_is_chosen(opened, photograph, other):
    choose(opened, photograph)
    enlarge(opened)
    opened.page.evaluate(
        """() => {
            const real = HTMLCanvasElement.prototype.toBlob;
            HTMLCanvasElement.prototype.toBlob = function (done) {
                real.call(this, (blob) => (window.finish = () => done(blob)));
            };
        }"""
    )
    part(opened).get_by_role("button", name="Download").click()
    opened.page.wait_for_function("() => Boolean(window.finish)")
    choose(opened, other)
    with opened.page.expect_download() as waiting:
        opened.page.evaluate("window.finish()")
    assert waiting.value.suggested_filename == "mine.photo-x2.png"


def test_a_screen_reader_is_told_of_quarters_not_of_tiles(opened, tmp_path):
    Image.new("RGB", (1536, 4), "teal").save(tmp_path / "tiles.png")  # 12 tiles
    choose(opened, tmp_path / "tiles.png")
    opened.page.evaluate(
        """() => {
            const remember = (found) => {
                const texts = [];
                const watch = (changes) => texts.push(...changes.map((c) => c.addedNodes[0] ?? c.target));
                new MutationObserver(watch).observe(found, { childList: true, characterData: true, subtree: true });
                return texts;
            };
            window.told = remember(document.querySelector(".dfkd-whole [aria-live]"));
            window.seen = remember(document.querySelector(".dfkd-whole .dfkd-buttons"));
        }"""
    )
    enlarge(opened)
    told, seen = (opened.page.evaluate(f"window.{name}.map((node) => node.textContent)") for name in ("told", "seen"))
    assert [text for text in told if "%" in text] == [f"Working: {quarter} % done." for quarter in (25, 50, 75)]
    assert len(told) == 5  # and the beginning, and the end
    assert sum("seconds left" in text for text in seen) == 12


def test_a_keyboard_scrolls_the_result(opened, tmp_path):
    Image.new("RGB", (20, 600), "teal").save(tmp_path / "tall.png")
    choose(opened, tmp_path / "tall.png")
    enlarge(opened)
    part(opened).get_by_label("Pixel for pixel").check()
    stack = part(opened).get_by_role("group", name="Before and after")
    assert stack.get_attribute("tabindex") == "0"
    stack.focus()
    opened.page.keyboard.press("ArrowDown")
    opened.page.wait_for_function("document.querySelector('.dfkd-stack').scrollTop > 0")


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
