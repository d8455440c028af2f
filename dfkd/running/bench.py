"""How fast this machine distils, beside what it could do at most and beside a loop without tricks.

Nothing here decides how a run goes: figures of one machine at one moment, to be kept with what was measured.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from dfkd.errors import CheckpointError, TrainingError
from dfkd.method.loop import Distillation
from dfkd.method.settings import Config, configure
from dfkd.method.sources import DeadLeavesSource, make_source
from dfkd.method.students import make_student
from dfkd.networks.onnx import export_onnx, load_onnx
from dfkd.networks.precision import PRECISIONS, preferred
from dfkd.networks.vdsr import VDSR
from dfkd.networks.zoo import ARCHITECTURES, load_model, load_teacher, save_model
from dfkd.running.evaluation import agreement

BLOCKS = 5  # of updates, this loop and the plain one in turn: both then meet the same disturbances
SIDE = 2048  # of the matrices whose product says what the machine can do
SIZES = {"256x256": (128, 128), "1280x720": (360, 640)}  # what is shown -> low-resolution height and width at x2
SCALE = 2  # at which networks are timed
HELD_OUT = 10_000  # seed of images that no run draws


@dataclass(frozen=True)
class Speed:
    """One loop on this machine.

    Attributes:
        images: new or kept, that the student saw in a second; median over blocks.
        gflops: thousand million operations it did in a second, multiplications and additions counted apart.
        share: of what a matrix product does here in the same precision.
    """

    images: float
    gflops: float
    share: float


def prepare(teacher: str, width: int | None = None, others: Iterable[str] = (), minutes: Iterable[float] = ()) -> int:
    """Load all that is to be measured once, so that what cannot be is refused before anything has taken its time.

    Args:
        teacher: name, file or run folder of T.
        width: of the student; by default half of the teacher's.
        others: networks that `latencies` is to time beside the teacher.
        minutes: budgets of `learning`.

    Returns:
        The student's width.

    Raises:
        UnknownName: no network of that name.
        CheckpointError: a file that cannot be read, a teacher that is no VDSR, or a network that cannot be timed.
        TrainingError: a student that cannot be cut out of the teacher, as `learning` does.
    """
    network = _vdsr(teacher)
    width = width or network.halved()["width"]
    if width < 1 or (list(minutes) and width >= network.width):
        raise TrainingError(
            f"a student of width {width} cannot be cut out of {teacher}, of width {network.width}; give another --width"
        )
    for name in others:
        _require_timed(name, load_model(name))
    return width


def _vdsr(name: str) -> VDSR:
    network = load_teacher(name)
    if not isinstance(network, VDSR):
        what = getattr(network, "name", type(network).__name__)
        raise CheckpointError(f"{name} is of class {what}, and the loops that are timed want a VDSR for a teacher")
    return network


def _require_timed(name: str, network: nn.Module) -> None:
    """What `latency` needs: a class that can be built again in a process of its own, and the scale."""
    if type(network) not in ARCHITECTURES.values():
        what = getattr(network, "name", type(network).__name__)
        raise CheckpointError(f"cannot time {name}, of class {what}; only networks of {', '.join(ARCHITECTURES)}")
    if network.scales and SCALE not in network.scales:
        raise CheckpointError(f"cannot time {name}: it does not serve x{SCALE}, at which networks are timed")


def peak(precision: str, seconds: float = 1.0) -> float:
    """What a product of two large matrices does here, in thousand million operations a second.

    Args:
        precision: one of `dfkd.networks.precision.PRECISIONS`.
        seconds: to spend on it; the best product counts.
    """
    a = torch.rand(SIDE, SIDE).to(getattr(torch, precision))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        best = min(best, _seconds(lambda: a @ a))
    return 2 * SIDE**3 / best / 1e9


def recipe(teacher: str) -> Config:
    """The settings whose speed is measured, in what is fastest here: drawn images, SOAP, answers used four times.

    Raises:
        CheckpointError: the teacher is no VDSR.
    """
    blocks = _vdsr(teacher).blocks
    return configure("dead-leaves", init="teacher", optim="soap", reuse=4, blocks=blocks, precision=preferred()[0])


def plain_updates(teacher: nn.Module, student: nn.Module, config: Config) -> Iterator[None]:
    """The loop that one writes first: default layout, float32, Adam, the teacher asked for every batch."""
    source = DeadLeavesSource(config.patch, seed=config.seed)
    adam, rng = torch.optim.Adam(student.parameters(), lr=1e-3), torch.Generator().manual_seed(config.seed)
    while True:
        scale = config.scales[int(torch.randint(len(config.scales), (), generator=rng))]
        lr = source.sample(config.batch, scale)
        with torch.no_grad():
            sr = teacher(lr, scale)
        loss = (student(lr, scale) - sr).abs().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        yield


def our_updates(teacher: nn.Module, student: nn.Module, config: Config) -> Iterator[None]:
    """The package's loop, an update at a time."""
    run = Distillation(teacher, student, make_source(config, teacher), config)
    while True:
        run.imitation_step()
        yield


