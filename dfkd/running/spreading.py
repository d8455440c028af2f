"""One run on several devices: a team of processes, started and kept together by Lightning Fabric."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import TrainingError
from dfkd.method.team import ALONE, Team

EXTRA = 'pip install "dfkd[devices]"'
LEAST_ALLOWED = 64  # processes on one processor, however few cores it has: more is a slip of the finger
_asked = {"processes": 1}  # that share what this command does


class ProcessLost(TrainingError):
    """Another process of the run has ended; what was saved is there to go on from."""


class FabricTeam(Team):
    """Several processes, as Fabric has launched them.

    Args:
        fabric: launched.
    """

    def __init__(self, fabric: Any):
        self.fabric, self.rank, self.size = fabric, fabric.global_rank, fabric.world_size

    def mean(self, value: Tensor) -> Tensor:
        """A scalar averaged over the processes."""
        mean = self._together(lambda: self.fabric.all_reduce(value.detach().clone(), reduce_op="mean"))
        return value + (mean - value).detach()

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes in order of rank."""
        return self._together(lambda: self.fabric.all_gather(rows, sync_grads=rows.requires_grad)).flatten(0, 1)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """In one message: a light student's gradients are not worth several."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        flat = self._together(lambda: self.fabric.all_reduce(flat, reduce_op="mean"))
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def share(self, network: nn.Module) -> None:
        """The weights that rank 0 has, on all processes."""
        for value in network.state_dict().values():
            value.copy_(self._together(lambda value=value: self.fabric.broadcast(value, src=0)))

    def collect(self, what: Any) -> list[Any]:
        """What each process has, on rank 0."""
        everything = [None] * self.size if self.rank == 0 else None
        self._together(lambda: torch.distributed.gather_object(what, everything, dst=0))
        return everything or []

    def any_of(self, wanted: bool) -> bool:
        """Whether some process wants it."""
        return self.mean(torch.tensor(float(wanted), device=self.fabric.device)).item() > 0

    def _together(self, work: Any) -> Any:
        try:
            return work()
        except RuntimeError as error:
            why = " ".join(str(error).split())[:120]
            raise ProcessLost(f"process {self.rank} of {self.size} lost another one ({why})") from error


def rank_here() -> int:
    """Rank of this process, as whoever started it has said; 0 for one alone."""
    return next((int(os.environ[name]) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ), 0)


def expect(processes: int) -> None:
    """Note how many processes share what this command does, before they have met: `launch` does, and who knows earlier.

    A rank alone does not say it: whoever starts one command many times, each with work of its own, sets one too.
    """
    _asked["processes"] = processes


def others_speak() -> bool:
    """Whether this is one of several processes of a team, and not the first: what all run into, that one says."""
    return _asked["processes"] > 1 and rank_here() > 0


def launch(devices: int = 1, nodes: int = 1, accelerator: str = "cpu") -> tuple[Team, str]:
    """The team that this process is in, and its device; with several, the others are started where nobody has yet.

    Under ``torchrun`` and ``srun`` the processes are there already, and Fabric finds out.

    Args:
        devices: on each node.
        nodes: machines.
        accelerator: 'cpu' or 'cuda'.

    Raises:
        TrainingError: lightning-fabric is not installed, there are not as many devices, or a processor is to run more
            processes than it has cores, and more than `LEAST_ALLOWED`.
    """
    expect(devices * nodes)
    if devices * nodes == 1:
        return ALONE, accelerator
    if accelerator == "cpu" and devices > (most := max(LEAST_ALLOWED, os.cpu_count() or 1)):
        raise TrainingError(f"{devices} processes on one machine's processor: {most} at most")
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.utilities.exceptions import MisconfigurationException
    except ImportError as error:
        raise TrainingError(f"several devices need lightning-fabric: {EXTRA}") from error
    try:
        if nodes > 1 and rank_here() == 0:
            print(f"waiting for the processes of {nodes} machines", file=sys.stderr, flush=True)
        fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, strategy="ddp")
        fabric.launch()
    except (RuntimeError, ValueError, MisconfigurationException) as error:  # the last for more GPUs than there are
        raise TrainingError(f"{devices} devices of kind {accelerator} on {nodes} nodes: {error}") from error
    return FabricTeam(fabric), str(fabric.device)
