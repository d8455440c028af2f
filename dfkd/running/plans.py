"""The plan of a sweep: which settings are compared, with which seeds, and what was expected of it beforehand.

A plan is a TOML file::

    plan = "Does L_R help? Agreement at x2 and x3; 'dfsr' is better where the interval of the difference excludes 0."
    teacher = "vdsr-small"
    student = "vdsr-small-half"  # a shape, as --student takes it; or width = 16; or half the teacher's
    seeds = [0, 1, 2]
    baseline = "noise"  # what the other rows are compared with, seed by seed
    datasets = []  # benchmarks to score as well; none unless asked for
    workers = 2  # processes at a time, of one thread each

    [settings]  # of all rows: fields of Config, or of the methods' own settings
    scales = [2, 3]
    steps = 240

    [rows.noise]  # what this row has beside them, or instead
    method = "noise"

    [rows."dfsr, without L_R"]
    method = "dfsr"
    w_recon = 0.0

    [rows.dfsr]
    method = "dfsr"

    [slurm]  # what the jobs of a cluster ask for
    minutes = 240
    partition = "short"

It may come from anybody: nothing in it is carried out, names of rows make folders only below the sweep's own, and
whatever does not fit is refused before the first run.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from importlib import import_module
from pathlib import Path
from reprlib import repr as shown
from types import ModuleType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from dfkd.errors import DfkdError, TrainingError, pick
from dfkd.method.settings import Config, configure
from dfkd.method.sources import METHODS, CMISettings
from dfkd.networks.zoo import shape_named
from dfkd.pixels.benchmarks import DATASETS

LARGEST = 200_000  # bytes of a plan
LONGEST = 100  # bytes of a row's name, which becomes a folder's
RUNS = 10_000  # of one sweep at most
HELD_OUT_SEED = 10_000  # of the drawn images that students are compared on: seeds of runs stay below
WHOLE = 10**9  # no setting is a larger whole number
FORBIDDEN = set('/\\:*?"<>|')  # which some file system or other does not take in a name
WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "a table"}


@dataclass(frozen=True)
class Slurm:
    """What a cluster is asked for, a job.

    Attributes:
        minutes: after which a run that is not done is queued again, and goes on from its checkpoint.
        memory_gb: memory in GB.
        gpus: graphics cards.
        partition: of the cluster; its default where none is given.
        account: who pays.
        qos: quality of service.
    """

    minutes: int = 24 * 60
    memory_gb: int = 4
    gpus: int = 0
    partition: str | None = None
    account: str | None = None
    qos: str | None = None

    def __post_init__(self):
        if self.minutes < 1 or self.memory_gb < 1 or self.gpus < 0:
            raise TrainingError("slurm: minutes and memory_gb must be at least 1, gpus at least 0")
        for name in ("partition", "account", "qos"):  # they are written into a script that a shell reads
            if (value := getattr(self, name)) is not None and not re.fullmatch(r"[A-Za-z0-9_.,-]{1,100}", value):
                raise TrainingError(f"slurm: {name} is letters, digits and . , _ -, not {shown(value)}")


@dataclass(frozen=True)
class Plan:
    """A grid of settings and seeds.

    Attributes:
        plan: in words, what is compared and what would count as an answer; it is written down before the first run.
        teacher: packaged name, file or run folder.
        rows: name to the settings that a row has of its own.
        seeds: of every row; at least 0 and below `HELD_OUT_SEED`.
        settings: of all rows.
        student: its shape, as `dfkd.networks.zoo.shape_named` takes it; by default half the teacher's.
        width: its width, instead of that shape's.
        baseline: name of the row that the others are compared with.
        datasets: benchmarks on which students are scored as well.
        images: folder of pictures for rows of method 'real'; by default the 291 images.
        workers: processes, or jobs of a cluster, at a time.
        device: 'cpu' or 'cuda'.
        slurm: what a cluster is asked for, fields of `Slurm`.
    """

    plan: str
    teacher: str
    rows: dict[str, dict]
    seeds: tuple[int, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    student: str | None = None
    width: int | None = None
    baseline: str | None = None
    datasets: tuple[str, ...] = ()
    images: str | None = None
    workers: int = 2
    device: str = "cpu"
    slurm: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if not self.plan.strip():
            raise TrainingError("plan is empty: say in words what is compared, before the first run")
        if not self.rows:
            raise TrainingError("there are no rows: give at least one table [rows.NAME]")
        _check_names(list(self.rows))
        _check_seeds(self.seeds)
        if (runs := len(self.rows) * len(self.seeds)) > RUNS:
            raise TrainingError(f"{len(self.rows)} rows with {len(self.seeds)} seeds are {runs} runs, above {RUNS}")
        if self.baseline is not None:
            pick("row for the baseline", self.baseline, self.rows)
        if len(set(self.datasets)) < len(self.datasets):
            raise TrainingError(f"a data set is named twice among {', '.join(map(shown, self.datasets))}")
        for name in self.datasets:
            pick("data set", name, DATASETS)
        if self.workers < 1 or not 1 <= (1 if self.width is None else self.width) < 10_000:
            raise TrainingError("workers and width must be at least 1, and width below 10,000")
        if not re.fullmatch(r"(cpu|cuda)(:\d{1,2})?", self.device):
            raise TrainingError(f"device is 'cpu' or 'cuda', not {shown(self.device)}")
        self.shape()
        self.jobs_ask_for()

    def shape(self) -> dict[str, Any]:
        """What the plan says of the student's shape: 'architecture', 'width', 'blocks', 'inner', or some of them."""
        shape = shape_named(self.student) if self.student is not None else {}
        return shape | ({} if self.width is None else {"width": self.width})

    def jobs_ask_for(self) -> Slurm:
        """What a job of a cluster asks for."""
        return Slurm(**typed(Slurm, self.slurm, "slurm"))

    def config(self, row: str, seed: int, **defaults: Any) -> Config:
        """The settings of one run.

        Args:
            row: its name.
            seed: of all random streams.
            defaults: settings that hold where neither the row nor the plan names them.

        Raises:
            UnknownName: an unknown method.
            TrainingError: a setting that the row's method does not use, a value of another type, or values that make no
                sense together; the message names the row.
        """
        own = {**self.settings, **self.rows[row]}
        try:
            if "seed" in own:
                raise TrainingError("seed is no setting of a row: the plan's seeds are those of every row")
            method = own.get("method", CMISettings.method)
            if not isinstance(method, str):
                raise TrainingError(f"method is {WORDS[str]}, not {shown(method)}")
            for kind in (Config, METHODS[pick("method", method, METHODS)]):
                hints = _hints(kind)
                for name in own.keys() & {f.name for f in fields(kind)} - {"source"}:
                    _require(name, own[name], hints[name])
            return configure(**{**defaults, **own, "seed": seed})
        except DfkdError as error:
            raise type(error)(f"row {row!r}: {error}") from error


