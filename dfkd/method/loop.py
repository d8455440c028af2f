"""Algorithm 1: imitation and generation in turn, the student growing part by part."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dfkd.errors import TrainingError
from dfkd.method.answers import Answered, Answers, pool_size
from dfkd.method.losses import distillation_loss
from dfkd.method.optimisers import RECIPES
from dfkd.method.settings import Config
from dfkd.method.sources import Source
from dfkd.method.team import ALONE, Team
from dfkd.networks.precision import answer
from dfkd.networks.vdsr import split
from dfkd.seeds import stream


class Distillation:
    """A run of Algorithm 1, and everything needed to go on with it after a stop.

    Args:
        teacher: T, any module of signature ``teacher(lr, scale)``; it is frozen.
        student: S_0, likewise; with more than one part it must know how to ``grow`` as `VDSR` does.
        source: where training images come from.
        config: all settings; a batch is one process's.
        team: the processes that share the run; `source` is to know the same.

    Attributes:
        answers: what the teacher said, kept for `reuse`.
        averaged: the running average of the student's weights, a module with the student's signature: evaluate this.
        part, round: where the run stands; k and the count of rounds within the part.

    Raises:
        TrainingError: with more than one part, a student that cannot grow or has not the blocks of the first part.
    """

    def __init__(
        self, teacher: nn.Module, student: nn.Module, source: Source, config: Config, team: Team = ALONE
    ):  # fmt: skip
        if config.parts > 1 and not hasattr(student, "grow"):
            raise TrainingError(f"{type(student).__name__} has no grow(); train it with parts=1")
        if not any(parameter.requires_grad for parameter in student.parameters()):  # load_student gives frozen ones
            student.requires_grad_(True).train()
        self.teacher, self.student = _laid_out(teacher).requires_grad_(False).eval(), _laid_out(student)
        self.source, self.config, self.team = source, config, team
        self.answers = Answers(config.reuse, pool_size(config.steps, config.reuse), seed=config.seed)
        self._recipe = RECIPES[config.optim]
        self.part = self.round = 0
        self._sizes = split(config.blocks, config.parts)
        begun = getattr(student, "blocks", self._sizes[0])
        if config.parts > 1 and begun != self._sizes[0]:
            raise TrainingError(
                f"a student that is to have {config.blocks} blocks after {config.parts} parts begins with "
                f"{self._sizes[0]}, this one with {begun}; make it with dfkd.make_student"
            )
        self._rng, self._growth_rng = stream(config.seed, "scales"), stream(config.seed, "growth")
        self._restart_optimiser()

    def rounds(self) -> Iterator[dict[str, float]]:
        """Algorithm 1 from wherever the run stands; between two rounds it may be saved, and stopped.

        Yields:
            After each round: 'step', 'part', 'distillation' (the imitation loss, mean over the round), and the
            generation stage's terms as 'generation.<term>'.

        Raises:
            TrainingError: a loss or a gradient is not finite, or a student spread over processes is to grow or to
                learn from a generator.
        """
        self._refuse_to_spread()
        while self.part < self.config.parts:  # line 5
            while self.round < self.rounds_in_part:  # line 7
                losses = [self.imitation_step() for _ in range(self.config.imitation_steps)]  # lines 8 to 15
                terms = self.generation_stage()  # lines 16 to 24
                self.round += 1
                yield self._report(losses, terms)
            self._next_part()  # line 6

    def notes(self) -> dict[str, dict]:
        """What a record should say of where the run stands, beside its losses."""
        return self.source.notes(self.teacher, self.student)

    def imitation_step(self) -> float:
        """One update of the student towards the teacher on images of the source (lines 10 to 14); returns L_KD.

        In a team, of the student that all share, on the images of all.
        """
        scale, lr, teacher_sr = self.answers.draw(self._ask)
        student_sr = answer(self.student, lr, scale, self.config.precision)
        loss = distillation_loss(teacher_sr, student_sr)  # Eq. 5; Eq. 14 in the last part
        objective = mse_loss(student_sr, teacher_sr) if self._squares() else loss
        objective = objective * teacher_sr.numel() * self.team.size if self._recipe.summed else objective
        loss = self.team.mean(loss.detach())
        self._require_finite("imitation loss", loss.item())
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.student_lr * self._student_rate()
        self.optimiser.zero_grad(set_to_none=True)
        objective.backward()
        self.team.average_gradients(self.student.parameters())
        norm = clip_grad_norm_(self.student.parameters(), self.config.clip)
        self._require_finite("norm of the student's gradient", norm.item())
        self.optimiser.step()
        self.averaged.update_parameters(self.student)
        self._step_in_part += 1
        return loss.item()

    def generation_stage(self) -> dict[str, float]:
        """The source's turn (lines 16 to 24), at a scale of its own; returns its loss terms."""
        return self.source.improve(self.teacher, self.student, self._draw_scale(), self._generator_rate())

    def _ask(self) -> Answered:
        scale = self._draw_scale()
        lr = self.source.sample(self.config.batch, scale)
        with torch.no_grad():
            return scale, lr, answer(self.teacher, lr, scale, self.config.precision)

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"the {what} became {value} at step {self.step} of part {self.part}; lower lr and "
                "start a new run (this one would only come to the same point again)"
            )

    def _refuse_to_spread(self) -> None:
        """What would silently come out different on each of several processes is refused by name."""
        if not any(isinstance(module, DistributedDataParallel) for module in self.student.modules()):
            return
        if self.config.parts > 1:
            raise TrainingError("blocks added later would not be kept equal across processes; train it with parts=1")
        if self.source.learns:
            raise TrainingError(
                "the generators of each process would go their own ways; spread 'noise', 'dead-leaves' or 'untrained', "
                f"not {self.config.method!r}"
            )

    @property
    def rounds_in_part(self) -> int:
        """Rounds of the present part; the last one takes what does not divide evenly."""
        even, rest = divmod(self.config.rounds, self.config.parts)
        return even + (rest if self.part == self.config.parts - 1 else 0)

    @property
    def step(self) -> int:
        """Student updates done so far, over all parts."""
        part = min(self.part, self.config.parts - 1)  # a finished run stands at the end of its last part
        before = part * (self.config.rounds // self.config.parts) * self.config.imitation_steps
        return before + self._step_in_part

    @property
    def batches(self) -> int:
        """Batches of different images seen so far."""
        return self.answers.asked

    @property
    def finished(self) -> bool:
        """Whether all parts are done."""
        return self.part >= self.config.parts

    def _squares(self) -> bool:
        """Whether this part is near enough to its end for the squared error."""
        updates = self.rounds_in_part * self.config.imitation_steps
        return self._step_in_part >= updates - round(self.config.squared * updates)

    def _draw_scale(self) -> int:
        """Student and generator draw their scales independently, each update anew."""
        return self.config.scales[int(torch.randint(len(self.config.scales), (), generator=self._rng))]

    def _student_rate(self) -> float:
        """Factor on the student's step size: its schedule starts anew with each part."""
        updates = self.rounds_in_part * self.config.imitation_steps
        return self._recipe.schedule(self._step_in_part, updates, self.config.warm_up_updates(updates))

    def _generator_rate(self) -> float:
        """Factor on the generator's step size: its schedule, where it has one, never starts anew."""
        if self.config.optim != "paper" and not getattr(self.config.source, "anneal", False):
            return 1.0
        return self._recipe.schedule(max(0, self.step - 1), self.config.rounds * self.config.imitation_steps, 0)

    def _restart_optimiser(self) -> None:
        self.optimiser = self._recipe.make(self.student.parameters(), self.config.student_lr)
        self.averaged = AveragedModel(self.student, multi_avg_fn=get_ema_multi_avg_fn(1 - self.config.average))
        self._step_in_part = 0

    def _next_part(self) -> None:
        """S_k <- S_{k-1} and a part more; generator, bank and h go on as they are."""
        self.part += 1
        if self.finished:
            return
        self._grow(self.part)
        self.round = 0
        self._restart_optimiser()

    def _grow(self, part: int) -> None:
        self.student.grow(self._sizes[part], self.config.init, self._growth_rng)
        self.student.to(memory_format=torch.channels_last)

    def _report(self, losses: list[float], terms: dict[str, float]) -> dict[str, float]:
        report = {"step": self.step, "part": self.part, "distillation": sum(losses) / len(losses)}
        for name, value in terms.items():
            if not math.isfinite(value):
                raise TrainingError(f"the {name} loss is {value} at step {self.step}; start anew, generator_lr lower")
            report[f"generation.{name}"] = value
        return report

    def state_dict(self) -> dict:
        """All that decides how the run goes on."""
        return {
            "part": self.part,
            "round": self.round,
            "step_in_part": self._step_in_part,
            "student": self.student.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "source": self.source.state_dict(),
            "answers": self.answers.state_dict(),
            "rng": self._rng.get_state(),
            "growth_rng": self._growth_rng.get_state(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Take over what `state_dict` gave, in a run newly made from the same config."""
        self.part = whole_number(state["part"], self.config.parts)
        for part in range(1, min(self.part, self.config.parts - 1) + 1):
            self._grow(part)
        self.round = whole_number(state["round"], self.config.rounds)
        self._restart_optimiser()
        self._step_in_part = whole_number(state["step_in_part"], self.config.rounds * self.config.imitation_steps)
        self.student.load_state_dict(state["student"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.source.load_state_dict(state["source"])
        self.answers.load_state_dict(state["answers"], next(self.student.parameters()).device)
        self._rng.set_state(state["rng"])
        self._growth_rng.set_state(state["growth_rng"])


def _laid_out(network: nn.Module) -> nn.Module:
    """In the layout in which convolutions are half as fast again on CPUs; volumes, [..., d, h, w], have no such."""
    if any(weights.dim() > 4 for weights in (*network.parameters(), *network.buffers())):
        return network
    return network.to(memory_format=torch.channels_last)


def whole_number(value: Any, most: int) -> int:
    """A count from a saved state, if it is one; anything else could make a run that never ends."""
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"it counts {value!r:.40} where 0 to {most} was expected")
    return value
