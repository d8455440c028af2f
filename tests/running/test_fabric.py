"""Chapter 11's lines for several devices: two processes on a processor share one student, on images of their own."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("lightning_fabric", reason="lightning-fabric is not installed (it is in the extra `book`)")

SCRIPT = """
import sys
from dataclasses import replace

import torch
from lightning_fabric import Fabric

import dfkd
from dfkd.networks.edsr import EDSR
from dfkd.seeds import for_rank, seeded

devices = int(sys.argv[1])
strategy = "auto" if devices == 1 else "ddp_find_unused_parameters_true"
fabric = Fabric(accelerator="cpu", devices=devices, strategy=strategy)
fabric.launch()
config = dfkd.configure("noise", steps=6, batch=2, patch=24, scales=(2, 3), imitation_steps=2)
with seeded(0, "networks"):
    teacher, student = EDSR(6, 1), EDSR(3, 1)
source = dfkd.make_source(replace(config, seed=for_rank(config.seed, fabric.global_rank)), fabric.to_device(teacher))
run = dfkd.Distillation(teacher, student, source, config)
run.student, run.optimiser = fabric.setup(run.student, run.optimiser)
list(run.rounds())
weights = torch.cat([p.flatten() for p in run.student.parameters()])
sys.stdout.write(f"\\nsum {weights.double().sum().item():.12f}\\n")
"""


def sums(folder, devices: int) -> list[str]:
    path = folder / "script.py"
    path.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, path, str(devices)], capture_output=True, text=True, timeout=300, check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("sum ")]


@pytest.mark.slow
def test_two_processes_end_with_one_student(tmp_path):
    alone, shared = sums(tmp_path, 1), sums(tmp_path, 2)
    assert len(alone) == 1 and len(shared) == 2
    assert shared[0] == shared[1] != alone[0]  # gradients of both are averaged, and the second saw other images
