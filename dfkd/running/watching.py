"""A distillation watched while it goes on: agreement with its teacher, and a log with pictures for who wants one."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from torch import Tensor

from dfkd.errors import TrainingError, pick
from dfkd.method.loop import Distillation
from dfkd.method.sources import DeadLeavesSource

LOGS = ("tensorboard",)
EXTRA = 'pip install "dfkd[log]"'
IMAGES, PATCH = 8, 96  # drawn to judge by, and the side of their enlarged ones
SEED = 40_000  # of canvases that no run draws
SHOWN = 16  # images of a generator in a grid


class Watch:
    """Looks at a run without touching it: its random streams, and so its course, are as if nobody looked.

    Args:
        task: the run.
        folder: where a log goes, into a folder of its own.
        log: one of `LOGS`, or None for the terminal alone.

    Raises:
        UnknownName: another kind of log.
        TrainingError: what writes the log is not installed.
    """

    def __init__(self, task: Distillation, folder: Path, log: str | None = None):
        self.task, self.agreement = task, {}
        self._writer = require_log(log)(str(folder / log)) if log else None
        self._held_out: dict[int, tuple[Tensor, Tensor]] = {}
        self._last = time.monotonic(), task.batches

    @property
    def logs(self) -> bool:
        """Whether a log is kept."""
        return self._writer is not None

    def note(self, report: dict[str, float]) -> None:
        """A round's losses go into the log."""
        if self._writer:
            for name, value in report.items():
                if name not in ("step", "part"):
                    self._writer.add_scalar(f"losses/{name}", value, report["step"])

    def look(self, step: int) -> dict[str, float]:
        """Judge the averaged student as it is now.

        Args:
            step: where the run stands.

        Returns:
            PSNR in dB of its answers to drawn images, the teacher's being the truth, by scale as 'x2'.
        """
        self.agreement = {f"x{scale}": round(self._agreement(scale), 2) for scale in self.task.config.scales}
        if self._writer:
            for scale, value in self.agreement.items():
                self._writer.add_scalar(f"agreement with the teacher in dB/{scale}", value, step)
            self._writer.add_scalar("images a second", self._images_per_second(), step)
            for scale, grid in self._generated().items():
                self._writer.add_image(f"generated/x{scale}", grid, step)
            self._writer.flush()
        return self.agreement

    @torch.no_grad()
    def _agreement(self, scale: int) -> float:
        student = self.task.averaged.module
        if scale not in self._held_out:
            lr = DeadLeavesSource(PATCH, seed=SEED + scale, side=2 * PATCH, pool=4).sample(IMAGES, scale)
            lr = lr.to(next(student.parameters()).device)
            self._held_out[scale] = lr, self.task.teacher(lr, scale).clamp(0, 1)
        lr, sr = self._held_out[scale]
        return -10 * (student(lr, scale).clamp(0, 1) - sr).double().square().mean().clamp_min(1e-12).log10().item()

    def _images_per_second(self) -> float:
        (then, before), now = self._last, (time.monotonic(), self.task.batches)
        self._last = now
        new = (now[1] - before) * self.task.config.batch * self.task.team.size
        return new / max(now[0] - then, 1e-9)

    @torch.no_grad()
    def _generated(self) -> dict[int, Tensor]:
        """G(z) for the same few z every time, four a row, by scale; {} where nothing is generated."""
        source = getattr(self.task.source, "main", self.task.source)
        grids = {}
        for scale, generator in getattr(source, "generators", {}).items():
            z = torch.randn(SHOWN, generator.z_dim, generator=torch.Generator().manual_seed(SEED))
            images = generator(z.to(source.device)).cpu()  # [16, 1, side, side]
            rows = [torch.cat(list(row), dim=2) for row in images.chunk(SHOWN // 4)]
            grids[int(scale)] = torch.cat(rows, dim=1)
        return grids


def require_log(log: str) -> type:
    """What writes a log of that kind; asked for before a run begins, so that none begins in vain.

    Raises:
        UnknownName: another kind of log.
        TrainingError: what writes it is not installed.
    """
    pick("log", log, LOGS)
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError(f"a log for tensorboard needs the package: {EXTRA}") from error
    return SummaryWriter
