"""The command line: ``dfkd train-teacher | distill | evaluate | upscale | export | verify | models``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

import dfkd
from dfkd import records, runs, zoo
from dfkd.config import DENOMINATORS, INITS, METHODS, OPTIMS, Config
from dfkd.data import DATASETS, benchmark_files
from dfkd.errors import DfkdError, ExportError, TrainingError, pick
from dfkd.evaluate import evaluate as score
from dfkd.export import TOLERANCE as EXPORT_TOLERANCE
from dfkd.export import check_onnx, export_onnx
from dfkd.images import picture_format, read_image, write_image
from dfkd.precision import PRECISIONS
from dfkd.provenance import unexplained
from dfkd.train import TrainConfig
from dfkd.upscale import TILE
from dfkd.upscale import upscale as upscale_image
from dfkd.verify import TOLERANCE, repeat

app = typer.Typer(
    help="Data-free knowledge distillation for image super-resolution.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
D, T = Config(), TrainConfig()  # the defaults shown in the help

Scales = Annotated[list[int], typer.Option("--scale", help="Upscaling factor; repeat for several.")]
Seed = Annotated[int, typer.Option(help="Of all random streams.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Run folder to make.")]
Resume = Annotated[Path | None, typer.Option(help="Go on with the run in this folder, as it began.")]
SaveEvery = Annotated[float, typer.Option(help="Seconds between two checkpoints: what a kill can cost.")]


Device = Annotated[str, typer.Option(help="'cpu' or 'cuda'.", callback=runs.usable)]
SameDevice = Annotated[str | None, typer.Option("--device", help="'cpu' or 'cuda'. [default: the run's, or cpu]")]


def main() -> None:
    """Run the command line; errors a user can mend are one line and exit code 1."""
    try:
        app()
    except DfkdError as error:
        typer.secho(f"dfkd: {error}", err=True, fg="red")
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dfkd {dfkd.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    """Data-free knowledge distillation for image super-resolution."""


@app.command()
def distill(
    teacher: Annotated[str, typer.Option(help="Name, safetensors file or run folder; see 'dfkd models'.")] = "vdsr",
    method: Annotated[str, typer.Option(help=f"Source of the images: {', '.join(METHODS)}.")] = D.method,
    scale: Scales = list(D.scales),  # noqa: B006 (typer copies it)
    steps: Annotated[int | None, typer.Option(help=f"Updates of the student. [default: {D.steps}]", min=1)] = None,
    minutes: Annotated[float | None, typer.Option(help="Instead of --steps: as many as should fit.", min=0.01)] = None,
    out: Out = Path("runs/distill"),
    resume: Resume = None,
    student: Annotated[str | None, typer.Option(help=f"Its shape: {', '.join(zoo.SHAPES)}.")] = None,
    width: Annotated[int | None, typer.Option(help="Or its width. [default: half the teacher's]", min=1)] = None,
    blocks: Annotated[int | None, typer.Option(help="And its hidden blocks. [default: the teacher's]", min=1)] = None,
    batch: Annotated[int, typer.Option(help="Images an update.")] = D.batch,
    patch: Annotated[int, typer.Option(help="Side of the teacher's output in pixels.")] = D.patch,
    imitation_steps: Annotated[int, typer.Option(help="Student updates to a generation stage.")] = D.imitation_steps,
    generation_steps: Annotated[int, typer.Option(help="Generator updates on one batch of z.")] = D.generation_steps,
    parts: Annotated[int, typer.Option(help="Parts of progressive distillation.")] = D.parts,
    init: Annotated[str, typer.Option(help=f"How hidden blocks start: {', '.join(INITS)}.")] = D.init,
    optim: Annotated[str, typer.Option(help=f"Student's optimiser: {', '.join(OPTIMS)}.")] = D.optim,
    lr: Annotated[float | None, typer.Option(help="Student's. [default: 1e-3 for adam, 0.1 for paper]")] = None,
    generator_lr: Annotated[float, typer.Option(help="Step size of G and h.")] = D.generator_lr,
    z_lr: Annotated[float, typer.Option(help="Step size of z.")] = D.z_lr,
    w_adversarial: Annotated[float, typer.Option(help="Weight of L_GEN.")] = D.w_adversarial,
    w_recon: Annotated[float, typer.Option(help="W_R.")] = D.w_recon,
    w_contrast: Annotated[float, typer.Option(help="W_C.")] = D.w_contrast,
    temperature: Annotated[float, typer.Option(help="tau of Eq. 12.")] = D.temperature,
    denominator: Annotated[str, typer.Option(help=f"Of Eq. 12: {', '.join(DENOMINATORS)}.")] = D.denominator,
    bank: Annotated[int, typer.Option(help="Rows of each memory bank.")] = D.bank,
    negatives: Annotated[int, typer.Option(help="Rows drawn from it.")] = D.negatives,
    layer: Annotated[list[str] | None, typer.Option(help="Teacher layer h looks at; repeat.")] = None,
    replay: Annotated[float, typer.Option(help="Share of the imitation batch drawn from the bank.")] = D.replay,
    reuse: Annotated[int, typer.Option(help="Times that a batch and the teacher's answer are used.")] = D.reuse,
    dead_leaves: Annotated[float, typer.Option(help="Share of the imitation batch drawn by rule.")] = D.dead_leaves,
    precision: Annotated[str, typer.Option(help=f"Of teacher and student: {', '.join(PRECISIONS)}.")] = D.precision,
    images: Annotated[Path | None, typer.Option(help="Pictures for --method real. [default: the 291]")] = None,
    seed: Seed = 0,
    save_every: SaveEvery = runs.SAVE_EVERY,
    device: SameDevice = None,
) -> None:
    """Distil a light student from a heavy teacher, without any training image."""
    if resume:
        _finish(runs.open_run(resume, device, save_every))
        return
    device = device or "cpu"
    shape = zoo.SHAPES[pick("student", student, zoo.SHAPES)] if student else {}
    shape = {**shape, **{name: value for name, value in (("width", width), ("blocks", blocks)) if value}}
    if len(shape) < 2:
        shape = zoo.student_shape(zoo.load_teacher(teacher)) | shape
    if steps and minutes:
        raise TrainingError("give --steps or --minutes, not both")
    config = Config(
        method=method, scales=tuple(scale), steps=steps or D.steps, batch=batch, patch=patch, parts=parts,
        imitation_steps=imitation_steps, generation_steps=generation_steps, blocks=shape["blocks"], init=init,
        optim=optim, lr=lr, generator_lr=generator_lr, z_lr=z_lr, w_adversarial=w_adversarial,
        w_recon=w_recon, w_contrast=w_contrast, temperature=temperature, denominator=denominator, bank=bank,
        negatives=negatives, layers=tuple(layer or ()), replay=replay, reuse=reuse,
        dead_leaves=dead_leaves, precision=precision, seed=seed,
    )  # fmt: skip
    header = {
        "kind": "distill", "command": records.command(), "started": records.now(), "teacher": teacher,
        "width": shape["width"], "images": str(images) if images else None, "device": device,
        "config": config.to_dict(),
    }  # fmt: skip
    if minutes:
        header["config"]["steps"] = _steps_in(minutes, header, device)
    _finish(runs.start_run(out, header, device, save_every))


def _steps_in(minutes: float, header: dict, device: str) -> int:
    speed = runs.measure_speed(header, device)
    steps = max(1, int(minutes * 60 * speed))
    typer.echo(f"{speed:.2f} steps a second: {steps} steps in {minutes:g} minutes", err=True)
    return steps


@app.command()
def train_teacher(
    out: Out = Path("runs/teacher"),
    images: Annotated[Path | None, typer.Option(help="Folder of pictures. [default: the 291 images, fetched]")] = None,
    width: Annotated[int, typer.Option(help="Channels.")] = T.width,
    blocks: Annotated[int, typer.Option(help="Hidden blocks.")] = T.blocks,
    scale: Scales = list(T.scales),  # noqa: B006
    steps: Annotated[int, typer.Option(help="Updates.")] = T.steps,
    batch: Annotated[int, typer.Option(help="Crops an update.")] = T.batch,
    patch: Annotated[int, typer.Option(help="Side of a crop in pixels.")] = T.patch,
    lr: Annotated[float, typer.Option(help="Step size.")] = T.lr,
    seed: Seed = 0,
    resume: Resume = None,
    save_every: SaveEvery = runs.SAVE_EVERY,
) -> None:
    """Train a teacher on real images."""
    if resume:
        _finish(runs.open_run(resume, save_every=save_every))
        return
    config = TrainConfig(width, blocks, tuple(scale), steps, batch, patch, lr, seed=seed)
    header = {
        "kind": "train-teacher", "command": records.command(), "started": records.now(),
        "images": str(images) if images else None, "config": config.to_dict(),
    }  # fmt: skip
    _finish(runs.start_run(out, header, save_every=save_every))


def _finish(run: runs.Run) -> None:
    network = "teacher" if run.header["kind"] == "train-teacher" else "student"
    try:
        record = run.carry_out(run.header["config"]["steps"], network)
    except KeyboardInterrupt:
        command = f"dfkd {run.header['kind']} --resume {run.folder}"
        typer.secho(f"dfkd: stopped; go on with: {command}", err=True, fg="yellow")
        raise typer.Exit(130) from None
    typer.echo(f"{run.folder / network}.safetensors: {record['summary']}")
    for name, moved in record["at_end"].get("movement", {}).items():
        typer.echo(f"{name} moved by {moved:.1%} of its norm")
    if network == "student" and run.header["config"]["method"] != "real":
        _tell_of(unexplained(record["files_read"], run.header["teacher"]))
    typer.echo(f"measure it with: dfkd evaluate {run.folder} --dataset Set5")


def _tell_of(files: list[str]) -> None:
    if files:
        typer.secho(f"files a data-free run does not need were read: {', '.join(files)}", err=True, fg="yellow")
    else:
        typer.echo("no file was read but the teacher's and the package's own")


@app.command()
def verify(
    record: Annotated[str, typer.Argument(help="Name of a packaged record, a run folder, or a record's file.")],
    rounds: Annotated[int, typer.Option(help="How many to repeat; all of them compares the weights too.", min=1)] = 10,
    tolerance: Annotated[float, typer.Option(help="Largest relative difference of a curve.", min=0)] = TOLERANCE,
    device: SameDevice = None,
) -> None:
    """Repeat the first part of a run and compare: exit code 1 if it comes out otherwise."""
    verdict = repeat(*records.find(record), rounds, device)
    typer.echo(f"{verdict.rounds} rounds repeated, {verdict.steps} steps; largest relative difference")
    for name, difference in verdict.differences.items():
        typer.echo(f"  {name:<28} {difference:.2g}")
    if verdict.weights is not None:
        typer.echo(f"  weights of the finished run: {'the same bits' if verdict.weights else 'other bits'}")
    _tell_of(verdict.unexplained)
    if not verdict.holds(tolerance):
        raise TrainingError(f"{record} did not repeat within {tolerance:g}")
    typer.echo(f"{record} repeats")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Name, safetensors file, run folder, or 'bicubic'.")],
    dataset: Annotated[list[str], typer.Option(help=f"{', '.join(DATASETS)}; repeat.")] = ["Set5"],  # noqa: B006
    scale: Annotated[list[int] | None, typer.Option(help="Repeat for several. [default: all the set has]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list on standard output.")] = False,
    device: Device = "cpu",
) -> None:
    """PSNR and SSIM of a model on benchmarks. A run folder's scores are also noted in its record."""
    network = zoo.load_model(model).to(device)
    wanted = [(name, s) for name in dataset for s in scale or DATASETS[pick("data set", name, DATASETS)]]
    for name, s in wanted:
        benchmark_files(name, s)  # a misspelt one should not cost the time of those before it
    scores = [asdict(score(network, name, s, model)) for name, s in wanted]
    _show(scores, as_json)
    if Path(model, "record.json").is_file():
        record = records.read_json(Path(model, "record.json"))
        kept = [s for s in record.get("scores", []) if (s["dataset"], s["scale"]) not in wanted]
        records.write_json(Path(model, "record.json"), record | {"scores": kept + scores})


