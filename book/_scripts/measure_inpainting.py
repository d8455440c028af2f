"""The recipe for a third task: pixels are missing, a teacher fills them in, a student learns it without data.

Half of the pixels are hidden at random. The teacher is trained on the nine photographs that the book's experiment may
use; students half as wide see its answers alone, to images of one source each, three seeds. Judged on the four test
photographs, by PSNR over the hidden pixels. No photograph takes part in a data-free row.

    python book/_scripts/measure_inpainting.py
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable

import torch
from measuring import RECORDS, header, side_by_side
from torch import Tensor, nn

from dfkd.book import scoreboard
from dfkd.method.losses import adversarial_loss
from dfkd.method.sources import DeadLeavesSource
from dfkd.method.sources.crops import Crops
from dfkd.method.sources.dfsr import EXPOSURE, frozen
from dfkd.method.sources.exposure import draw_exposure
from dfkd.networks.generator import Generator
from dfkd.running import records
from dfkd.seeds import seeded, stream

RECORD = RECORDS / "inpainting.json"
SEEDS, SIDE, BATCH, KEPT = (0, 1, 2), 48, 8, 0.5
WIDTH, STEPS, LR = 24, 600, 3e-3
ROUND, GENERATOR_LR, W_RECON = 10, 1e-3, 100.0  # updates of the student for one of the generator
SOURCES = (
    "uniform noise", "flat grey", "untrained generator", "untrained, exposed", "trained generator", "trained, exposed",
    "dead leaves", "photographs",
)  # fmt: skip


def network(width: int, seed: int) -> nn.Module:
    """Five convolutions on the picture with holes and the mask of what is left; no biases."""
    with seeded(seed, "inpainter"):
        sizes = [(2, width), *[(width, width)] * 3, (width, 1)]
        convs = [nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in sizes]
    hidden = [layer for conv in convs[:-1] for layer in (conv, nn.ReLU())]
    return nn.Sequential(*hidden, convs[-1]).to(memory_format=torch.channels_last)


def filled(net: nn.Module, c: Tensor, kept: Tensor) -> Tensor:
    """What is left of c, [batch, 1, height, width], and the network's answer where `kept` is 0."""
    holes = c * kept
    return holes + (1 - kept) * net(torch.cat([holes, kept], dim=1))


def masks(like: Tensor, rng: torch.Generator) -> Tensor:
    """1 where a pixel is left, 0 where it is hidden."""
    return (torch.rand(like.shape, generator=rng) < KEPT).float()


class Generated:
    """Images of a generator, exposed or not; trained against a student or left as it is."""

    def __init__(self, seed: int, exposed: bool, trained: bool):
        with seeded(seed, "generators"):
            self.generator = Generator(SIDE)
        self.rng, self.exposed, self.trained = stream(seed, "z"), exposed, trained
        self.adam = torch.optim.Adam(self.generator.parameters(), lr=GENERATOR_LR)

    def draw(self, batch: int) -> Tensor:
        with torch.no_grad():
            return self.make(batch)

    def make(self, batch: int) -> Tensor:
        images = self.generator(torch.randn(batch, self.generator.z_dim, generator=self.rng))
        return draw_exposure(batch, EXPOSURE, self.rng).of(images) if self.exposed else images

    def improve(self, teacher: nn.Module, student: nn.Module, rng: torch.Generator) -> None:
        """Eq. 4 with R the identity: down L_GEN + W_R L_R."""
        if not self.trained:
            return
        c = self.make(BATCH)
        kept = masks(c, rng)
        with frozen(teacher, student):
            theirs, ours = filled(teacher, c, kept), filled(student, c, kept)
            loss = adversarial_loss(theirs, ours) + W_RECON * (theirs.clamp(0, 1) - c).abs().mean()
            self.adam.zero_grad()
            loss.backward()
        self.adam.step()


def fit(net: nn.Module, draw: Callable, target: Callable, improve: Callable = lambda *_: None) -> nn.Module:
    """Adam down the mean absolute error to `target(c, kept)`."""
    adam, rng = torch.optim.Adam(net.parameters(), lr=LR), stream(0, "masks")
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, STEPS)
    for step in range(STEPS):
        c = draw(BATCH)
        kept = masks(c, rng)
        loss = (filled(net, c, kept) - target(c, kept)).abs().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
        if step % ROUND == ROUND - 1:
            improve(net)
    return net


@torch.no_grad()
def score(net: nn.Module | None) -> float:
    """Mean PSNR in dB over the hidden pixels of the four test photographs; without a network, of mid-grey there."""
    found, rng = [], stream(1, "masks to judge by")
    for hr in scoreboard.photographs().values():
        kept = masks(hr, rng)
        sr = filled(net, hr, kept).clamp(0, 1) if net else hr * kept + 0.5 * (1 - kept)
        hidden = (1 - kept).bool()
        found.append(-10 * (sr - hr)[hidden].double().square().mean().log10().item())
    return round(sum(found) / len(found), 3)


def photographs(seed: int) -> Callable[[int], Tensor]:
    return Crops(scoreboard.training_photographs(), SIDE, stream(seed, "crops")).draw


def teach() -> nn.Module:
    """The teacher, the same for every run."""
    return fit(network(WIDTH, 0), photographs(0), lambda c, kept: c).requires_grad_(False)


def outcome(run: tuple[str, int]) -> dict:
    """A student of one source: PSNR, and how plausible the teacher finds the source's images in the end."""
    name, seed = run
    started, teacher = time.process_time(), teach()
    rng, improve = stream(seed, "images"), lambda net: None
    draws = {
        "uniform noise": lambda n: torch.rand(n, 1, SIDE, SIDE, generator=rng),
        "flat grey": lambda n: torch.rand(n, 1, 1, 1, generator=rng).expand(n, 1, SIDE, SIDE),
    }
    if "trained" in name:
        generated = Generated(seed, exposed="exposed" in name, trained=not name.startswith("un"))
        draw, masked = generated.draw, stream(seed, "masks of the generator")
        improve = lambda net: generated.improve(teacher, net, masked)  # noqa: E731
    elif name == "dead leaves":
        draw = DeadLeavesSource(SIDE, side=256, pool=8, seed=seed).patches
    else:
        draw = draws.get(name) or photographs(seed + 1)
    student = fit(network(WIDTH // 2, seed + 1), draw, lambda c, kept: filled(teacher, c, kept), improve)
    with torch.no_grad():
        c = draw(64)
        recon = (filled(teacher, c, masks(c, stream(2, "masks"))).clamp(0, 1) - c).abs().mean().item()
    return {"psnr": score(student), "L_R": round(recon, 5), "cpu_seconds": round(time.process_time() - started, 1)}


def main() -> None:
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {"runs": []}
    summary = "inpainting: a teacher's student by source of images, PSNR over hidden pixels of four photographs"
    about = {"kept": KEPT, "steps": STEPS, "batch": BATCH, "width": [WIDTH, WIDTH // 2], "w_recon": W_RECON}
    record |= header(__file__, "inpainting", summary, **about, grey=score(None), teacher_psnr=score(teach()))
    done = {(run["source"], run["seed"]) for run in record["runs"]}
    to_do = [run for run in itertools.product(SOURCES, SEEDS) if run not in done]
    for (name, seed), found in side_by_side(outcome, sorted(to_do, key=lambda run: run[1])):
        record["runs"].append({"source": name, "seed": seed, **found})
        print(name, seed, found, flush=True)
        records.write_json(RECORD, record)


if __name__ == "__main__":
    main()
