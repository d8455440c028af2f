"""The command line: what it prints and writes, how it fails, and that a killed run goes on as if nothing happened."""

import csv
import functools
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import ExifTags, Image, ImageCms
from typer.testing import CliRunner

import dfkd
from dfkd.book import scoreboard
from dfkd.cli import app, main
from dfkd.errors import CheckpointError, DfkdError, DiskError, ImageError, TrainingError, Unconfirmed
from dfkd.method.settings import Config, configure, names_of
from dfkd.method.sources import METHODS
from dfkd.networks import precision, zoo
from dfkd.networks.edsr import EDSR
from dfkd.networks.vdsr import VDSR
from dfkd.networks.weights import fingerprint, read_weights
from dfkd.pixels.benchmarks import benchmark_files, registry
from dfkd.pixels.files import read_image
from dfkd.running import records, runs, spreading
from dfkd.running.teachers import TeacherSettings

# Mean luma PSNR (dB) and SSIM over a set, measured independently of this code on the same files.
BICUBIC = {
    ("Set5", 2): (33.690, 0.9308), ("Set5", 3): (30.408, 0.8692), ("Set5", 4): (28.432, 0.8114),
    ("Set14", 2): (30.337, 0.8701), ("Set14", 3): (27.641, 0.7757), ("Set14", 4): (26.098, 0.7044),
}  # fmt: skip
VDSR_TEACHER = {
    ("Set5", 2): (37.653, 0.9600), ("Set5", 3): (33.773, 0.9235), ("Set5", 4): (31.453, 0.8859),
    ("Set14", 2): (33.159, 0.9142), ("Set14", 3): (29.944, 0.8348), ("Set14", 4): (28.180, 0.7714),
}  # fmt: skip


@pytest.fixture
def teacher(tmp_path) -> Path:
    """A teacher small enough for a test."""
    torch.manual_seed(0)
    path = tmp_path / "teacher.safetensors"
    dfkd.save_model(path, VDSR(8, 3), role="teacher")
    return path


@pytest.fixture(autouse=True)
def any_processor(monkeypatch):
    """Runs asked for without a precision are the same on every machine."""
    monkeypatch.setattr("dfkd.cli.preferred", lambda device: ("float32", "for a test"))


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def dfkd_process(*arguments, **options) -> subprocess.CompletedProcess:
    """The command in a process of its own; one thread, as bits depend on how work is divided."""
    options = {"env": {**os.environ, "OMP_NUM_THREADS": "1"}, **options}
    command = [sys.executable, "-m", "dfkd", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, **options)


OWN = {"cmi": ("--bank", 6, "--negatives", 4), "dfsr": ("--bank", 6), "dead-leaves": ("--side", 32, "--pool", 2)}


def tiny(teacher: Path, out: Path, *more, method: str = "noise") -> list:
    return [
        "distill", "--teacher", teacher, "--method", method, "--out", out, "--scale", 2, "--scale", 3, "--patch", 24,
        "--batch", 2, "--imitation-steps", 2, *OWN.get(method, ()), *more,
    ]  # fmt: skip


@pytest.fixture
def asked(monkeypatch) -> list:
    """The jobs that commands would have started; none is."""
    jobs: list = []

    def note(folder, job, save_every, team=None):
        jobs.append(job)
        raise typer.Exit

    monkeypatch.setattr(runs, "start_run", note)
    return jobs


# ---- small commands --------------------------------------------------------------------------------------------------


def test_version_and_help():
    assert invoke("--version").stdout == f"dfkd {dfkd.__version__}\n"
    for command in ((), *((name,) for name in typer.main.get_command(app).commands)):
        result = invoke(*command, "--help")
        assert result.exit_code == 0 and "Usage" in result.stdout


def test_every_option_says_what_it_is():
    commands = typer.main.get_command(app).commands
    assert {name for name, command in commands.items() if not command.help} == set()
    silent = {(name, p.name) for name, command in commands.items() for p in command.params if not p.help}
    assert silent == set()


def test_models_lists_every_name():
    lines = invoke("models").stdout.splitlines()
    assert [line.split()[0] for line in lines] == zoo.names()
    assert {"bicubic", "vdsr"} <= set(zoo.names())


def test_module_and_script_are_the_same_command():
    done = dfkd_process("--version")
    assert (done.returncode, done.stdout) == (0, f"dfkd {dfkd.__version__}\n")
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="dfkd")
    assert script.load() is main


# ---- evaluate --------------------------------------------------------------------------------------------------------


def _need(data_dir: Path, dataset: str, *names: str) -> None:
    for name in [*benchmark_files(dataset, 2), *names]:
        if not (data_dir / name).is_file():
            pytest.skip(f"DFKD_DATA_DIR ({data_dir}) lacks {name}")