def speeds(teacher: str, width: int, seconds: float = 30.0) -> dict[str, Speed]:
    """Both loops side by side in this process, block after block; 'ours' and 'plain'.

    Args:
        teacher: name, file or run folder of T, a VDSR.
        width: of the student.
        seconds: for each loop, after a start that fills the pool of answers and is not counted.
    """
    config = replace(recipe(teacher), init="random", steps=10**6)
    loops, work = {}, {}
    for name, updates in (("ours", our_updates), ("plain", plain_updates)):
        networks = load_teacher(teacher), make_student(config, width)
        work[name] = _operations(*networks, config, config.reuse if name == "ours" else 1)
        loops[name] = updates(*networks, config)
    for _ in range(2 * 64):  # the pool of answers is full, and asks as often as it will
        next(loops["ours"])
    next(loops["plain"])
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(BLOCKS):
        for name, loop in loops.items():
            started, updates = time.perf_counter(), 0
            while updates < config.reuse or time.perf_counter() - started < seconds / BLOCKS:
                next(loop)
                updates += 1
            times[name].append((time.perf_counter() - started) / updates)
    found = {}
    for name, precision in (("ours", config.precision), ("plain", "float32")):
        gflops = work[name] / median(times[name]) / 1e9
        found[name] = Speed(config.batch / median(times[name]), gflops, gflops / peak(precision))
    return found


def learning(teacher: str, width: int, minutes: Iterable[float]) -> list[dict]:
    """What Adam and SOAP, from a random and from a sliced start, reach in so many minutes on the clock.

    Each run has its whole schedule within its minutes; drawing and slicing count. Judged by agreement with the teacher
    on drawn images.

    Returns:
        A dict for each: 'optim', 'init', 'minutes', 'updates', and 'agreement' in dB at each scale.
    """
    found = []
    lots = [(m, optim, init) for m in minutes for optim in ("adam", "soap") for init in ("random", "teacher")]
    for m, optim, init in tqdm(lots, desc="learning", unit="run"):
        lr = 6e-4 if (optim, init) == ("adam", "teacher") else None  # the best for each
        config = replace(recipe(teacher), optim=optim, init=init, lr=lr)
        student, updates = _train(load_teacher(teacher), width, config, 60 * m)
        t, judged = load_teacher(teacher), {}
        for scale in config.scales:
            drawn = DeadLeavesSource(192, seed=HELD_OUT + scale, side=256, pool=8)
            judged[f"x{scale}"] = round(agreement(t, student, drawn, scale, images=8), 2)
        found.append({"optim": optim, "init": init, "minutes": m, "updates": updates, "agreement": judged})
    return found


def _train(teacher: nn.Module, width: int, config: Config, seconds: float) -> tuple[nn.Module, int]:
    """The averaged student after so many seconds, and its updates: a few are timed to set the length of the rest."""
    started = time.perf_counter()
    source = make_source(config, teacher)
    student = make_student(config, width, teacher, source)
    trial = Distillation(teacher, make_student(replace(config, init="random"), width), source, config)
    tried = 4 * config.reuse
    for _ in range(64):  # fills its pool
        trial.imitation_step()
    each = _seconds(lambda: [trial.imitation_step() for _ in range(tried)]) / tried
    left = seconds - (time.perf_counter() - started)
    run = Distillation(teacher, student, source, replace(config, steps=max(config.imitation_steps, int(left / each))))
    for _ in run.rounds():
        if time.perf_counter() - started > seconds:
            break
    return run.averaged.module, run.step


def latency(network: str, height: int, width: int, runtime: str, scale: int = SCALE) -> dict[str, float | None]:
    """One image through a network, in a process of its own.

    Args:
        network: name, file or run folder.
        height: of the low-resolution image.
        width: likewise.
        runtime: 'torch' or 'onnxruntime'.
        scale: upscaling factor.

    Returns:
        'milliseconds', the median of several passes, and 'megabytes', what the process grew by at its largest; None
        where the system does not say.

    Raises:
        ExportError: for 'onnxruntime', a package is missing.
    """
    with tempfile.TemporaryDirectory() as folder, get_context("spawn").Pool(1) as pool:
        if runtime == "torch":
            file = Path(folder) / "network.safetensors"
            save_model(file, load_model(network))
        else:
            file = Path(folder) / "network.onnx"
            export_onnx(load_model(network), file, scale)
        return pool.apply(_time_passes, (file, torch.rand(1, 1, height, width).numpy(), scale, torch.get_num_threads()))


