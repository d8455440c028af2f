"""The command line: ``dfkd distill | evaluate | upscale | export | verify | check-teacher | ...``."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NoReturn

import torch
import typer
from torch import nn

import dfkd
from dfkd.errors import DfkdError, TrainingError, Unconfirmed, UnknownName, pick, printable
from dfkd.method.settings import Config, configure
from dfkd.method.sources import METHODS
from dfkd.networks import zoo
from dfkd.networks.int8 import export_int8
from dfkd.networks.onnx import export_onnx
from dfkd.networks.photographs import TILE, Colour
from dfkd.networks.photographs import upscale as upscale_image
from dfkd.networks.precision import preferred
from dfkd.options import with_options
from dfkd.pixels.benchmarks import DATASETS, benchmark_files
from dfkd.pixels.files import MAX_PIXELS
from dfkd.running import albums, checks, lineage, plans, records, runs, sweeps
from dfkd.running import bench as measuring
from dfkd.running.devices import usable
from dfkd.running.evaluation import evaluate as score
from dfkd.running.exports import drawn_images
from dfkd.running.jobs import TeacherJob, distill_job, pictures_fingerprint
from dfkd.running.provenance import unexplained
from dfkd.running.spreading import ProcessLost, expect, launch, others_speak
from dfkd.running.summaries import table
from dfkd.running.teachers import TeacherSettings
from dfkd.running.verify import TOLERANCE, Verdict, described, repeat
from dfkd.running.watching import LOGS, Watch, require_log
from dfkd.writing import replacing, require_place

UsageError = typer.BadParameter.__base__  # typer has a click of its own in some versions, and borrows it in others
app = typer.Typer(
    help="Data-free knowledge distillation for image super-resolution.",
    epilog="Exit codes: 0, all went well; 1, the answer is no (of 'dfkd verify', for one) or pictures were left out; "
    "2, something is wrong, and one line says what.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
LONGEST = 1e6  # minutes, two years
OUT = "Run folder to make."
TEACHER, METHOD = "vdsr", "cmi"  # of 'dfkd distill', where none is named
Resume = Annotated[Path | None, typer.Option(help="Go on with the run in this folder, as it began.")]
Images = Annotated[Path | None, typer.Option(help="Folder of pictures.", show_default="the 291 images, fetched")]
SaveEvery = Annotated[float, typer.Option(help="Seconds between two checkpoints: what a kill can cost.")]
Device = Annotated[str, typer.Option(help="'cpu' or 'cuda'.", callback=usable)]
Scale = Annotated[
    int | None, typer.Option(help="Upscaling factor.", min=2, max=8, show_default="2, or the smallest that it serves")
]
Devices = Annotated[
    int | None, typer.Option(help="On each machine, a process each, with --batch images each.", show_default="1", min=1)
]
SameDevice = Annotated[str | None, typer.Option("--device", help="'cpu' or 'cuda'.", show_default="the run's, or cpu")]


def main() -> None:
    """Run the command line; what is wrong is said in one line and exit code 2, and 1 means that the answer is no."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except DfkdError as error:
        if others_speak() and not isinstance(error, ProcessLost):  # what all processes run into, one says
            sys.exit(error.exit_code)
        _give_up(str(error), error.exit_code)
    except UsageError as error:
        if not error.format_message():  # nothing was asked for, and typer answers with the help
            error.show()
            sys.exit(error.exit_code)
        asked = error.ctx.command_path if error.ctx else "dfkd"
        _give_up(f"{error.format_message().rstrip('.')}; see {asked} --help", error.exit_code)
    except typer.Abort:
        sys.exit(130)
    except OSError as error:  # a folder that may not be looked into, and the like
        _give_up(str(error), DfkdError.exit_code)
    except (MemoryError, RuntimeError) as error:
        if not _no_memory(error):
            raise
        _give_up("there is not enough memory for this; ask for less at a time", DfkdError.exit_code)


def _give_up(message: str, code: int) -> NoReturn:
    typer.secho(f"dfkd: {printable(message)}", err=True, fg="red")
    sys.exit(code)


