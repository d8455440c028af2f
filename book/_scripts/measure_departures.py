"""What holds a trained generator back, and what each departure from the printed method brings: the book's experiment.

The plan below was written before the first run and goes into the record with the figures. Every row has the same eight
seeds, so that rows are compared in pairs. Runs that are there already are not run again.

    python book/_scripts/measure_departures.py [ROW ...]
"""

from __future__ import annotations

import sys
import time

import torch
from measuring import RECORDS, fill, header
from torch import Tensor

from dfkd import diversity
from dfkd.book import scoreboard
from dfkd.method.loop import Distillation
from dfkd.method.losses import reconstruction_loss
from dfkd.method.sources import DeadLeavesSource
from dfkd.pixels.resize import imresize
from dfkd.running.evaluation import agreement

RECORD = RECORDS / "departures.json"
SEEDS = range(8)
PLAN = (
    "Outcome: PSNR on the four test photographs at x2, x3 and x4, and the mean over the three.",
    "Comparison: differences between two rows, seed by seed; mean and 95 % interval (Student's t, seven degrees).",
    "1. Does a trained generator beat an untrained one: 'dfsr' and 'untrained', 'dfsr+' and 'untrained, exposed'.",
    "2. What each departure brings: alone (on 'dfsr') and left out (of 'dfsr+').",
    "3. Bad images or a moving target: a generator frozen after its run, fresh student, against an untrained one.",
    "4. Does contrast add: 'cmi' against 'dfsr', 'cmi+' against 'dfsr+'; and without the adversary.",
    "5. Weights: W_R and W_C over a decade each way, compared by agreement with the teacher on drawn images. (A single",
    "seed had shown that at W_R = 100 a relative adversary lets L_R fade the images; hence W_R = 1 as well.)",
    "6. The reference code's step sizes and weights, at this length.",
    "7. Added after eleven runs, when agreement with the public teacher had shown what it is worth: 'stretched'.",
    "8. Added after forty runs, before any of its own: does growing help, with the printed method and with 'dfsr+'.",
    "A row is called better when the interval of its mean over scales excludes zero; other wordings are not used.",
)  # fmt: skip
EXPOSED, STRETCHED = {"exposure": (0.1, 1.0)}, {"stretch": 3.0}
DFSR, CMI = scoreboard.DFSR, scoreboard.CMI | {"w_contrast": 1.0}
DFSR_PLUS, CMI_PLUS = DFSR | {"method": "dfsr+"}, CMI | {"method": "cmi+"}
ROWS: dict[str, dict] = {
    "dead leaves": {"method": "dead-leaves"},
    "real photographs": {"method": "real"},
    "untrained": {"method": "untrained"},
    "untrained, exposed": {"method": "untrained"} | EXPOSED,
    "untrained, exposed, stretched": {"method": "untrained"} | EXPOSED | STRETCHED,
    "dfsr": DFSR,
    "dfsr, exposed": DFSR | EXPOSED,
    "dfsr, relative": DFSR | {"adversary": "relative"},
    "dfsr, relative, W_R = 10": DFSR | {"adversary": "relative", "w_recon": 10.0},
    "dfsr, annealed": DFSR | {"anneal": True},
    "dfsr, W_R as in the reference code": DFSR | {"reconstruction": "squared", "w_recon": 1.0},
    "dfsr+": DFSR_PLUS,
    "dfsr+, not exposed": DFSR_PLUS | {"exposure": ()},
    "dfsr+, absolute": DFSR_PLUS | {"adversary": "absolute"},
    "dfsr+, not annealed": DFSR_PLUS | {"anneal": False},
    "dfsr+, W_R = 1": DFSR_PLUS | {"w_recon": 1.0},
    "dfsr+, W_R = 10": DFSR_PLUS | {"w_recon": 10.0},
    "dfsr+, W_R = 1000": DFSR_PLUS | {"w_recon": 1000.0},
    "dfsr+, without adversary": DFSR_PLUS | {"w_adversarial": 0.0},
    "dfsr+, stretched": DFSR_PLUS | STRETCHED,
    "cmi": CMI,
    "cmi+": CMI_PLUS,
    "cmi+, stretched": CMI_PLUS | STRETCHED,
    "cmi+, W_C = 0.1": CMI_PLUS | {"w_contrast": 0.1},
    "cmi+, W_C = 10": CMI_PLUS | {"w_contrast": 10.0},
    "cmi+, without adversary": CMI_PLUS | {"w_adversarial": 0.0},
    "the reference code's steps": DFSR | {
        "generator_lr": 1e-5, "anneal": True, "reconstruction": "squared", "w_recon": 1.0, "imitation_steps": 48,
    },
    "dfsr, two parts": DFSR | {"parts": 2},
    "dfsr+, two parts": DFSR_PLUS | {"parts": 2},
    "frozen, of dfsr": DFSR | {"frozen": True},
    "frozen, of dfsr+": DFSR_PLUS | {"frozen": True},
}  # fmt: skip