def latencies(networks: Iterable[str]) -> list[dict]:
    """`latency` of networks at both sizes with both runtimes; onnxruntime is left out where it is not installed.

    Returns:
        A dict for each: 'network', 'size', 'runtime', and what `latency` gives.
    """
    runtimes = ["torch", *(["onnxruntime"] if all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))) else [])]
    lots = [(network, size, runtime) for network in networks for size in SIZES for runtime in runtimes]
    return [
        {"network": Path(network).name, "size": size, "runtime": runtime, **latency(network, *SIZES[size], runtime)}
        for network, size, runtime in tqdm(lots, desc="latency", unit="network", leave=False)
    ]


def report(found: dict) -> Iterator[str]:
    """What was measured, in lines for people."""
    yield f"{found['precision']} is faster here ({found['because']}); a product of matrices does"
    yield "  " + ", ".join(f"{rate:.0f} GFLOP/s in {name}" for name, rate in found["peak_gflops"].items())
    yield f"{'loop':<22} {'images/s':>9} {'GFLOP/s':>9} {'of that':>8}"
    for name, words in (("ours", "dfkd"), ("plain", "straightforward")):
        speed = found["loops"][name]
        yield f"{words:<22} {speed['images']:>9.1f} {speed['gflops']:>9.1f} {speed['share']:>8.0%}"
    if found["learning"]:
        yield f"{'minutes':>7} {'optimiser':<10} {'start':<8} {'updates':>8}  agreement in dB"
    for run in found["learning"]:
        reached = "  ".join(f"{scale} {value:.2f}" for scale, value in run["agreement"].items())
        yield f"{run['minutes']:>7g} {run['optim']:<10} {run['init']:<8} {run['updates']:>8}  {reached}"
    if found["latency"]:
        yield f"{'network':<18} {'shown at':<10} {'runtime':<12} {'ms':>8} {'MB':>7}"
    for one in found["latency"]:
        yield (
            f"{one['network']:<18} {one['size']:<10} {one['runtime']:<12} "
            f"{one['milliseconds']:>8.1f} {'' if one['megabytes'] is None else one['megabytes']:>7}"
        )


def _time_passes(file: Path, lr, scale: int, threads: int) -> dict[str, float | None]:
    torch.set_num_threads(threads)
    lr = torch.from_numpy(lr)
    if file.suffix == ".onnx":
        run = load_onnx(file)
    else:
        network = load_model(file).to(memory_format=torch.channels_last)
        run = torch.no_grad()(lambda lr: network(lr, scale))
    run(lr[..., :16, :16])
    _forget_most_memory()
    before = _memory("VmRSS")
    times = [_seconds(lambda: run(lr)) for _ in range(5)]
    grown = None if before is None else round(max(0.0, _memory("VmHWM") - before), 1)
    return {"milliseconds": round(1e3 * median(times[1:]), 1), "megabytes": grown}


def _memory(what: str) -> float | None:
    """Memory of this process in MB, 'VmRSS' now or 'VmHWM' at most so far; None where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith(f"{what}:")), None)


def _forget_most_memory() -> None:
    """Let 'VmHWM' begin anew: loading PyTorch takes more than a small network's pass."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _operations(teacher: nn.Module, student: nn.Module, config: Config, uses: int) -> float:
    """Multiplications and additions for an update, of convolutions and resizing, on average."""
    lr, scale = torch.rand(1, 1, config.patch // 2, config.patch // 2), 2
    with FlopCounterMode(display=False) as asked, torch.no_grad():
        teacher(lr, scale)
    with FlopCounterMode(display=False) as learnt:
        student(lr, scale).sum().backward()
    student.zero_grad()
    return config.batch * (asked.get_total_flops() / uses + learnt.get_total_flops())


def _seconds(work: Callable[[], Tensor | list | None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(teacher: str, width: int, minutes: Iterable[float] = (), seconds: float = 30.0) -> dict:
    """All of it, as plain numbers for a record.

    Args:
        teacher: name, file or run folder of T.
        width: of the student.
        minutes: budgets of `learning`; none leave it out.
        seconds: for each loop of `speeds`.

    Raises:
        CheckpointError: the teacher is no VDSR; see `prepare` for all that can be known beforehand.
    """
    found = {"teacher": Path(teacher).name, "width": width, "precision": preferred()[0], "because": preferred()[1]}
    found["peak_gflops"] = {precision: round(peak(precision), 1) for precision in PRECISIONS}
    found["loops"] = {name: asdict(speed) for name, speed in speeds(teacher, width, seconds).items()}
    found["learning"] = learning(teacher, width, minutes)
    return found
