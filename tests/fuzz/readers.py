"""Whatever reads what others wrote, each with good inputs to make bad ones of."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import sys
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import mutations
import numpy as np
import torch
import typer
from PIL import Image

import dfkd
from dfkd import cli
from dfkd.errors import DfkdError, TrainingError
from dfkd.networks.edsr import EDSR
from dfkd.networks.foreign import need_spandrel
from dfkd.networks.onnx import load_onnx
from dfkd.networks.vdsr import VDSR
from dfkd.networks.weights import read_pickled_module, read_state, read_weights
from dfkd.pixels.files import read_image, read_photograph, write_image
from dfkd.running import records, runs
from dfkd.running.jobs import TeacherJob, distill_job, job_from_dict
from dfkd.running.teachers import TeacherSettings

TRAP = "ran"


@dataclass(frozen=True)
class Reader:
    """Writes a bad input into a folder, and reads it; only a `DfkdError` may come of it, or nothing."""

    write: Callable[[random.Random, Path], None]
    read: Callable[[Path], object]
    share: float = 1.0  # of the inputs, relative to the other readers: some are slow


class Touch:
    """Pickles as a call that leaves a file behind."""

    def __reduce__(self):
        return (os.mkdir, (TRAP,))


# ---- pictures --------------------------------------------------------------------------------------------------------


@cache
def pictures() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (17, 13, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "what it shows", 6
    exif.get_ifd(0x8769)[0xA002] = 13
    made = []
    for kind in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "TGA", "JPEG2000", "EPS", "ICO", "PDF"):
        for image in (pixels[..., :3], pixels[..., 0]):
            out = io.BytesIO()
            options = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}
            Image.fromarray(image).save(out, kind, **options)
            made.append(out.getvalue())
    for options in ({"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"compression": "tiff_adobe_deflate"}):
        out = io.BytesIO()
        Image.fromarray(pixels[..., :3]).save(out, "TIFF", **options)
        made.append(out.getvalue())
    return made


def write_picture(rng: random.Random, folder: Path) -> None:
    (folder / "in").write_bytes(mutations.bytes_of(rng.choice(pictures()), rng, pictures()))


def read_picture(folder: Path) -> None:
    read_image(folder / "in")
    image, surroundings = read_photograph(folder / "in")
    if image.numel() < 10**6:
        for suffix in ("png", "jpg", "tif"):
            opaque = image[:, :3] if suffix == "jpg" else image
            write_image(folder / f"out.{suffix}", opaque, surroundings)


# ---- weights ---------------------------------------------------------------------------------------------------------


@cache
def networks() -> list[bytes]:
    with TemporaryDirectory() as folder:
        made = []
        for number, network in enumerate((VDSR(4, 1), EDSR(4, 1), EDSR(4, 1, (2,), 2))):
            dfkd.save_model(path := Path(folder) / f"{number}.safetensors", network, role="teacher", summary="small")
            made.append(path.read_bytes())
        return made


def write_network(rng: random.Random, folder: Path) -> None:
    (folder / "m.safetensors").write_bytes(mutations.safetensors_of(rng.choice(networks()), rng))


def read_network(folder: Path) -> None:
    read_weights(folder / "m.safetensors")
    dfkd.load_model(folder / "m.safetensors")


def saved(value: object, **options) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


@cache
def foreign() -> list[bytes]:
    try:
        need_spandrel("")
        from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact
        from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet
    except (ImportError, DfkdError):  # an extra
        states = [VDSR(4, 1).state_dict()]
    else:
        compact = SRVGGNetCompact(num_feat=4, num_conv=1, upscale=2)
        esrgan = RRDBNet(num_filters=4, num_blocks=1, scale=2)
        states = [compact.state_dict(), {"params_ema": esrgan.state_dict()}]
    made = [saved(state, **kind) for state in states for kind in ({}, {"_use_new_zipfile_serialization": False})]
    return [*made, saved({"params": Touch()}), pickle.dumps(Touch(), 2)]


def write_foreign(rng: random.Random, folder: Path) -> None:
    content = rng.choice(foreign())
    mutated = mutations.zip_of if content[:2] == b"PK" else mutations.bytes_of
    (folder / "theirs.pth").write_bytes(mutated(content, rng))


def old_module() -> bytes:
    """As torch wrote whole modules before 2020, with one parameter."""

    def text(word: str) -> bytes:
        return b"X" + len(word).to_bytes(4, "little") + word.encode()

    head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x06NtQ"
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00K\x02K\x03\x86K\x03K\x01\x86tR"
    ordered = b"ccollections\nOrderedDict\n)R"
    net = b"cvdsr\nNet\n)\x81r\x01\x00\x00\x00}(" + text("_parameters") + ordered + text("w")
    net += b"ctorch.nn.parameter\nParameter\n(" + tensor + b"\x88tRs" + text("_modules") + ordered + b"ub"
    tail = pickle.dumps(["0"], 2) + (6).to_bytes(8, "little") + np.arange(6, dtype="<f4").tobytes()
    return head + b"\x80\x02}" + text("model") + net + b"s." + tail


def write_old(rng: random.Random, folder: Path) -> None:
    (folder / "old.pth").write_bytes(mutations.bytes_of(old_module(), rng, [pickle.dumps(Touch(), 2)]))


def write_saved(rng: random.Random, folder: Path) -> None:
    state = {"a": torch.ones(3), "n": 1, "l": [1.5, (None, "x")], "rng": torch.Generator().get_state()[:50]}
    content = saved(state if rng.random() < 0.9 else Touch(), _use_new_zipfile_serialization=rng.random() < 0.7)
    mutated = mutations.zip_of if content[:2] == b"PK" else mutations.bytes_of
    (folder / "state.pt").write_bytes(mutated(content, rng))


# ---- runs and their records ------------------------------------------------------------------------------------------


@cache
def run_folders() -> list[dict[str, bytes]]:
    """What lies in the folders of four runs that came as far as their second round."""
    made = []
    with TemporaryDirectory() as there:
        teacher = Path(there, "teacher.safetensors")
        teacher.write_bytes(networks()[0])
        settings = dict(scales=(2,), steps=8, batch=2, patch=24, imitation_steps=2, blocks=2, lr=1e-3, warm_up=0.1)
        Image.linear_gradient("L").resize((30, 30)).save(Path(there, "p.png"))
        jobs = [distill_job(str(teacher), 2, dfkd.configure(method, **settings | own)) for method, own in (
            ("noise", {"parts": 2}), ("dead-leaves", {"side": 32, "pool": 2}), ("cmi", {"bank": 4, "negatives": 2}))]
        jobs = [replace(job, teacher="./teacher.safetensors") for job in jobs]
        for number, job in enumerate([*jobs, TeacherJob(TeacherSettings(2, 1, (2,), 40, 2, 24), ".")]):
            with chdir(there):
                run = runs.start_run(Path(there, str(number)), job)
            with run.files:
                run.curves += islice(run.task.rounds(), 1)
            run.save()
            records.write_json(run.folder / "record.json", run._record())
            made.append({path.name: path.read_bytes() for path in run.folder.iterdir()})
    return made


def lay_out(rng: random.Random, folder: Path, wrong: tuple[str, ...]) -> None:
    """One of the runs, its teacher and its picture, with something wrong in one of some files."""
    (folder / "teacher.safetensors").write_bytes(networks()[0])
    Image.linear_gradient("L").resize((30, 30)).save(folder / "p.png")
    run = dict(rng.choice(run_folders()))
    name = rng.choice(wrong)
    if name.endswith("json"):
        run[name] = mutations.text_of(json.loads(run[name]), rng)
    else:
        run[name] = (mutations.zip_of if name.endswith("pt") else mutations.bytes_of)(run[name], rng)
    (folder / "run").mkdir()
    for name, content in run.items():
        (folder / "run" / name).write_bytes(content)


def write_run(rng: random.Random, folder: Path) -> None:
    lay_out(rng, folder, ("config.json", "checkpoint.pt", "curves.csv"))


def read_run(folder: Path) -> None:
    """It goes on for a round, which is where a state that cannot be computed with shows."""
    run = runs.open_run(folder / "run")
    if run.job.config.batch <= 64 and run.job.config.patch <= 96 and run.job.config.steps <= 100:
        with run.files:
            run.curves += islice(run._rounds(), 1)
        run.save()


def write_record(rng: random.Random, folder: Path) -> None:
    lay_out(rng, folder, ("record.json", "curves.csv", "config.json"))


def read_record(folder: Path) -> None:
    record, curve = records.find(folder / "run")
    assert isinstance(record, dict) and all(isinstance(x, float) for column in curve.values() for x in column)
    job_from_dict(record)


def write_config(rng: random.Random, folder: Path) -> None:
    content = json.loads(rng.choice(run_folders())["config.json"])
    (folder / "config.json").write_bytes(json.dumps(mutations.json_of(content, rng)).encode())


def read_config(folder: Path) -> None:
    job_from_dict(records.read_json(folder / "config.json"))


# ---- ONNX ------------------------------------------------------------------------------------------------------------


@cache
def onnx_file() -> bytes:
    import onnx
    from onnx import TensorProto, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, (4, 1, 3, 3), np.ones(36, np.float32).tobytes(), raw=True)
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, "h", "w"]) for name in ("lr", "sr")]
    nodes = [helper.make_node("Conv", ["lr", "w"], ["x"], pads=[1, 1, 1, 1]),
             helper.make_node("DepthToSpace", ["x"], ["sr"], blocksize=2)]  # fmt: skip
    graph = helper.make_graph(nodes, "enlarge", value[:1], value[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def write_onnx(rng: random.Random, folder: Path) -> None:
    (folder / "m.onnx").write_bytes(mutations.bytes_of(onnx_file(), rng))


def read_onnx(folder: Path) -> None:
    load_onnx(folder / "m.onnx")(torch.rand(1, 1, 8, 8))


# ---- the command line ------------------------------------------------------------------------------------------------

WORDS = ("", "x", "-1", "0", "1", "2", "9", "nan", "inf", "1e400", "99999999999999999999", "a\nb", "\x1b[2J", "../x",
         "\udcff", "--", "-", "--help", "vdsr-small", "bicubic", "vdsr", "Set5", "cmi", "noise", "meta", "cpu",
         "x" * 300, "edsr:4x2", "vdsr:9999x9999", "{f}/m.safetensors", "{f}/theirs.pth", "{f}/in", "{f}/run",
         "{f}/out.png", "{f}/new", "{f}")  # fmt: skip
SENSIBLE = (
    ("evaluate", "{f}/m.safetensors"), ("check-teacher", "{f}/theirs.pth"), ("upscale", "{f}/in", "{f}/out.png"),
    ("distill", "--resume", "{f}/run"), ("verify", "{f}/run"), ("export", "{f}/m.safetensors", "{f}/m.onnx"),
    ("distill", "--teacher", "vdsr-small", "--out", "{f}/new"), ("train-teacher", "--images", "{f}"),
)  # fmt: skip


def write_arguments(rng: random.Random, folder: Path) -> None:
    for write in (write_picture, write_network, write_foreign, write_run):
        write(rng, folder)
    commands = typer.main.get_command(cli.app).commands
    if rng.random() < 0.5:
        words = list(rng.choice(SENSIBLE))
    else:
        words = [rng.choice(list(commands)), *rng.choices(WORDS, k=rng.randint(0, 3))]
    if words[0] in commands:
        flags = [flag for option in commands[words[0]].params for flag in option.opts if flag.startswith("-")]
        for flag in rng.sample(flags, k=min(len(flags), rng.choice((0, 0, 1, 2)))):
            words += [flag, *rng.choices(WORDS, k=rng.randint(0, 1))]
    (folder / "words.json").write_text(json.dumps([word.replace("{f}", str(folder)) for word in words]))


def refuse(*_, **__):
    raise TrainingError("not here")


def read_arguments(folder: Path) -> None:
    """Commands do all but the long work; a mistake is one line and exit code 2."""
    words = json.loads((folder / "words.json").read_text())
    said = io.StringIO()
    long = {name: patch(f"dfkd.cli.{name}", refuse) for name in ("repeat", "export_onnx", "export_int8", "score")}
    long |= {name: patch(name, refuse) for name in ("dfkd.running.bench.measure", "dfkd.running.checks.check_teacher")}
    long["speed"] = patch("dfkd.running.runs.measure_speed", lambda job: (1.0, 0.0))
    long["run"] = patch("dfkd.running.runs.Run.carry_out", refuse)
    long["processes"] = patch("lightning_fabric.Fabric.launch", refuse)  # of several machines it waits for the others
    long["words"] = patch.object(sys, "argv", ["dfkd", *words])
    long["out"], long["err"] = patch.object(sys, "stdout", io.StringIO()), patch.object(sys, "stderr", said)
    for one in long.values():
        one.start()
    try:
        cli.main()
    except SystemExit as ended:
        lines = [line for line in said.getvalue().splitlines() if line.strip() and "%|" not in line]
        wrong = ended.code not in (0, 1, 2) or ended.code == 2 and not lines[-1].startswith("dfkd: ")
        if wrong or ended.code == 2 and len(lines) > 1 and not lines[0].startswith(("computing in", "waiting for")):
            raise AssertionError(f"exit code {ended.code} and {lines}") from None
        if ended.code:
            raise DfkdError(lines[-1] if lines else "") from None
    finally:
        for one in reversed(long.values()):
            one.stop()


READERS = {
    "pictures": Reader(write_picture, read_picture, 2),
    "safetensors": Reader(write_network, read_network, 2),
    "foreign": Reader(write_foreign, lambda folder: dfkd.load_teacher(folder / "theirs.pth"), 1),
    "old pickle": Reader(write_old, lambda folder: read_pickled_module(folder / "old.pth"), 2),
    "states": Reader(write_saved, lambda folder: read_state(folder / "state.pt"), 1.5),
    "runs": Reader(write_run, read_run, 1),
    "records": Reader(write_record, read_record, 1),
    "configs": Reader(write_config, read_config, 2),
    "onnx": Reader(write_onnx, read_onnx, 1),
    "arguments": Reader(write_arguments, read_arguments, 1),
}