def _show(scores: list[dict], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(scores, indent=1))
        return
    typer.echo(f"{'model':<20} {'data set':<9} {'scale':<5} {'PSNR (dB)':>9} {'SSIM':>7}")
    for s in scores:
        typer.echo(f"{s['model']:<20} {s['dataset']:<9} x{s['scale']:<4} {s['psnr']:>9.3f} {s['ssim']:>7.4f}")


@app.command()
def upscale(
    picture: Annotated[Path, typer.Argument(help="Picture to upscale.")],
    out: Annotated[Path, typer.Argument(help="File to write; its suffix names the format.")],
    model: Annotated[str, typer.Option(help="Name, safetensors file, run folder, or 'bicubic'.")] = "vdsr-small",
    scale: Annotated[int, typer.Option(help="Upscaling factor.", min=2, max=8)] = 2,
    tile: Annotated[int, typer.Option(help="Side of a tile; smaller needs less memory.", min=32)] = TILE,
    device: Device = "cpu",
) -> None:
    """Upscale a photo of any size."""
    picture_format(out)  # before the work, not after
    image = read_image(picture, alpha=True)
    write_image(out, upscale_image(zoo.load_model(model).to(device), image, scale, tile=tile))
    height, width = image.shape[-2:]
    typer.echo(f"{out}: {width}x{height} -> {scale * width}x{scale * height} by {model}")


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="Name, safetensors file or run folder; see 'dfkd models'.")],
    out: Annotated[Path, typer.Argument(help="ONNX file to write.")],
    scale: Annotated[int, typer.Option(help="Upscaling factor, fixed in the file.", min=2, max=8)] = 2,
    check: Annotated[bool, typer.Option(help="Run the file with onnxruntime and compare with PyTorch.")] = True,
) -> None:
    """Write a network as ONNX, for images of any size."""
    network = zoo.load_model(model)
    export_onnx(network, out, scale)
    found = ""
    if check:
        difference = check_onnx(out, network, scale)
        if not difference < EXPORT_TOLERANCE:
            raise ExportError(f"{out} differs from the network by {difference:.1e}; do not use it")
        found = f", differs from PyTorch by at most {difference:.0e}"
    typer.echo(f"{out}: {model} at x{scale}, {out.stat().st_size / 1000:.0f} kB{found}")


@app.command()
def models() -> None:
    """List the networks that have a name."""
    for name in zoo.names():
        entry = zoo.describe(name)
        typer.echo(f"{name:<18} {entry.role:<9} {entry.summary}")
