"""What a distillation is told to do, in one place, so that a record can repeat it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from dfkd.errors import TrainingError, pick
from dfkd.precision import PRECISIONS

METHODS = {
    "noise": "uniform noise: what a student learns from no images at all",
    "real": "real images: not data-free, the bound to compare with",
    "dead-leaves": "images drawn by rule (see dfkd.sources.dead_leaves); not the paper's",
    "untrained": "a generator that is never trained",
    "dfsr": "a generator trained by reconstruction and adversarial loss (Eq. 4; Zhang et al., 2021)",
    "cmi": "the paper's method: contrastive loss and memory bank as well (Eq. 13)",
}
OPTIMS = ("adam", "paper")
INITS = ("random", "identity", "teacher")
DENOMINATORS = ("negatives", "all")


@dataclass(frozen=True)
class Config:
    """One run of Algorithm 1.

    Attributes:
        method: where training images come from, one of `METHODS`.
        scales: upscaling factors; one is drawn at random for every update.
        steps: updates of the student in all, over all parts; a last round is not cut short.
        batch: M, images an update.
        patch: side of the high-resolution patches in pixels; generated images have side patch / scale.
        imitation_steps: student updates in a round, before the generator has its turn.
        generation_steps: updates of G, h and z in a generation stage, on one batch of z.
        parts: P, into which the student's body is split for progressive distillation.
        blocks: hidden blocks of the finished student.
        init: how hidden blocks start, the first ones and those that are added: 'random' or 'identity'; or 'teacher',
            the whole student cut out of its teacher (see dfkd.slicing; not the paper's).
        optim: 'adam' (mean loss, warm-up, cosine decay) or 'paper' (SGD with momentum, summed loss, steps of 0.1).
        lr: the student's step size; by default 1e-3 for Adam, 0.1 for SGD.
        generator_lr: Adam's step size for G and h.
        z_lr: Adam's step size for z.
        clip: bound on the norm of the student's gradient.
        average: weight of the newest student in the running average of weights that a run ends with.
        w_adversarial: weight of L_GEN, 1 in the paper; 0 leaves a generator that is only asked to be plausible.
        w_recon: W_R; by default L_R pulls at G(z) about as hard as L_GEN at the start (see a record's gradient_norms).
        w_contrast: W_C; likewise for L_cr.
        temperature: tau of Eq. 12.
        denominator: of Eq. 12, 'negatives' as printed or 'all'.
        bank: rows of each scale's memory bank.
        negatives: rows drawn from it for a contrastive loss.
        layers: names of the teacher's layers that h looks at; by default an early, a middle and the last hidden one.
        replay: share of an imitation batch drawn from the bank; 0 in the paper's method.
        reuse: how often a batch and the teacher's answer to it are used; 1 in the paper's method.
        dead_leaves: share of an imitation batch drawn by rule instead; 0 in the paper's method.
        precision: of the passes through teacher and student, one of `PRECISIONS`; see dfkd.precision.
        optimise_z: whether z is updated between the inner steps (Algorithm 1, line 20).
        seed: of all random streams.
    """

    method: str = "cmi"
    scales: tuple[int, ...] = (2, 3, 4)
    steps: int = 6000
    batch: int = 16
    patch: int = 48
    imitation_steps: int = 10
    generation_steps: int = 2
    parts: int = 1
    blocks: int = 18
    init: str = "random"
    optim: str = "adam"
    lr: float | None = None
    generator_lr: float = 1e-4
    z_lr: float = 1e-2
    clip: float = 0.4
    average: float = 0.01
    w_adversarial: float = 1.0
    w_recon: float = 100.0
    w_contrast: float = 10.0
    temperature: float = 0.1
    denominator: str = "negatives"
    bank: int = 4096
    negatives: int = 256
    layers: tuple[str, ...] = ()
    replay: float = 0.0
    reuse: int = 1
    dead_leaves: float = 0.0
    precision: str = "float32"
    optimise_z: bool = True
    seed: int = 0

    def __post_init__(self):
        pick("method", self.method, METHODS)
        pick("optimiser", self.optim, OPTIMS)
        pick("init", self.init, INITS)
        pick("denominator", self.denominator, DENOMINATORS)
        pick("precision", self.precision, PRECISIONS)
        if not self.scales or any(s < 2 or self.patch % (4 * s) for s in self.scales):
            raise TrainingError(
                f"scales {self.scales} and patch {self.patch}: each scale at least 2, patch a multiple of 4 * scale"
            )
        counts = ("steps", "batch", "imitation_steps", "parts", "blocks", "bank", "negatives", "reuse")
        for name in counts:
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.generation_steps < 0 or not 0 <= self.replay < 1 or not 0 <= self.dead_leaves < 1:
            raise TrainingError("generation_steps must not be negative; replay and dead_leaves must lie in [0, 1)")
        if self.method == "dead-leaves" and self.dead_leaves:
            raise TrainingError("method 'dead-leaves' draws every image by rule: dead_leaves is for the other methods")
        if not (self.clip > 0 and 0 < self.average <= 1):
            raise TrainingError("clip must be positive, average must lie in (0, 1]")
        if self.init == "teacher" and self.parts > 1:
            raise TrainingError("init 'teacher' cuts all blocks out of the teacher at once: parts must be 1")
        if self.method == "cmi" and self.batch < 2:
            raise TrainingError("method 'cmi' tells the images of a batch apart: batch must be at least 2")
        if not (self.student_lr > 0 and self.temperature > 0 and min(self.generator_lr, self.z_lr) >= 0):
            raise TrainingError("lr and temperature must be positive, generator_lr and z_lr not negative")
        if self.parts > min(self.blocks, self.rounds):
            raise TrainingError(f"{self.parts} parts need as many blocks ({self.blocks}) and rounds ({self.rounds})")

    @property
    def rounds(self) -> int:
        """Imitation stages, each followed by a generation stage, over all parts."""
        return -(-self.steps // self.imitation_steps)

    @property
    def student_lr(self) -> float:
        """`lr`, or the optimiser's own default."""
        return self.lr if self.lr is not None else {"adam": 1e-3, "paper": 0.1}[self.optim]

    def to_dict(self) -> dict:
        """As plain numbers, strings and lists, for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict) -> Config:
        """The inverse of `to_dict`.

        Raises:
            TrainingError: a name this version does not know.
        """
        if unknown := set(values) - {field.name for field in fields(cls)}:
            raise TrainingError(f"unknown settings {sorted(unknown)}: written by another version of dfkd?")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