def outcome(run: tuple[str, int]) -> dict:
    """Train a row with a seed: scores, agreement, and what its source came to draw."""
    row, seed = run
    settings = ROWS[row] | {"seed": seed}
    frozen = settings.pop("frozen", False)
    started = time.process_time()
    task = begin(settings)
    scoreboard.finish(task)
    if frozen:  # the images it ended with, for a student that never saw the others
        source = task.source
        source.improve = lambda *_: {}
        task = begin(settings)
        task.source = source
        scoreboard.finish(task)
    spent, student = time.process_time() - started, task.averaged.module
    return {
        "psnr": {f"x{scale}": round(scoreboard.score(student, scale), 3) for scale in (2, 3, 4)},
        "agreement": {
            f"x{scale}": round(agreement(task.teacher, student, DeadLeavesSource(seed=10_000, side=256), scale), 3)
            for scale in (2, 3, 4)
        },
        "images": {f"x{scale}": statistics(task, scale) for scale in (2, 3, 4)},
        "movement": task.source.movement(), "cpu_seconds": round(spent, 1),
    }  # fmt: skip


def begin(settings: dict) -> Distillation:
    """A run of the book's experiment with settings of its own."""
    return scoreboard.begin("noise", **settings)


@torch.no_grad()
def statistics(task: Distillation, scale: int) -> dict[str, float]:
    """Exposure, plausibility, difficulty and diversity of 64 images of a run's source."""
    lr = task.source.sample(64, scale)
    teacher_sr, student_sr = task.teacher(lr, scale), task.averaged.module(lr, scale)
    return {name: round(value, 5) for name, value in {
        **exposure(lr),
        "L_R": reconstruction_loss(lr, teacher_sr, scale).item(),
        "relative disagreement": relative(teacher_sr, student_sr, imresize(lr, scale).clamp(0, 1)),
        "diversity": diversity((lr - 0.5).flatten(1)),
    }.items()}  # fmt: skip


def exposure(lr: Tensor) -> dict[str, float]:
    """Brightness and contrast: what is usual, and how much they vary from image to image."""
    brightness, contrast = lr.mean((1, 2, 3)), lr.std((1, 2, 3))
    return {
        "brightness": brightness.mean().item(), "spread of brightness": brightness.std().item(),
        "contrast": contrast.median().item(), "contrast, 10 %": contrast.quantile(0.1).item(),
        "contrast, 90 %": contrast.quantile(0.9).item(),
    }  # fmt: skip


def relative(teacher_sr: Tensor, student_sr: Tensor, upscaled: Tensor) -> float:
    """Squared error of the students relative to the energy of what the teacher adds, over all images."""
    return ((teacher_sr - student_sr).square().sum() / (teacher_sr - upscaled).square().sum()).item()


def main(wanted: list[str]) -> None:
    summary = "departures from the printed method, each alone and left out, in the book's experiment"
    said = header(
        __file__, "departures", summary, plan=PLAN, budget=scoreboard.BUDGET, rows=ROWS, teacher=scoreboard.TEACHER
    )
    entries = [{"row": row, "seed": seed} for seed in SEEDS for row in wanted or ROWS]
    fill(RECORD, said, entries, outcome, by=("row", "seed"))


if __name__ == "__main__":
    main(sys.argv[1:])