def _scores(model, dataset, *options) -> list[dict]:
    result = invoke("evaluate", model, "--dataset", dataset, "--json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _agrees(scores, table, dataset, images):
    assert [(s["dataset"], s["scale"]) for s in scores] == [key for key in table if key[0] == dataset]
    for s in scores:
        assert set(s) == {"model", "dataset", "scale", "psnr", "ssim", "images"} and s["images"] == images
        psnr, ssim = table[dataset, s["scale"]]
        assert s["psnr"] == pytest.approx(psnr, abs=0.01) and s["ssim"] == pytest.approx(ssim, abs=0.0005)


@pytest.mark.data
@pytest.mark.parametrize("dataset, images", [("Set5", 5), ("Set14", 14)])
def test_bicubic_scores_what_it_should(dataset, images, data_dir):
    _need(data_dir, dataset)
    _agrees(_scores("bicubic", dataset), BICUBIC, dataset, images)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("dataset, images", [("Set5", 5), ("Set14", 14)])
def test_public_teacher_scores_what_it_should(dataset, images, data_dir):
    _need(data_dir, dataset, "checkpoints/pytorch-vdsr-model_epoch_50.pth")
    _agrees(_scores("vdsr", dataset), VDSR_TEACHER, dataset, images)


@pytest.mark.data
def test_scores_of_a_run_are_kept_in_its_record(data_dir, tmp_path):
    _need(data_dir, "Set5")
    dfkd.save_model(tmp_path / "student.safetensors", VDSR(4, 1))
    records.write_json(tmp_path / "record.json", {"steps": 3})
    first = _scores(tmp_path, "Set5", "--scale", 4)
    second = _scores(tmp_path, "Set5", "--scale", 3)
    again = _scores(tmp_path, "Set5", "--scale", 4)
    public = [{**score, "model": tmp_path.name} for score in second + again]  # without the folders of this machine
    assert records.read_json(tmp_path / "record.json") == {"steps": 3, "scores": public}
    assert again == first and first[0]["model"] == str(tmp_path)


@pytest.fixture
def scored(monkeypatch) -> list:
    """The networks that were scored, each with the same score: no picture is needed."""
    networks: list = []

    def score(network, name, scale, model):
        networks.append(network)
        return dfkd.Score(model, name, scale, 30.0, 0.9, 5)

    monkeypatch.setattr("dfkd.cli.score", score)
    return networks


@pytest.fixture
def namesake(teacher, tmp_path, monkeypatch) -> Path:
    """A run in the working directory, in a folder with the name of a packaged network."""
    monkeypatch.chdir(tmp_path)
    result = invoke(*tiny(teacher, "bicubic", "--steps", 2))
    assert result.exit_code == 0 and "measure it with: dfkd evaluate ./bicubic --dataset Set5" in result.output
    return tmp_path / "bicubic"


def test_name_of_a_packaged_network_leaves_a_run_of_that_name_alone(namesake, scored):
    before = (namesake / "record.json").read_bytes()
    assert invoke("evaluate", "bicubic", "--scale", 2).exit_code == 0
    assert isinstance(scored[0], zoo.Bicubic) and (namesake / "record.json").read_bytes() == before


def test_run_with_the_name_of_a_packaged_network_is_meant_by_its_path(namesake, scored):
    assert invoke("evaluate", "./bicubic", "--scale", 2).exit_code == 0
    (noted,) = records.read_json(namesake / "record.json")["scores"]
    assert scored[0].spec() == {"width": 4, "blocks": 3} and noted["model"] == "./bicubic"


def test_table_for_people(scored):
    lines = invoke("evaluate", "bicubic", "--dataset", "Set5", "--dataset", "Urban100").stdout.splitlines()
    assert [line.split()[1:3] for line in lines[1:]] == [
        ["Set5", "x2"], ["Set5", "x3"], ["Set5", "x4"], ["Urban100", "x2"], ["Urban100", "x4"]
    ]  # fmt: skip
    assert len({len(line) for line in lines}) == 1 and "30.000" in lines[1]


def test_misspelt_data_set_costs_no_time(monkeypatch):
    monkeypatch.setattr("dfkd.cli.score", lambda *_: pytest.fail("began before all names were known to be right"))
    assert "Sett14" in str(invoke("evaluate", "bicubic", "--dataset", "Set5", "--dataset", "Sett14").exception)
    assert "Urban100 3" in str(invoke("evaluate", "bicubic", "--dataset", "Urban100", "--scale", "3").exception)


# ---- upscale ---------------------------------------------------------------------------------------------------------


def _photo(*shape: int) -> np.ndarray:
    """Something with edges, gradients and noise."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[: shape[0], : shape[1]]
    base = 128 + 60 * np.sin(x / 5) * np.cos(y / 7) + 40 * (x + y > shape[0])
    pixels = base[..., None] + rng.normal(0, 12, (*shape[:2], shape[2]))
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_upscale_photos_of_every_kind(channels, suffix, tmp_path, teacher):
    pixels = _photo(37, 50, channels)
    Image.fromarray(pixels.squeeze()).save(tmp_path / "in.png")
    result = invoke("upscale", tmp_path / "in.png", tmp_path / f"out{suffix}", "--model", teacher, "--scale", 3)
    assert result.exit_code == 0 and "50x37 -> 150x111" in result.stdout
    out = read_image(tmp_path / f"out{suffix}", alpha=True)
    assert out.shape[-2:] == (111, 150) and (suffix == ".webp" or out.shape[1] == channels)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.png", f"out{suffix}", "teacher.safetensors"]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_tiles_leave_no_seam(channels, scale):
    torch.manual_seed(1)
    model = VDSR(6, 18).eval()
    with torch.no_grad():
        model.tail.weight.mul_(20)  # a correction one would see
    image = torch.from_numpy(_photo(90, 71, channels)).permute(2, 0, 1)[None] / 255
    whole = dfkd.upscale(model, image, scale, tile=1000)
    tiled = dfkd.upscale(model, image, scale, tile=32)
    assert whole.shape == (1, channels, 90 * scale, 71 * scale)
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)
    assert (dfkd.upscale(zoo.Bicubic(), image, scale) - whole).abs().max() > 0.05


def test_network_sees_no_more_than_a_tile():
    class Spy(zoo.Bicubic):
        def forward(self, lr, scale):
            sizes.append(max(lr.shape[-2:]))
            return super().forward(lr, scale)

    sizes = []
    image = torch.rand(1, 3, 300, 210)
    dfkd.upscale(Spy(), image, 2, tile=64, margin=16)
    assert len(sizes) == 5 * 4 and max(sizes) <= 64 + 2 * 16


def test_grey_photo_is_the_colour_photo_of_equal_colours():
    model = VDSR(6, 3).eval()
    grey = torch.rand(1, 1, 20, 24)
    colour = dfkd.upscale(model, grey.expand(-1, 3, -1, -1), 2)
    torch.testing.assert_close(dfkd.upscale(model, grey, 2).expand(-1, 3, -1, -1), colour, atol=1e-5, rtol=0)


def test_colour_goes_through_bicubically():
    image = torch.rand(1, 3, 12, 12) * 0.5 + 0.25
    out = dfkd.upscale(zoo.Bicubic(), image, 2)
    torch.testing.assert_close(out, dfkd.imresize(image, 2).clamp(0, 1), atol=1e-5, rtol=0)


def test_upscale_failures_come_before_the_work(tmp_path, monkeypatch):
    Image.fromarray(_photo(20, 20, 3)).save(tmp_path / "in.png")
    monkeypatch.setattr("dfkd.cli.upscale_image", lambda *_, **__: pytest.fail("began to work"))
    for out in ("out", "out.xyz"):
        assert isinstance(
            invoke("upscale", tmp_path / "in.png", tmp_path / out, "--model", "bicubic").exception, ImageError
        )
    for source in ("gone.png", ""):
        result = invoke("upscale", tmp_path / source, tmp_path / "out.png", "--model", "bicubic")
        assert isinstance(result.exception, ImageError)
    assert invoke("upscale", tmp_path / "in.png", tmp_path / "o.png", "--scale", "9").exit_code == 2


def test_upscale_over_a_full_disk_leaves_the_old_picture(tmp_path, monkeypatch):
    Image.fromarray(_photo(20, 20, 3)).save(tmp_path / "in.png")
    (tmp_path / "out.png").write_text("old")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    result = invoke("upscale", tmp_path / "in.png", tmp_path / "out.png", "--model", "bicubic", "--overwrite")
    assert isinstance(result.exception, ImageError) and "No space left" in str(result.exception)
    assert (tmp_path / "out.png").read_text() == "old" and len(list(tmp_path.iterdir())) == 2


def test_upscale_of_folders_skips_what_it_cannot_read_and_says_so(tmp_path):
    (tmp_path / "album").mkdir()
    for name in ("a.png", "b.jpg", "c.tif"):
        Image.fromarray(_photo(20, 24, 3)).save(tmp_path / "album" / name)
    (tmp_path / "album" / "broken.png").write_bytes(b"\x89PNG but no more")
    (tmp_path / "album" / "notes.txt").write_text("no picture")
    Image.fromarray(_photo(20, 24, 3)).save(tmp_path / "one.webp")
    out = tmp_path / "large"
    command = ("upscale", tmp_path / "album", tmp_path / "one.webp", out, "--model", "bicubic")
    result = invoke(*command)
    assert result.exit_code == 1 and "left out" in result.stderr and "broken.png" in result.stderr
    assert sorted(p.name for p in out.iterdir()) == ["a.png", "b.jpg", "c.tif", "one.webp"]
    assert all(Image.open(p).size == (48, 40) for p in out.iterdir())
    before = {p: p.read_bytes() for p in out.iterdir()}
    (out / "b.jpg").unlink()
    again = invoke(*command)  # only what is missing is made again, and nothing is replaced unasked
    assert again.exit_code == 1 and again.stdout.count("->") == 1 and "a.png is there already" in again.stderr
    assert all(p.read_bytes() == content for p, content in before.items())


def test_upscale_of_a_folder_skips_what_its_format_cannot_hold(tmp_path):
    (tmp_path / "album").mkdir()
    Image.fromarray(_photo(20, 24, 4)).save(tmp_path / "album" / "a.jpg", format="PNG")  # transparent, by a wrong name
    Image.new("L", (33_000, 2)).save(tmp_path / "album" / "b.jpg")  # a JPEG has 65,500 columns at most,
    Image.new("L", (8_200, 2)).save(tmp_path / "album" / "c.webp")  # and a WebP 16,383
    Image.fromarray(_photo(20, 24, 3)).save(tmp_path / "album" / "d.png")
    result = invoke("upscale", tmp_path / "album", tmp_path / "out", "--model", "bicubic")
    assert result.exit_code == 1 and [p.name for p in (tmp_path / "out").iterdir()] == ["d.png"]
    assert result.stderr.count("left out") == 3 and "JPEG has no transparency" in result.stderr
    assert "exceeds WebP limit of 16383 pixels" in result.stderr
    alone = invoke("upscale", tmp_path / "album" / "a.jpg", tmp_path / "out.jpg", "--model", "bicubic")
    assert isinstance(alone.exception, ImageError) and "JPEG has no transparency" in str(alone.exception)


def test_upscale_of_a_folder_ends_with_the_disk(tmp_path, monkeypatch):
    (tmp_path / "album").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(_photo(20, 24, 3)).save(tmp_path / "album" / name)
    tried = []

    def full(*_, **__):
        tried.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    result = invoke("upscale", tmp_path / "album", tmp_path / "out", "--model", "bicubic")
    assert isinstance(result.exception, DiskError) and "No space left" in str(result.exception) and len(tried) == 1


def test_upscale_leaves_out_pictures_above_a_limit_that_can_be_raised(tmp_path):
    (tmp_path / "album").mkdir()
    Image.fromarray(_photo(20, 24, 3)).save(tmp_path / "album" / "small.png")
    Image.fromarray(_photo(40, 60, 3)).save(tmp_path / "album" / "large.png")
    command = ("upscale", tmp_path / "album", tmp_path / "out", "--model", "bicubic", "--overwrite", "--max-pixels")
    result = invoke(*command, 500)
    assert result.exit_code == 1 and "large.png is above the limit of 500 pixels" in result.stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["small.png"]
    assert invoke(*command, 2400).exit_code == 0 and Image.open(tmp_path / "out" / "large.png").size == (120, 80)


def test_upscale_never_replaces_unasked(tmp_path):
    Image.fromarray(_photo(20, 24, 3)).save(tmp_path / "in.png")
    (tmp_path / "out.png").write_text("mine")
    command = ("upscale", tmp_path / "in.png", tmp_path / "out.png", "--model", "bicubic")
    refused = invoke(*command)
    assert isinstance(refused.exception, ImageError) and "--overwrite" in str(refused.exception)
    assert (tmp_path / "out.png").read_text() == "mine"
    assert invoke(*command, "--overwrite").exit_code == 0 and Image.open(tmp_path / "out.png").size == (48, 40)
    itself = invoke("upscale", tmp_path / "in.png", tmp_path, "--model", "bicubic", "--overwrite")
    assert "would replace the picture it is made from" in str(itself.exception)


def test_upscale_of_two_pictures_of_one_name_is_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.fromarray(_photo(20, 24, 3)).save(tmp_path / folder / "x.png")
    result = invoke("upscale", tmp_path / "a", tmp_path / "b", tmp_path / "out", "--model", "bicubic")
    assert "several pictures would become" in str(result.exception) and not (tmp_path / "out").exists()
    (tmp_path / "empty").mkdir()
    assert "no pictures" in str(invoke("upscale", tmp_path / "empty", tmp_path / "out").exception)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_upscale_keeps_what_the_file_says_beside_its_pixels(suffix, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # a quarter turn: it is applied, and must not be applied again
    exif[ExifTags.Base.Artist] = "somebody"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] = 24
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(_photo(20, 24, 3)).save(tmp_path / f"in{suffix}", exif=exif, icc_profile=profile)
    result = invoke("upscale", tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", "--model", "bicubic")
    assert result.exit_code == 0, result.output
    out = Image.open(tmp_path / f"out{suffix}")
    notes = out.getexif()
    assert out.size == (40, 48) and notes.get(ExifTags.Base.Orientation, 1) == 1
    assert notes[ExifTags.Base.Artist] == "somebody" and out.info["icc_profile"] == profile
    if suffix != ".tif":  # whose own tags say the size
        assert notes.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] == 40


def test_upscale_keeps_sixteen_bits_of_grey(tmp_path):
    ramp = np.linspace(20_000, 21_000, 24 * 20).reshape(20, 24).astype(np.uint16)  # four grey levels of eight bits
    Image.fromarray(ramp).save(tmp_path / "in.png")
    assert invoke("upscale", tmp_path / "in.png", tmp_path / "out.png", "--model", "bicubic").exit_code == 0
    out = np.asarray(Image.open(tmp_path / "out.png")).astype(int)
    assert out.shape == (40, 48) and len(np.unique(out)) > 500 and abs(out.mean() - 20_500) < 20
    assert invoke("upscale", tmp_path / "in.png", tmp_path / "out.jpg", "--model", "bicubic").exit_code == 0
    assert Image.open(tmp_path / "out.jpg").mode == "L"


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_distill_writes_a_run_folder(teacher, tmp_path):
    out = tmp_path / "run"
    result = invoke(*tiny(teacher, out, "--steps", 8, method="cmi"))
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in out.iterdir()) == [
        "checkpoint.pt", "config.json", "curves.csv", "record.json", "student.safetensors"
    ]  # fmt: skip
    config, record = (records.read_json(out / name) for name in ("config.json", "record.json"))
    assert config["kind"] == "distill" and config["config"]["method"] == "cmi" and config["config"]["scales"] == [2, 3]
    assert (config["width"], config["config"]["blocks"]) == (4, 3)  # half as wide as its teacher, as deep
    weights, description = read_weights(out / "student.safetensors")
    assert record["weights_sha256"] == fingerprint(weights) and record["steps"] == 8
    assert record["parameters"] == sum(w.numel() for w in weights.values()) and record["images_seen"] == 16
    assert description["role"] == "student" and dfkd.load_student(out).spec() == {"width": 4, "blocks": 3}
    assert record["at_end"]["movement"]["generator"] > 0 and f"{out}" in result.stdout
    with open(out / "curves.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 4, 6, 8]
    assert all(np.isfinite(float(row[name])) for row in rows for name in ("distillation", "generation.total"))


def test_student_shape_can_be_chosen(teacher, tmp_path):
    for shape, spec in {
        ("--width", 5): (5, 3), ("--blocks", 2): (4, 2), ("--width", 3, "--blocks", 1): (3, 1),
        ("--student", "vdsr-small-half"): (16, 8), ("--student", "vdsr-small-half", "--blocks", 2): (16, 2),
    }.items():  # fmt: skip
        out = tmp_path / "-".join(map(str, shape))
        assert invoke(*tiny(teacher, out, "--steps", 2, *shape)).exit_code == 0
        assert tuple(dfkd.load_student(out).spec().values()) == spec


def test_student_can_be_of_another_architecture(teacher, tmp_path):
    out = tmp_path / "edsr"
    assert invoke(*tiny(teacher, out, "--steps", 2, "--student", "edsr:5x2/3")).exit_code == 0
    assert dfkd.load_student(out).spec() == {"width": 5, "blocks": 2, "scales": [2, 3], "inner": 3}
    record = records.read_json(out / "record.json")
    assert (record["architecture"], record["width"], record["inner"]) == ("edsr", 5, 3) and "EDSR" in record["summary"]
    assert invoke("verify", out).exit_code == 0


@pytest.mark.parametrize("word", ["edsr", "edsr:5", "rcan:5x2", "vdsr:5x2/3", "edsr:0x2", "edsr:5x2/"])
def test_misspelt_student_is_told_how(word, teacher, tmp_path):
    result = invoke(*tiny(teacher, tmp_path / "run", "--student", word))
    assert isinstance(result.exception, DfkdError) and "edsr:64x8/16" in str(result.exception)


def test_edsr_is_cut_out_of_an_edsr_and_resumed(tmp_path):
    torch.manual_seed(0)
    dfkd.save_model(tmp_path / "t.safetensors", EDSR(6, 2), role="teacher")
    out = tmp_path / "run"
    command = tiny(tmp_path / "t.safetensors", out, "--steps", 2, "--student", "edsr:6x2/3", "--init", "teacher",
                   method="dead-leaves")  # fmt: skip
    result = invoke(*command)
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert dfkd.load_student(out).spec() == {"width": 6, "blocks": 2, "scales": [2, 3], "inner": 3}
    assert runs.open_run(out).job.build(resuming=True).student.spec() == dfkd.load_student(out).spec()


def test_train_teacher_and_distil_from_its_folder(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(2):
        Image.fromarray(_photo(40, 50 + number, 3)).save(photos / f"{number}.png")
    Image.fromarray(_photo(10, 10, 3)).save(photos / "too_small.png")
    out = tmp_path / "teacher"
    result = invoke(
        "train-teacher", "--images", photos, "--out", out, "--width", 4, "--blocks", 3, "--steps", 3, "--patch", 24,
        "--batch", 2,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert records.read_json(out / "record.json")["steps"] == 3
    assert dfkd.load_teacher(out).spec() == {"width": 4, "blocks": 3}
    assert invoke(*tiny(out, tmp_path / "run", "--steps", 2, "--images", photos, method="real")).exit_code == 0
    again = invoke("distill", "--resume", out)  # the folder knows what it holds, whichever command goes on with it
    assert again.exit_code == 0 and not (out / "student.safetensors").exists()


def test_a_finished_run_keeps_its_record(teacher, tmp_path):
    """Also the scores that were added to it, when somebody resumes it."""
    assert invoke(*tiny(teacher, tmp_path / "run", "--steps", 2)).exit_code == 0
    file = tmp_path / "run" / "record.json"
    records.write_json(file, {**records.read_json(file), "scores": [{"psnr": 30.0}]})
    before = file.read_bytes()
    assert invoke("distill", "--resume", tmp_path / "run").exit_code == 0
    assert file.read_bytes() == before


def test_pictures_smaller_than_a_patch_are_not_enough(tmp_path):
    Image.fromarray(_photo(20, 20, 3)).save(tmp_path / "p.png")
    result = invoke("train-teacher", "--images", tmp_path, "--out", tmp_path / "run", "--steps", 1, "--patch", 24)
    assert isinstance(result.exception, TrainingError) and "smaller than a patch of 24x24" in str(result.exception)


def test_pictures_are_for_the_method_real(teacher, tmp_path):
    result = invoke(*tiny(teacher, tmp_path / "run", "--images", tmp_path))
    assert "must not see" in str(result.exception) and not (tmp_path / "run").exists()


def test_run_goes_on_where_it_began(teacher, tmp_path):
    folder = tmp_path / "run"
    assert invoke(*tiny(teacher, folder, "--steps", 2)).exit_code == 0
    header = records.read_json(folder / "config.json")
    assert header["device"] == "cpu"
    records.write_json(folder / "config.json", {**header, "device": "nowhere"})
    assert "no device 'nowhere'" in str(invoke("distill", "--resume", folder).exception)
    assert invoke("distill", "--resume", folder, "--device", "cpu").exit_code == 0


def test_existing_run_is_not_written_over(teacher, tmp_path):
    arguments = tiny(teacher, tmp_path / "run", "--steps", 2)
    assert invoke(*arguments).exit_code == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()}
    result = invoke(*arguments)
    assert isinstance(result.exception, TrainingError) and "--resume" in str(result.exception)
    assert {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize("method, parts", [("cmi", 1), ("dfsr", 2)])
def test_killed_run_goes_on_to_the_same_bits(method, parts, teacher, tmp_path):
    """kill -9 in the middle, then --resume: the weights of a run that was left alone."""
    options = ["--steps", 80, "--parts", parts, "--save-every", 0, "--replay", 0.5]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = dfkd_process(*tiny(teacher, whole, *options, method=method))
    assert done.returncode == 0, done.stderr
    arguments = [sys.executable, "-m", "dfkd", *map(str, tiny(teacher, cut, *options, method=method))]
    process = subprocess.Popen(arguments, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 600
        while not (cut / "curves.csv").exists() or len((cut / "curves.csv").read_text().splitlines()) < 12:
            assert process.poll() is None and time.monotonic() < deadline, "ended before it could be killed"
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (cut / "record.json").exists(), "finished before it was killed"
    half = len((cut / "curves.csv").read_text().splitlines())
    done = dfkd_process("distill", "--resume", cut, "--save-every", 0)
    assert done.returncode == 0, done.stderr
    ours, theirs = (records.read_json(folder / "record.json") for folder in (cut, whole))
    assert half < 41 and (ours["resumed"], theirs["resumed"]) == (1, 0)
    assert ours["weights_sha256"] == theirs["weights_sha256"] and ours["at_end"] == theirs["at_end"]
    assert (cut / "curves.csv").read_bytes() == (whole / "curves.csv").read_bytes()
    assert [p.name for p in cut.iterdir() if p.name.startswith(".")] == []


def test_interrupted_run_says_how_to_go_on(teacher, tmp_path):
    out = tmp_path / "run"
    arguments = tiny(teacher, out, "--steps", 100_000, "--save-every", 0)
    command = [sys.executable, "-m", "dfkd", *map(str, arguments)]
    # What a shell starts in the background ignores Ctrl-C, and so would its children.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    deadline = time.monotonic() + 600
    while not (out / "curves.csv").exists():
        assert process.poll() is None and time.monotonic() < deadline, "ended before it could be interrupted"
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip().splitlines()[-1] == f"dfkd: stopped; go on with: dfkd distill --resume {out}"


def test_run_killed_before_its_first_checkpoint_starts_anew(teacher, tmp_path):
    for name in ("whole", "cut"):
        assert invoke(*tiny(teacher, tmp_path / name, "--steps", 4, method="dfsr")).exit_code == 0
    for path in (tmp_path / "cut").iterdir():
        if path.name != "config.json":
            path.unlink()
    assert invoke("distill", "--resume", tmp_path / "cut").exit_code == 0
    hashes = {records.read_json(tmp_path / name / "record.json")["weights_sha256"] for name in ("whole", "cut")}
    assert len(hashes) == 1


def test_resume_refuses_what_is_no_run_or_another_one(teacher, tmp_path):
    assert "holds no run" in str(invoke("distill", "--resume", tmp_path).exception)
    for name, blocks in (("a", 2), ("b", 3)):
        arguments = tiny(teacher, tmp_path / name, "--steps", 2, "--blocks", blocks)
        assert invoke(*arguments).exit_code == 0
    (tmp_path / "a" / "checkpoint.pt").write_bytes((tmp_path / "b" / "checkpoint.pt").read_bytes())
    result = invoke("distill", "--resume", tmp_path / "a")
    assert isinstance(result.exception, CheckpointError) and "does not belong" in str(result.exception)
    torch.save({"a": 1}, tmp_path / "a" / "checkpoint.pt")
    assert isinstance(invoke("distill", "--resume", tmp_path / "a").exception, CheckpointError)
    for text in ("{", "{}", "[1]", '{"kind": "distill"}', '{"kind": "distill", "config": {"a": 1}}', '"x"'):
        (tmp_path / "b" / "config.json").write_text(text)
        error = invoke("distill", "--resume", tmp_path / "b").exception
        assert isinstance(error, DfkdError) and "\n" not in str(error), text


@pytest.mark.parametrize("typed", ["--steps 8", "--start vdsr-half-best", "--teacher vdsr-small", "--w-recon 3"])
def test_resume_refuses_settings_that_it_would_not_heed(typed, teacher, tmp_path):
    assert invoke(*tiny(teacher, tmp_path / "run", "--steps", 2)).exit_code == 0
    result = invoke("distill", "--resume", tmp_path / "run", *typed.split())
    name = typed.split()[0].removeprefix("--").replace("-", "_")
    assert f"leave out {name}; to train a finished student on" in str(result.exception)
    assert isinstance(invoke("train-teacher", "--resume", tmp_path, "--steps", 8).exception, TrainingError)


@pytest.mark.parametrize("typed, kind", [((), "cuda"), (("--device", "cpu"), "cpu")])
def test_resume_starts_the_processes_on_the_kind_of_device_it_began_on(typed, kind, teacher, tmp_path, monkeypatch):
    assert invoke(*tiny(teacher, tmp_path / "run", "--steps", 2)).exit_code == 0
    described = records.read_json(tmp_path / "run" / "config.json")
    records.write_json(tmp_path / "run" / "config.json", described | {"processes": 2, "device": "cuda:0"})
    launched = []

    def note(*arguments):
        launched.append(arguments)
        raise typer.Exit

    monkeypatch.setattr("dfkd.cli.launch", note)
    invoke("distill", "--resume", tmp_path / "run", *typed)
    assert launched == [(2, 1, kind)]


def test_unknown_log_is_refused_before_a_folder_is_made(teacher, tmp_path):
    result = invoke(*tiny(teacher, tmp_path / "run", "--steps", 2, "--log", "wandb"))
    assert "unknown log 'wandb'" in str(result.exception) and not (tmp_path / "run").exists()


def test_full_disk_during_a_run_is_one_line_and_keeps_the_last_checkpoint(teacher, tmp_path, monkeypatch):
    out = tmp_path / "run"
    replace, count = os.replace, []

    def full(source, target):
        count.append(target)
        if len(count) > 5:  # config, then checkpoint and curves twice
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    result = invoke(*tiny(teacher, out, "--steps", 20, "--save-every", 0))
    assert isinstance(result.exception, CheckpointError) and "No space left" in str(result.exception)
    monkeypatch.undo()
    assert not [p for p in out.iterdir() if p.name.startswith(".")]
    assert invoke("distill", "--resume", out).exit_code == 0


# ---- options and settings --------------------------------------------------------------------------------------------

# What to type for each setting, and what becomes of it: another value than the default.
TYPED = {
    "scales": ("--scale 2 --scale 4", [2, 4]), "steps": ("--steps 7", 7), "batch": ("--batch 3", 3),
    "patch": ("--patch 96", 96), "imitation_steps": ("--imitation-steps 5", 5), "parts": ("--parts 2", 2),
    "blocks": ("--blocks 2", 2), "init": ("--init identity", "identity"), "optim": ("--optim paper", "paper"),
    "lr": ("--lr 3e-4", 3e-4), "warm_up": ("--warm-up 0.5", 0.5), "clip": ("--clip 0.7", 0.7),
    "average": ("--average 0.3", 0.3), "reuse": ("--reuse 4", 4), "dead_leaves": ("--dead-leaves 0.5", 0.5),
    "squared": ("--squared 0.3", 0.3), "precision": ("--precision bfloat16", "bfloat16"), "seed": ("--seed 5", 5),
    "side": ("--side 256", 256), "pool": ("--pool 3", 3), "renew": ("--renew 4", 4), "textured": ("--textured 1", 1.0),
    "generation_steps": ("--generation-steps 3", 3), "generator_lr": ("--generator-lr 0", 0.0),
    "z_lr": ("--z-lr 0.5", 0.5), "optimise_z": ("--no-optimise-z", False), "w_adversarial": ("--w-adversarial 0", 0.0),
    "w_recon": ("--w-recon 0", 0.0), "bank": ("--bank 9", 9), "replay": ("--replay 0.5", 0.5),
    "w_contrast": ("--w-contrast 1", 1.0), "temperature": ("--temperature 0.5", 0.5),
    "denominator": ("--denominator all", "all"), "negatives": ("--negatives 7", 7),
    "exposure": ("--exposure 0.2 --exposure 0.8", [0.2, 0.8]), "adversary": ("--adversary relative", "relative"),
    "stretch": ("--stretch 8", 8.0), "reconstruction": ("--reconstruction squared", "squared"),
    "anneal": ("--anneal", True),
    "layers": ("--layer body.0 --layer body.1", ["body.0", "body.1"]),
}  # fmt: skip
LOOP = [("noise", name) for name in sorted(names_of(Config) - {"source"})]
TAKEN_BACK = {"adversary": ("--adversary absolute", "absolute"), "anneal": ("--no-anneal", False)}  # of 'dfsr+', 'cmi+'
OF_METHODS = [(method, name) for method, kind in METHODS.items() for name in sorted(names_of(kind))]


@pytest.mark.parametrize("method, name", LOOP + OF_METHODS)
def test_setting_has_an_option_and_its_value_reaches_the_run(method, name, teacher, tmp_path, monkeypatch):
    monkeypatch.setattr("dfkd.cli._finish", lambda *_: None)  # it is started, not carried out,
    monkeypatch.setattr(dfkd.Distillation, "notes", lambda self: {})  # and not looked at
    typed, value = (TYPED | (TAKEN_BACK | {"w_contrast": ("--w-contrast 3", 3.0)} if "+" in method else {}))[name]
    out = ("--out", tmp_path / "run")
    result = invoke("distill", "--teacher", teacher, "--method", method, *out, *typed.split())
    assert result.exit_code == 0, result.output
    written = records.read_json(tmp_path / "run" / "config.json")["config"]
    default = configure(method, blocks=3).to_dict()  # as deep as its teacher
    assert written == default | {name: value} != default


def test_help_of_distill_shows_every_setting():
    shown = CliRunner(env={"COLUMNS": "300"}).invoke(app, ["distill", "--help"]).output.split()
    assert {name: typed for name, (typed, _) in TYPED.items() if typed.split()[0] not in shown} == {}


def test_help_of_a_setting_says_which_methods_use_it():
    options = {option.name: option.help for option in typer.main.get_command(app).commands["distill"].params}
    assert options["w_recon"].endswith(" For dfsr, cmi, dfsr+, cmi+.")
    assert options["negatives"].endswith(" For cmi, cmi+.")
    assert options["exposure"].endswith(" For untrained, dfsr, cmi, dfsr+ (0.1 1.0), cmi+ (0.1 1.0).")
    assert options["side"].endswith(" For dead-leaves.") and " For " not in options["clip"]


@pytest.mark.parametrize(
    "method, name", [("dfsr", "negatives"), *(("noise", name) for name in sorted({name for _, name in OF_METHODS}))]
)
def test_setting_of_another_method_is_refused(method, name, teacher, asked):
    result = invoke("distill", "--teacher", teacher, "--method", method, *TYPED[name][0].split())
    assert isinstance(result.exception, TrainingError) and asked == []
    assert f"method {method!r} does not use {name} (of " in str(result.exception)


@pytest.mark.parametrize("found", ["float32", "bfloat16"])
def test_precision_is_what_the_processor_is_fast_in_unless_one_is_asked_for(found, monkeypatch, asked):
    monkeypatch.setattr("dfkd.cli.preferred", lambda device: (found, f"instructions of {device}"))
    result = invoke("distill", "--teacher", "vdsr-small")
    assert asked.pop().config.precision == found
    assert f"computing in {found} (instructions of cpu); --precision" in result.stderr
    assert invoke("distill", "--teacher", "vdsr-small", "--precision", "float32").stderr == ""
    assert asked.pop().config.precision == "float32"


def test_teachers_setting_has_an_option_and_its_value_reaches_the_run(asked):
    typed = "--width 5 --blocks 2 --scale 2 --scale 4 --steps 7 --batch 3 --patch 96 --lr 3e-4 --warm-up 0.5".split()  # noqa: SIM905
    result = invoke("train-teacher", *typed, "--clip", 0.7, "--average", 0.3, "--seed", 5, "--device", "cpu:0")
    assert result.exit_code == 0, result.output
    assert asked[0].config == TeacherSettings(5, 2, (2, 4), 7, 3, 96, 3e-4, 0.5, 0.7, 0.3, 5)
    assert asked[0].device == "cpu:0"


@pytest.mark.parametrize("command", ["distill", "train-teacher"])
def test_without_options_the_settings_are_the_defaults(command, asked):
    extra = ("--teacher", "vdsr-small") if command == "distill" else ()
    assert invoke(command, *extra).exit_code == 0
    assert asked[0].config == (configure(blocks=8) if command == "distill" else TeacherSettings())


@pytest.mark.parametrize("row", scoreboard.ROWS)
def test_row_of_the_scoreboard_can_be_typed(row, asked):
    settings = scoreboard.BUDGET | scoreboard.ROWS[row]
    typed = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", value)]
    result = invoke("distill", "--teacher", scoreboard.TEACHER, "--width", scoreboard.WIDTH, *typed)
    assert result.exit_code == 0, result.output
    assert asked[0].config == configure(**settings)
    assert (asked[0].teacher, asked[0].width) == (scoreboard.TEACHER, scoreboard.WIDTH)


def test_minutes_become_as_many_steps_as_should_fit(teacher, tmp_path, asked, monkeypatch):
    monkeypatch.setattr(runs, "measure_speed", lambda job: (2.5, 2.0))
    result = invoke(*tiny(teacher, tmp_path / "run", "--minutes", 0.1))
    assert result.exit_code == 0 and "10 steps in 0.1 minutes" in result.stderr  # of six seconds two go into the start
    assert asked[0].config.steps == 10


def test_several_pictures_do_not_go_into_a_file(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "there").write_text("a file")
    result = invoke("upscale", tmp_path / "a.png", tmp_path / "b.png", tmp_path / "there", "--model", "bicubic")
    assert "there names one file" in str(result.exception) and (tmp_path / "there").read_text() == "a file"


@pytest.mark.parametrize("minutes", ["inf", "1e300", "0"])
def test_minutes_have_an_end(teacher, tmp_path, minutes):
    for command in (tiny(teacher, tmp_path / "run", "--minutes", minutes), ("bench", "--minutes", minutes)):
        result = invoke(*command)
        assert result.exit_code == 2 and "--minutes" in result.output


def test_a_run_refuses_its_folder_before_it_is_timed(teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "measure_speed", lambda job: pytest.fail("timed"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text("{}")
    result = invoke(*tiny(teacher, tmp_path / "run", "--minutes", 1))
    assert "holds a run already" in str(result.exception)


def test_commands_to_go_on_with_can_be_pasted(teacher, tmp_path):
    folder = tmp_path / "a run"
    result = invoke(*tiny(teacher, folder, "--steps", 2))
    assert f"dfkd evaluate '{folder}' --dataset Set5" in result.output
    assert f"--resume '{folder}'" in str(invoke(*tiny(teacher, folder, "--steps", 2)).exception)


def test_a_run_that_goes_on_stays_where_it_is(teacher, tmp_path):
    invoke(*tiny(teacher, tmp_path / "run", "--steps", 2))
    result = invoke("distill", "--resume", tmp_path / "run", "--out", tmp_path / "other")
    assert "leave out out" in str(result.exception)


def test_what_is_said_of_files_read_is_said_of_data_free_runs_alone(teacher, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(256, size=(40, 40), dtype=np.uint8)).save(pictures / "a.png")
    invoke(*tiny(teacher, tmp_path / "run", "--steps", 2, "--images", pictures, method="real"))
    result = invoke("verify", tmp_path / "run", "--rounds", 1)
    assert result.exit_code == 0 and "no file was read" not in result.output


def test_a_damaged_checkpoint_is_to_be_deleted_and_locks_nobody_out(teacher, tmp_path):
    invoke(*tiny(teacher, tmp_path / "run", "--steps", 2))
    whole = (tmp_path / "run/checkpoint.pt").read_bytes()
    (tmp_path / "run/checkpoint.pt").write_bytes(whole[:3000])
    assert "delete it to start that run anew" in str(invoke("distill", "--resume", tmp_path / "run").exception)
    assert not (tmp_path / "run/.lock").exists()


# ---- how it fails ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error, code, words",
    [(TrainingError("a\nb"), 2, r"dfkd: a\nb"), (Unconfirmed("no"), 1, "dfkd: no"),
     (PermissionError(13, "Permission denied", "x"), 2, "dfkd: [Errno 13] Permission denied: 'x'"),
     (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), 2, "not enough memory"),
     (MemoryError(), 2, "not enough memory"), (typer.Abort(), 130, "")],
)  # fmt: skip
def test_what_stops_a_command_decides_its_exit_code(error, code, words, monkeypatch, capsys):
    def stop(*_, **__):
        raise error

    monkeypatch.setattr("dfkd.cli.app", stop)
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == code and words in said and said.count("\n") == (1 if words else 0)


@pytest.mark.parametrize("rank, said", [("0", 1), ("1", 0)])
def test_what_all_processes_of_a_run_meet_is_said_once(rank, said, monkeypatch, capsys):
    """Before they have met, and whether or not the command has come as far as to launch them."""
    monkeypatch.setattr(spreading, "_asked", {"processes": 1})
    monkeypatch.setenv("RANK", rank)
    for options in ("--teacher gone.safetensors --devices 4", "--teacher vdsr-small --devices 99999 --nodes 2"):
        monkeypatch.setattr(sys, "argv", ["dfkd", "distill", *options.split()])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2 and capsys.readouterr().err.count("dfkd: ") == said


@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID", "LOCAL_RANK"])
@pytest.mark.parametrize("command", ["evaluate gone.pth", "distill --teacher gone.pth", "train-teacher --images gone"])
def test_a_rank_alone_silences_nobody(command, variable, monkeypatch, capsys):
    """One task of many that were started together, each with work of its own."""
    monkeypatch.setattr(spreading, "_asked", {"processes": 1})
    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(sys, "argv", ["dfkd", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and capsys.readouterr().err.startswith("dfkd: ")


def test_a_device_that_is_not_there_is_refused_before_it_is_asked_what_it_can(monkeypatch):
    monkeypatch.setattr("dfkd.cli.preferred", precision.preferred)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    result = invoke("distill", "--teacher", "vdsr-small", "--device", "cuda:99")
    assert isinstance(result.exception, TrainingError) and "no device 'cuda:99' here" in str(result.exception)


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    def stop(*_, **__):
        raise RuntimeError("shape '[2]' is invalid")

    monkeypatch.setattr("dfkd.cli.app", stop)
    with pytest.raises(RuntimeError, match="is invalid"):
        main()


def test_without_arguments_one_is_told_what_there_is():
    done = dfkd_process()
    assert "Usage" in done.stdout + done.stderr and "Exit codes" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [(["evaluate", "nosuchmodel"], "no model 'nosuchmodel'"),
     (["evaluate", "bicubic", "--dataset", "Set6"], "unknown data set 'Set6'"),
     (["evaluate", "bicubic", "--device", "tpu9"], "--device cpu"),
     (["upscale", "gone.png", "out.png", "--model", "bicubic"], "cannot read gone.png"),
     (["distill", "--teacher", "gone.safetensors"], "no model 'gone.safetensors'"),
     (["distill", "--teacher", "vdsr-small", "--method", "noise", "--w-recon", "3"],
      "method 'noise' does not use w_recon (of dfsr, cmi, dfsr+, cmi+)"),
     (["distill", "--resume", "gone"], "gone holds no run"),
     (["distil"], "No such command 'distil'"), (["upscale", "a.png"], "dfkd upscale --help"),
     (["upscale", "x" * 300, "out.png", "--model", "bicubic"], "name too long"),
     (["evaluate", "a\nb\x1b[2J.pth"], r"'a\nb\x1b[2J.pth'")],
)  # fmt: skip
def test_errors_are_one_line_and_exit_code_2(arguments, words, tmp_path):
    done = dfkd_process(*arguments, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(r"dfkd: [^\n]+\n", done.stderr) and words in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "method, options, words",
    [("dfrs", "", "unknown method 'dfrs'"), ("noise", "--init zero", "unknown init 'zero'"),
     ("noise", "--optim sgd", "unknown optimiser 'sgd'"), ("noise", "--scale 1", "each scale at least 2"),
     ("noise", "--patch 25", "patch a multiple of 4"), ("noise", "--parts 9", "9 parts need as many blocks (3)"),
     ("noise", "--steps 0", "steps must be at least 1"), ("noise", "--batch 0", "batch must be at least 1"),
     ("cmi", "--batch 1", "batch must be at least 2"), ("noise", "--lr -1", "lr and clip must be positive"),
     ("noise", "--lr nan", "lr cannot be nan; give a finite"), ("cmi", "--temperature 0", "temperature positive"),
     ("cmi", "--generator-lr -1", "must not be negative"), ("cmi", "--replay 1", "replay must lie in [0, 1)"),
     ("cmi", "--denominator none", "unknown denominator 'none'"), ("cmi", "--layer body.77", "no layer 'body.77'"),
     ("noise", "--optim paper --warm-up 0.1", "has no warm-up"), ("real", "--images gone", "no pictures"),
     ("noise", "--device tpu9", "no device 'tpu9'"), ("noise", "--student huge", "unknown student 'huge'"),
     ("noise", "--minutes 1", "--steps or --minutes, not both")],
)  # fmt: skip
def test_wrong_settings_are_refused_before_anything_is_written(method, options, words, teacher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(*tiny(teacher, tmp_path / "run", "--steps", 2, method=method), *options.split())
    assert isinstance(result.exception, DfkdError), result.output
    assert words in str(result.exception) and "\n" not in str(result.exception)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [["--minutes", "0"], ["--width", "0"], ["--steps", "many"]])
def test_nonsense_numbers_are_usage_errors(options, teacher, tmp_path):
    assert invoke(*tiny(teacher, tmp_path / "run"), *options).exit_code == 2
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options",
    [["--scale", "0"], ["--scale", "5"], ["--lr", "0"], ["--width", "0"], ["--patch", "-24"], ["--device", "tpu9"]],
)
def test_wrong_settings_of_a_teacher_are_refused(options, tmp_path):
    Image.fromarray(_photo(60, 60, 3)).save(tmp_path / "p.png")
    result = invoke("train-teacher", "--images", tmp_path, "--out", tmp_path / "run", "--steps", 1, *options)
    assert isinstance(result.exception, TrainingError) and not (tmp_path / "run").exists()


def test_diverging_run_says_so_and_keeps_its_folder(teacher, tmp_path):
    result = invoke(*tiny(teacher, tmp_path / "run", "--steps", 400, "--lr", 1e18))
    assert isinstance(result.exception, TrainingError) and "lower lr" in str(result.exception)
    assert not (tmp_path / "run" / "student.safetensors").exists()


def test_a_place_that_cannot_be_written_is_an_error(teacher, tmp_path):
    (tmp_path / "file").touch()
    result = invoke(*tiny(teacher, tmp_path / "file" / "run", "--steps", 2))
    assert isinstance(result.exception, CheckpointError) and "cannot write" in str(result.exception)


def test_without_data_the_error_names_both_ways(monkeypatch, tmp_path, no_network):
    monkeypatch.setenv("DFKD_DATA_DIR", str(tmp_path))
    result = invoke("evaluate", "bicubic", "--scale", 2)
    assert "DFKD_DATA_DIR" in str(result.exception) and "https://" in str(result.exception)
    assert isinstance(invoke("evaluate", "vdsr").exception, DfkdError)
    assert len(registry()) and no_network


@pytest.mark.parametrize(
    "typed, kept",
    [("/srv/runs/one", "one"), ("/srv/runs/one/", "one"), ("/srv/a=b/one", "one"), ("--out=/srv/a=b", "--out=a=b"),
     ("-o/srv/runs/one", "-oone"), ("runs/one", "runs/one"), ("../one", "../one"), ("--scale", "--scale"), ("3", "3")],
)  # fmt: skip
def test_command_in_a_record_names_no_folder_of_this_machine(typed, kept, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/dfkd", "distill", typed])
    assert records.command() == f"dfkd distill {kept}"


def test_command_can_be_typed_again(monkeypatch):
    for program, words in (("/usr/bin/dfkd", "dfkd"), ("/lib/dfkd/__main__.py", "python -m dfkd")):
        monkeypatch.setattr(sys, "argv", [program, "distill", "--out", "a b"])
        assert records.command() == f"{words} distill --out 'a b'"
