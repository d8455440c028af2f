"""What a distillation is told to do: the loop's settings, and with them those of the source it learns from.

Each default is written once, in the class it belongs to, and each description too: the command line takes both from
there (see `describe`).
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from dfkd.errors import TrainingError, pick
from dfkd.method.optimisers import RECIPES
from dfkd.method.sources import METHODS, CMISettings, SourceSettings
from dfkd.method.sources.base import require_memory
from dfkd.networks.precision import PRECISIONS

INITS = ("random", "identity", "teacher")
MOST_SCALES = 16


@dataclass(frozen=True)
class Config:
    """One run of Algorithm 1. `configure` makes one from plain names and numbers.

    Attributes:
        source: settings of the method's source of images, one of the classes in `METHODS`.
        scales: upscaling factors; one is drawn at random for every update.
        steps: updates of the student in all, over all parts; a last round is not cut short.
        batch: M, images an update.
        patch: side of the high-resolution patches in pixels; generated images have side patch / scale.
        imitation_steps: student updates in a round, before the generator has its turn.
        parts: P, into which the student's body is split for progressive distillation.
        blocks: hidden blocks of the finished student.
        init: how hidden blocks start, the first ones and those that are added: 'random' or 'identity'; or 'teacher',
            the whole student cut out of its teacher (see dfkd.method.slicing; not the paper's).
        optim: 'adam' or 'soap' (mean loss, warm-up, cosine decay), or 'paper' (SGD with momentum, summed loss, steps
            of 0.1).
        lr: the student's step size; by default 1e-3 for Adam, 1.2e-3 for SOAP, 0.1 for SGD.
        warm_up: share of each part over which the step size rises; by default 0.02 for Adam and SOAP; SGD knows none.
        clip: bound on the norm of the student's gradient.
        average: weight of the newest student in the running average of weights that a run ends with.
        squared: share of each part, at its end, in which the student's error is squared, as PSNR squares it; 0 in the
            paper's method.
        reuse: how often a batch and the teacher's answer to it are used; 1 in the paper's method.
        dead_leaves: share of an imitation batch drawn by rule instead; 0 in the paper's method.
        precision: of the passes through teacher and student, 'float32' or 'bfloat16'.
        seed: of all random streams.
    """

    source: SourceSettings = field(default_factory=CMISettings)
    scales: tuple[int, ...] = (2, 3, 4)
    steps: int = 6000
    batch: int = 16
    patch: int = 48
    imitation_steps: int = 10
    parts: int = 1
    blocks: int = 18
    init: str = "random"
    optim: str = "adam"
    lr: float | None = None
    warm_up: float | None = None
    clip: float = 0.4
    average: float = 0.01
    squared: float = 0.0
    reuse: int = 1
    dead_leaves: float = 0.0
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self):
        require_kinds(type(self), vars(self))
        require_kinds(type(self.source), vars(self.source))
        pick("optimiser", self.optim, RECIPES)
        pick("init", self.init, INITS)
        pick("precision", self.precision, PRECISIONS)
        if not self.scales or any(s < 2 or self.patch % (4 * s) for s in self.scales):
            raise TrainingError(
                f"scales {self.scales} and patch {self.patch}: each scale at least 2, patch a multiple of 4 * scale"
            )
        for name in ("steps", "batch", "imitation_steps", "parts", "blocks", "reuse"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} must be at least 1, not {getattr(self, name)}")
        require_memory("features of a batch of such patches", 16 * self.batch * self.patch**2)
        if len(self.scales) > MOST_SCALES or len(set(self.scales)) < len(self.scales):
            raise TrainingError(f"scales {self.scales}: each once, and up to {MOST_SCALES}")
        if not (self.student_lr > 0 and self.clip > 0 and 0 < self.average <= 1):
            raise TrainingError("lr and clip must be positive, average must lie in (0, 1]")
        if not 0 <= self.squared <= 1:
            raise TrainingError(f"squared is a share of each part, in [0, 1], not {self.squared}")
        if self.init == "teacher" and self.parts > 1:
            raise TrainingError("init 'teacher' cuts all blocks out of the teacher at once: parts must be 1")
        if self.parts > min(self.blocks, self.rounds):
            raise TrainingError(f"{self.parts} parts need as many blocks ({self.blocks}) and rounds ({self.rounds})")
        self._check_warm_up()
        self.images_of("dead_leaves", self.dead_leaves)
        self.source.check(self)

    def _check_warm_up(self) -> None:
        if self.warm_up is not None and RECIPES[self.optim].warm_up is None:
            raise TrainingError(f"optimiser {self.optim!r} has no warm-up: leave warm_up out")
        if self.warm_up is not None and not 0 <= self.warm_up <= 1:
            raise TrainingError(f"warm_up is a share of each part, in [0, 1], not {self.warm_up}")

    def images_of(self, name: str, share: float, batch: int | None = None) -> int:
        """How many images of a batch a share is.

        Args:
            name: of the setting, for the message.
            share: in [0, 1).
            batch: images it is a share of; by default the whole `batch`.

        Raises:
            TrainingError: a share that rounds to none of the batch, or to all of it.
        """
        batch = self.batch if batch is None else batch
        if not 0 <= share < 1:
            raise TrainingError(f"{name} must lie in [0, 1), not {share}")
        images = round(share * batch)
        if share and not 0 < images < batch:
            what = "no image" if not images else "every image"
            raise TrainingError(f"{name}={share} of {batch} images is {what}; choose another share or batch")
        return images

    @property
    def method(self) -> str:
        """Name of the method, a key of `METHODS`."""
        return self.source.method

    @property
    def rounds(self) -> int:
        """Imitation stages, each followed by a generation stage, over all parts."""
        return -(-self.steps // self.imitation_steps)

    @property
    def student_lr(self) -> float:
        """`lr`, or the optimiser's own default."""
        return self.lr if self.lr is not None else RECIPES[self.optim].lr

    def warm_up_updates(self, updates: int) -> int:
        """Updates of a part over which the step size rises, of all its updates."""
        share = self.warm_up if self.warm_up is not None else RECIPES[self.optim].warm_up
        return round((share or 0) * updates)

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers, strings and lists, for JSON: what `configure` takes."""
        loop = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "source"}
        flat = {"method": self.method, **loop, **asdict(self.source)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in flat.items()}


def configure(method: str = CMISettings.method, **settings: Any) -> Config:
    """The settings of a run from plain values: each goes to the class that knows its name.

    Args:
        method: where training images come from, one of `METHODS`.
        settings: fields of `Config`, or of the method's own settings.

    Raises:
        UnknownName: an unknown method.
        TrainingError: a setting that this method does not use, or values that make no sense together.
    """
    kind = METHODS[pick("method", method, METHODS)]
    own, loop = names_of(kind), names_of(Config) - {"source"}
    if unknown := sorted(set(settings) - own - loop):
        others = {name: [m for m, k in METHODS.items() if name in names_of(k)] for name in unknown}
        known = [f"{name} (of {', '.join(methods)})" if methods else name for name, methods in others.items()]
        raise TrainingError(
            f"method {method!r} does not use {', '.join(known)}; "
            f"beside the loop's settings it has {', '.join(sorted(own)) or 'none of its own'}"
        )
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    source = kind(**{name: value for name, value in settings.items() if name in own})
    return Config(source, **{name: value for name, value in settings.items() if name in loop})


def read_config(values: dict[str, Any]) -> Config:
    """The settings in a record: as `Config.to_dict` wrote them, or as the first edition did.

    The first edition kept all methods' settings whatever the method, and warmed up for a hundred updates whatever the
    length.

    Raises:
        TrainingError: a name this version does not know.
    """
    if "method" not in values:
        raise TrainingError("these settings name no method")
    for kind in (Config, METHODS[pick("method", values["method"], METHODS)]):
        require_kinds(kind, values)
    if "warm_up" not in values:
        used = names_of(METHODS[pick("method", values["method"], METHODS)]) | names_of(Config) | {"method"}
        others = set().union(*(names_of(kind) for kind in METHODS.values())) - used
        values = {name: value for name, value in values.items() if name not in others}
        if values.get("optim", "adam") == "adam":
            values["warm_up"] = min(1.0, 100 * values.get("parts", 1) / max(1, values.get("steps", Config.steps)))
    return configure(**values)


def names_of(settings: type) -> set[str]:
    """Names of a settings class's fields."""
    return {f.name for f in fields(settings)}


def require_kinds(settings: type, values: dict[str, Any]) -> None:
    """Refuse values of the wrong kind, by the types of a settings class's fields: what no file could give back.

    Args:
        settings: a dataclass.
        values: by name, as JSON has them; names that the class does not know are none of its business.

    Raises:
        TrainingError: a value of another kind, or a number that is not finite.
    """
    for name, kind in get_type_hints(settings).items():
        if name in values and not _is_a(values[name], kind):
            wanted = {"float": "a finite number", "int": "a whole number", "bool": "true or false", "str": "a word"}
            hint = next((f"; give {words}" for part, words in wanted.items() if part in str(kind)), "")
            raise TrainingError(f"{name} cannot be {values[name]!r:.60}{hint}")


def _is_a(value: Any, kind: Any) -> bool:
    if isinstance(kind, UnionType):
        return any(_is_a(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:  # of any length, a list in JSON
        return isinstance(value, list | tuple) and all(_is_a(one, get_args(kind)[0]) for one in value)
    if kind is float:
        return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)
    return kind not in (int, bool, str, NoneType) or type(value) is kind  # other kinds are settings of their own


def describe(settings: type) -> dict[str, str]:
    """What each field of a settings class means, by name: its own and its bases' docstrings, on one line each."""
    text: dict[str, str] = {}
    for cls in reversed(settings.__mro__):
        section = (cls.__dict__.get("__doc__") or "").partition("Attributes:\n")[2]
        for name, words in re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", section, flags=re.MULTILINE):
            text[name] = re.sub(r"\s+", " ", words)
    return {name: text[name] for name in (f.name for f in fields(settings)) if name in text}