def _no_memory(error: Exception) -> bool:
    """Torch says so by a class of its own on GPUs, and in words on the CPU."""
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(error)


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
@with_options(Config, *METHODS.values(), of="method", leave_out=("source", "blocks", "precision"))
def distill(
    teacher: Annotated[
        str | None,
        typer.Option(help="Name, safetensors file or run folder; see 'dfkd models'.", show_default=TEACHER),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help=f"Source of the images: {', '.join(METHODS)}.", show_default=METHOD)
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Instead of --steps: as many as should fit.", min=0.01, max=LONGEST)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help=OUT, show_default="runs/distill")] = None,
    resume: Resume = None,
    student: Annotated[
        str | None, typer.Option(help=f"Its shape: {', '.join(zoo.SHAPES)}, or one like vdsr:32x18, edsr:32x8.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Or its width.", show_default="half the teacher's", min=1)] = None,
    blocks: Annotated[int | None, typer.Option(help="And its depth.", show_default="the teacher's", min=1)] = None,
    precision: Annotated[
        str | None, typer.Option(help="'float32' or 'bfloat16', of both networks' passes.", show_default="the faster")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Go on from the weights of this finished student: name, file or run folder.")
    ] = None,
    images: Images = None,
    save_every: SaveEvery = runs.SAVE_EVERY,
    device: SameDevice = None,
    log: Annotated[str | None, typer.Option(help=f"Keep a log in the run folder: {', '.join(LOGS)}.")] = None,
    devices: Devices = None,
    nodes: Annotated[int, typer.Option(help="Machines, each with so many devices.", min=1)] = 1,
    **given: Any,
) -> None:
    """Distil a light student from a heavy teacher, without any training image."""
    expect((devices or 1) * nodes)
    if log:
        require_log(log)
    if resume:
        typed = {"teacher": teacher, "method": method, "minutes": minutes, "student": student, "width": width,
                 "blocks": blocks, "precision": precision, "start": start, "images": images, "out": out}  # fmt: skip
        _refuse_beside_resume([*(name for name, value in typed.items() if value is not None), *given])
        processes, kind = runs.team_of(resume)
        team, where = launch(devices or processes // nodes, nodes, device or kind)
        _finish(runs.open_run(resume, where if team.size > 1 else device, save_every, team), log)
        return
    if minutes and "steps" in given:
        raise TrainingError("give --steps or --minutes, not both")
    teacher, method = teacher or TEACHER, method or METHOD
    shape = zoo.shape_named(student) if student else {}
    shape = {**shape, **{name: value for name, value in (("width", width), ("blocks", blocks)) if value}}
    shape, scales = _shape_and_scales(zoo.load_teacher(teacher), zoo.load_student(start) if start else None, shape)
    if scales:
        given.setdefault("scales", scales)
    team, device = launch(devices or 1, nodes, device or "cpu")
    faster, why = preferred(device if team.size > 1 else usable(device))
    config = configure(method, blocks=shape.pop("blocks"), precision=precision or faster, **given)
    job = distill_job(
        teacher, config=config, device=device, images=images, command=records.command(), started=records.now(),
        processes=team.size, start=start, **shape,
    )  # fmt: skip
    if precision is None and team.rank == 0:
        typer.echo(f"computing in {faster} ({why}); --precision decides otherwise", err=True)
    out = out or Path("runs/distill")
    runs.require_free(out)  # before anything is sliced or timed
    if minutes:
        speed, beginning = team.mean(torch.tensor(runs.measure_speed(job))).tolist()
        steps = max(1, int((60 * minutes - beginning) * speed))
        job = replace(job, config=replace(job.config, steps=steps))
        if team.rank == 0:
            told = f"{beginning:.0f} seconds to begin, {speed:.2f} steps a second: {steps} steps in {minutes:g} minutes"
            typer.echo(told, err=True)
    _finish(runs.start_run(out, job, save_every, team), log)


def _refuse_beside_resume(typed: list[str]) -> None:
    if typed:
        raise TrainingError(
            f"a run goes on as it began: leave out {', '.join(typed)}; to train a finished student on, give --start"
        )


def _shape_and_scales(teacher: nn.Module, begun: nn.Module | None, shape: dict) -> tuple[dict, list[int] | None]:
    """The student's shape, where it was not typed, and the scales that all networks serve; None for any."""
    if not {"width", "blocks"} <= set(shape):
        shape = (zoo.shape_of(begun) if begun else zoo.student_shape(teacher)) | shape
    bounds = [set(served) for network in (teacher, begun) if (served := getattr(network, "scales", None))]
    return shape, sorted(set.intersection(*bounds)) if bounds else None


@app.command()
@with_options(TeacherSettings)
def train_teacher(
    out: Annotated[Path | None, typer.Option("--out", "-o", help=OUT, show_default="runs/teacher")] = None,
    images: Images = None,
    resume: Resume = None,
    save_every: SaveEvery = runs.SAVE_EVERY,
    device: SameDevice = None,
    **given: Any,
) -> None:
    """Train a teacher on real images."""
    if resume:
        _refuse_beside_resume([*(["images"] if images else []), *(["out"] if out else []), *given])
        _finish(runs.open_run(resume, device, save_every))
        return
    config = TeacherSettings(**{name: tuple(v) if isinstance(v, list) else v for name, v in given.items()})
    out = out or Path("runs/teacher")
    runs.require_free(out)
    folder = str(images.absolute()) if images else None
    job = TeacherJob(
        config, folder, device or "cpu", command=records.command(), started=records.now(),
        images_sha256=pictures_fingerprint(folder) if folder else None,
    )  # fmt: skip
    _finish(runs.start_run(out, job, save_every))


def _finish(run: runs.Run, log: str | None = None) -> None:
    job = run.job
    if job.network == "student" and run.team.rank == 0:
        run.watch = Watch(run.task, run.folder, log)
    try:
        record = run.carry_out()
    except KeyboardInterrupt:
        command = f"dfkd {job.kind} --resume {_quoted(run.folder)}"
        typer.secho(f"dfkd: stopped; go on with: {command}", err=True, fg="yellow")
        raise typer.Exit(130) from None
    except ProcessLost as error:
        raise ProcessLost(f"{error}; go on with: dfkd {job.kind} --resume {_quoted(run.folder)}") from error
    if run.team.rank:
        return
    typer.echo(f"{run.folder / job.network}.safetensors: {record['summary']}")
    if run.watch and run.watch.agreement:
        reached = ", ".join(f"{scale} {value:.2f}" for scale, value in run.watch.agreement.items())
        typer.echo(f"agrees with its teacher on drawn images, in dB: {reached}")
    for name, moved in record["at_end"].get("movement", {}).items():
        typer.echo(f"{name} moved by {moved:.1%} of its norm")
    if job.network == "student" and job.config.method != "real":
        _tell_of(unexplained(record["files_read"], *job.networks))
        _tell_of_start(record)
    typer.echo(f"measure it with: dfkd evaluate {_as_path(run.folder)} --dataset Set5")


def _as_path(folder: Path) -> str:
    """Written so that nobody takes it for the name of a packaged network."""
    return _quoted(folder) if folder.parent != Path() else f"./{_quoted(folder)}"


def _quoted(folder: Path) -> str:
    """For a command to be pasted into a shell."""
    return shlex.quote(str(folder))


def _tell_of_start(record: dict) -> None:
    if record.get("start"):
        words, free = lineage.tell(record["start"], record.get("start_methods"))
        typer.secho(words, err=not free, fg=None if free else "yellow")


def _tell_of(files: list[str], where: str = "") -> None:
    if files:
        typer.secho(f"files a data-free run does not need were read: {', '.join(files)}", err=True, fg="yellow")
    else:
        typer.echo(f"{where}no file was read but the teacher's and the package's own")


@app.command()
def sweep(
    plan: Annotated[Path, typer.Argument(help="TOML file; dfkd.running.plans shows one.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder of the sweep.", show_default="runs/ and the plan's name")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Runs at a time.", show_default="the plan's", min=1)] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Jobs instead of processes: 'slurm'; or submitit's 'local' and 'debug'.")
    ] = None,
) -> None:
    """Run a grid of settings and seeds, and compare its rows; given again, it does what is left."""
    planned, out = plans.read_plan(plan), out or Path("runs") / plan.stem
    if cluster is None:
        usable(planned.device)
    errands = sweeps.prepare(planned, out)
    left, failed = [errand for errand in errands if errand.record() is None], {}
    typer.echo(f"{out}: {len(errands)} runs, {len(errands) - len(left)} of them done", err=True)
    workers = workers or planned.workers
    if cluster:
        outcomes = sweeps.on_cluster(left, workers, out / "jobs", planned.jobs_ask_for(), cluster)
    else:
        outcomes = sweeps.in_processes(left, workers)
    try:
        for number, (errand, why) in enumerate(outcomes, 1):
            typer.echo(f"[{number}/{len(left)}] {errand.name}: {why or _agreement_in(errand)}", err=True)
            failed |= {errand.name: why} if why else {}
    except KeyboardInterrupt:
        typer.secho("dfkd: stopped; the same command goes on", err=True, fg="yellow")
        raise typer.Exit(130) from None
    found = sweeps.gather(planned, out, errands)
    _compare(found, out)
    if free := [run for run in found["runs"] if run["config"]["method"] != "real"]:
        read = sorted({file for run in free for file in unexplained(run["files_read"], errands[0].job.teacher)})
        _tell_of(read, "" if len(free) == len(found["runs"]) else "in the data-free rows ")
    for name, why in failed.items():
        typer.secho(f"failed: {name}: {why}", err=True, fg="red")
    if failed:
        raise typer.Exit(1)


def _agreement_in(errand: sweeps.Errand) -> str:
    found = (errand.record() or {}).get("agreement", {})
    return ", ".join(f"{value:.2f} dB at {scale}" for scale, value in found.items())


def _compare(found: dict[str, Any], out: Path) -> None:
    """A sweep as a table, and as a figure where matplotlib is at hand."""
    if not found["runs"]:
        return
    for line in table(found["figures"], found["baseline"]):
        typer.echo(line)
    typer.echo(f"{out / 'sweep.json'}: {found['summary']}")
    if not find_spec("matplotlib"):
        typer.echo('no figure without matplotlib: pip install "dfkd[sweep]"', err=True)
        return
    from dfkd.book.plots import show_sweep  # what draws is the book's, and nothing else here wants it

    with replacing(out / "sweep.png") as file:
        show_sweep(found).savefig(file, format="png")
    typer.echo(f"{out / 'sweep.png'}: the same, drawn")


@app.command()
def verify(
    record: Annotated[str, typer.Argument(help="Name of a packaged record, a run folder, or a record's file.")],
    rounds: Annotated[int, typer.Option(help="How many to repeat; all of them compares the weights too.", min=1)] = 10,
    tolerance: Annotated[float, typer.Option(help="Largest relative difference of a curve.", min=0)] = TOLERANCE,
    teacher: Annotated[str | None, typer.Option(help="Its teacher, where the record names a file of yours.")] = None,
    start: Annotated[str | None, typer.Option(help="Likewise the student that it went on from.")] = None,
    device: SameDevice = None,
) -> None:
    """Repeat the first part of a run and compare: exit code 1 if it comes out otherwise."""
    found, curve = records.find(record)
    job = described(found, curve, teacher, start)
    team, where = launch(getattr(job, "processes", 1), 1, device or job.device.partition(":")[0])
    verdict = repeat(found, curve, rounds, where if team.size > 1 else device, teacher, team, start)
    if team.rank:
        return
    typer.echo(f"{verdict.rounds} rounds repeated, {verdict.steps} steps; largest relative difference")
    for name, difference in verdict.differences.items():
        typer.echo(f"  {name:<28} {difference:.2g}")
    if verdict.weights is not None:
        typer.echo(f"  weights of the finished run: {'the same bits' if verdict.weights else 'other bits'}")
    if job.network == "student" and job.config.method != "real":
        _tell_of(verdict.unexplained)
        _tell_of_start(job.published())
    if not verdict.holds(tolerance):
        raise Unconfirmed(f"{record} did not repeat within {tolerance:g}{_told_apart(verdict)}")
    typer.echo(f"{record} repeats")


def _told_apart(verdict: Verdict) -> str:
    if verdict.same_machine:
        return ""
    moved = "; ".join(f"{name}: {then}, here {here}" for name, (then, here) in verdict.moved.items())
    return (
        f" (it was not made under the same conditions: {moved}. Other processors and versions round otherwise, and "
        "training amplifies it; --tolerance says what you accept)"
    )


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Name, safetensors file, run folder, or 'bicubic'.")],
    dataset: Annotated[list[str], typer.Option(help=f"{', '.join(DATASETS)}; repeat.")] = ["Set5"],  # noqa: B006
    scale: Annotated[list[int] | None, typer.Option(help="Repeat for several.", show_default="all the set has")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list on standard output.")] = False,
    device: Device = "cpu",
) -> None:
    """PSNR and SSIM of a model on benchmarks. A run folder's scores are also noted in its record."""
    network = zoo.load_model(model).to(device)
    served = getattr(network, "scales", None)
    wanted = [
        (name, s) for name in dataset for s in scale or DATASETS[pick("data set", name, DATASETS)]
        if scale or served is None or s in served
    ]  # fmt: skip
    if not wanted:
        raise UnknownName(f"{model} serves x{served[0]} alone, where {', '.join(dataset)} is not measured")
    for name, s in wanted:
        benchmark_files(name, s)  # a misspelt one should not cost the time of those before it
    scores = [asdict(score(network, name, s, model)) for name, s in wanted]
    _show(scores, as_json)
    folder = zoo.path_meant(model, zoo.names())
    if folder and (folder / "record.json").is_file():
        record = records.read_object(folder / "record.json")
        kept = [s for s in record.get("scores", []) if (s["dataset"], s["scale"]) not in wanted]
        new = [s | {"model": records.without_folders(model)} for s in scores]
        records.write_json(folder / "record.json", record | {"scores": kept + new})


def _show(scores: list[dict], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(scores, indent=1))
        return
    typer.echo(f"{'model':<20} {'data set':<9} {'scale':<5} {'PSNR (dB)':>9} {'SSIM':>7}")
    for s in scores:
        typer.echo(f"{s['model']:<20} {s['dataset']:<9} x{s['scale']:<4} {s['psnr']:>9.3f} {s['ssim']:>7.4f}")


@app.command()
def upscale(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, and folders of pictures.")],
    out: Annotated[Path, typer.Argument(help="File to write, its suffix names the format; or a folder for several.")],
    model: Annotated[str, typer.Option(help="Name, safetensors file, run folder, or 'bicubic'.")] = "vdsr-half-best",
    scale: Scale = None,
    tile: Annotated[int, typer.Option(help="Side of a tile; smaller needs less memory.", min=32)] = TILE,
    max_pixels: Annotated[int, typer.Option(help="Larger pictures are left out.", min=1)] = MAX_PIXELS,
    overwrite: Annotated[bool, typer.Option(help="Replace files that are there already.")] = False,
    device: Device = "cpu",
) -> None:
    """Upscale photos of any size; exit code 1 if some were left out.

    Camera's notes, colour profile and transparency are kept.
    """
    pairs = albums.plan(pictures, out, overwrite)  # before the work, not after
    network = zoo.load_model(model).to(device)
    scale = scale or _smallest(network)
    done = albums.carry_out(pairs, lambda image: upscale_image(network, image, scale, tile=tile), overwrite, max_pixels)
    for _, to, (width, height), (wide, high) in done.written:
        typer.echo(f"{to}: {width}x{height} -> {wide}x{high} by {model}")
    for file, why in done.skipped:
        typer.secho(f"left out {file}: {why}", err=True, fg="yellow")
    if done.skipped:
        raise typer.Exit(1)


def _smallest(network: nn.Module) -> int:
    """The scale that is meant where none is given."""
    return min(getattr(network, "scales", None) or (2,))


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="Name, safetensors file or run folder; see 'dfkd models'.")],
    out: Annotated[Path, typer.Argument(help="ONNX file to write.")],
    scale: Scale = None,
    colour: Annotated[bool, typer.Option("--colour", help="RGB in and out, in [0, 1], not luma alone.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Compute in whole numbers; measured on drawn images.")] = False,
    check: Annotated[bool, typer.Option(help="Run the file with onnxruntime and compare with PyTorch.")] = True,
) -> None:
    """Write a network as ONNX, for images of any size."""
    network = zoo.load_model(model)
    scale = scale or _smallest(network)
    network, channels = (Colour(network), 3) if colour else (network, 1)
    if int8:
        agrees = export_int8(network, out, scale, drawn_images(scale, channels), channels=channels)
        size = out.stat().st_size / 1000
        typer.echo(f"{out}: {model} at x{scale}, {size:.0f} kB, agrees with it to {agrees:.1f} dB on drawn images")
        return
    difference = export_onnx(network, out, scale, channels=channels, check=check)
    found = f", differs from PyTorch by at most {difference:.0e}" if check else ""
    typer.echo(f"{out}: {model} at x{scale}, {out.stat().st_size / 1000:.0f} kB{found}")