def read_plan(path: Path) -> Plan:
    """A plan from its file; what the settings of rows say is looked at later, by `Plan.config`.

    Raises:
        TrainingError: no such file, one that is too large or no TOML, or a plan that makes no sense.
        UnknownName: a baseline, a data set or a student's shape that is not known.
    """
    try:
        if not path.is_file():  # a folder, or a pipe that would keep us waiting
            raise TrainingError(f"{path} is no file; give a plan in TOML")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise TrainingError(f"{path} is no plan: it is larger than {LARGEST:,} bytes")
        values = _toml().loads(content.decode())
    except (OSError, ValueError, RecursionError) as error:  # what is no UTF-8, and what is no TOML, are ValueErrors
        why = " ".join(str(error).split())
        raise TrainingError(f"cannot read the plan {shown(str(path))}: {why[:200]}") from error
    try:
        return Plan(**typed(Plan, values, "the plan"))
    except DfkdError as error:
        raise type(error)(f"{path}: {error}") from error


def _toml() -> ModuleType:
    """Python's reader of TOML, or the package that was its model where Python has none yet."""
    for name in ("tomllib", "tomli"):
        try:
            return import_module(name)
        except ModuleNotFoundError:
            continue
    raise TrainingError('before Python 3.11, plans need the package tomli: pip install "dfkd[sweep]"')


def typed(kind: type, values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Values for the fields of a dataclass, all of them known and of the right type.

    Args:
        kind: the dataclass.
        values: field to value, as TOML gives them.
        what: to call them in a message.

    Raises:
        TrainingError: an unknown field, one that is missing, or a value of another type.
    """
    known = {f.name: f for f in fields(kind)}
    if unknown := sorted(set(values) - set(known)):
        raise TrainingError(f"{what} knows no {', '.join(map(shown, unknown[:5]))}, only {', '.join(known)}")
    needed = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING and n not in values]
    if needed:
        raise TrainingError(f"{what} lacks {', '.join(needed)}")
    hints = _hints(kind)
    for name, value in values.items():
        _require(name, value, hints[name])
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


_hints = cache(get_type_hints)  # slow, and a plan may have thousands of runs


def _require(name: str, value: Any, hint: Any) -> None:
    if not _fits(value, hint):
        raise TrainingError(f"{name} is {_words(hint)}, not {shown(value)}")


def _fits(value: Any, hint: Any) -> bool:
    """Whether TOML's value is of the type that a field's annotation says; whole numbers will do for others."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_fits(one, inner[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and (inner[1] is Any or all(_fits(one, inner[1]) for one in value.values()))
    if origin in (Union, UnionType):
        return any(_fits(value, kind) for kind in inner)
    if hint is float and type(value) in (int, float):
        return abs(value) <= sys.float_info.max  # neither infinite nor nan
    return type(value) is hint and (hint is not int or abs(value) <= WHOLE)


def _words(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple:
        return f"a list, each of it {_words(inner[0])}"
    if origin is dict:
        return WORDS[dict] if inner[1] is Any else "a table of tables"
    return WORDS[inner[0] if origin in (Union, UnionType) else hint]


def _check_names(names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        edges = name != name.strip() or name.startswith(".") or name.endswith(".")
        if not name or edges or not name.isprintable() or FORBIDDEN & set(name) or len(name.encode()) > LONGEST:
            raise TrainingError(
                f"{shown(name)} cannot be a row's name, as it cannot be a folder's: take up to {LONGEST} letters, "
                "digits, blanks and signs, none of / \\ : * ? \" < > |, and no dot or blank at the ends"
            )
        same = unicodedata.normalize("NFKC", name).casefold()  # what some file systems take for the same
        if same in seen:
            raise TrainingError(f"rows {seen[same]!r} and {name!r} would share a folder; rename one")
        seen[same] = name


def _check_seeds(seeds: tuple[int, ...]) -> None:
    if not seeds:
        raise TrainingError("there are no seeds: give at least one, and several for an interval")
    if twice := sorted(seed for seed, times in Counter(seeds).items() if times > 1):
        raise TrainingError(f"seeds are named twice: {', '.join(map(str, twice[:5]))}")
    if wrong := [seed for seed in seeds if not 0 <= seed < HELD_OUT_SEED]:
        raise TrainingError(f"seeds must be at least 0 and below {HELD_OUT_SEED}, not {wrong[0]}")