@app.command()
def check_teacher(
    teacher: Annotated[str, typer.Argument(help="Name, safetensors file or run folder.")],
    scale: Annotated[
        list[int] | None, typer.Option(help="Repeat for several.", show_default="those it names, or 2, 3, 4")
    ] = None,
) -> None:
    """Is a network fit to be a teacher, and by which method? Exit code 1 if by none.

    Looks at shapes, values, gradients and plausibility.
    """
    verdict = checks.check_teacher(zoo.load_teacher(teacher), scale)
    for finding in verdict.findings:
        typer.echo(f"{finding.what:<10} {'ok' if finding.well else 'NO':<4} {finding.says}")
    if not verdict.methods:
        raise Unconfirmed(f"{teacher} cannot be a teacher as it is; see what says NO above")
    typer.echo(f"methods that fit: {', '.join(verdict.methods)}")


@app.command()
def bench(
    teacher: Annotated[str, typer.Option(help="Name, safetensors file or run folder of a VDSR.")] = "vdsr",
    width: Annotated[int | None, typer.Option(help="Of the student.", show_default="half the teacher's", min=1)] = None,
    student: Annotated[
        list[str] | None, typer.Option(help="Time one image through this network too; repeat for several.")
    ] = None,
    minutes: Annotated[
        list[float] | None,
        typer.Option(
            help="Measure also what is learnt in so many; repeat. Takes four times that.", min=0.01, max=LONGEST
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="For each of the two loops.", min=1)] = 30.0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the figures to this JSON file.")] = None,
) -> None:
    """How fast this machine distils, and enlarges, beside what it could do at most."""
    width = measuring.prepare(teacher, width, student or (), minutes or ())  # refuses before hours of work, not after
    if out:
        require_place(out)
    header = {
        "kind": "bench", "summary": "how fast this machine distils and enlarges", "command": records.command(),
        "finished": records.now(), "hardware": records.hardware(), "versions": records.versions(),
    }  # fmt: skip
    found = header | measuring.measure(teacher, width, minutes or (), seconds) | {"latency": []}
    if out:
        records.write_json(out, found)  # whatever may become of what follows
    found |= {"latency": measuring.latencies([teacher, *(student or ())]), "finished": records.now()}
    for line in measuring.report(found):
        typer.echo(line)
    if out:
        records.write_json(out, found)


@app.command()
def models() -> None:
    """List the networks that have a name."""
    wide = max(map(len, zoo.names()))
    for name in zoo.names():
        entry = zoo.describe(name)
        typer.echo(f"{name:<{wide}} {entry.role:<9} {entry.summary}")
