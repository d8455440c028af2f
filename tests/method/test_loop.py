"""Algorithm 1: what each stage moves, what a resumed run repeats, how the student grows."""

import copy
import dataclasses
import gc
import weakref
from collections import Counter
from collections.abc import Iterable
from itertools import islice

import pytest
import torch
from torch import nn

from dfkd.errors import TrainingError, UnknownName
from dfkd.method.answers import HELD, Answers, pool_size
from dfkd.method.loop import Distillation
from dfkd.method.schedules import cosine, staircase
from dfkd.method.settings import Config, configure, names_of
from dfkd.method.sources import METHODS, DFSRSource, NoiseSource, RealSource, UntrainedSource, make_source
from dfkd.method.students import make_student
from dfkd.networks.edsr import EDSR
from dfkd.networks.vdsr import VDSR, split

SMALL = dict(
    steps=8, batch=2, patch=24, scales=(2, 3), blocks=2, imitation_steps=2, generation_steps=2, bank=6, negatives=4,
    side=48, pool=3,
)  # fmt: skip


def teacher(seed: int = 0) -> VDSR:
    torch.manual_seed(seed)
    return VDSR(width=6, blocks=3)


def small(method: str = "cmi", **settings) -> Config:
    """The settings of a short run: of `SMALL`, what the method knows."""
    known = names_of(Config) | names_of(METHODS[method])
    return configure(method, **{**{n: v for n, v in SMALL.items() if n in known}, **settings})


def run(method: str = "cmi", **settings) -> Distillation:
    config = small(method, **settings)
    t = teacher()
    images = [torch.rand(1, 1, 40, 50, generator=torch.Generator().manual_seed(1))] if method == "real" else None
    return Distillation(t, make_student(config, width=4), make_source(config, t, images), config)


def weights(task: Distillation) -> list[torch.Tensor]:
    return [p.detach().clone() for p in task.averaged.parameters()]


def same(a: Iterable[torch.Tensor], b: Iterable[torch.Tensor]) -> bool:
    a, b = list(a), list(b)
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def moved(before: dict[str, torch.Tensor], module: nn.Module) -> set[str]:
    return {name for name, p in module.named_parameters() if not torch.equal(before[name], p)}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_and_trains_the_student(method):
    task = run(method)
    before = snapshot(task.student)
    reports = list(task.rounds())
    assert reports[-1]["step"] == 8 and task.finished
    assert moved(before, task.student) == set(before)
    assert all(torch.isfinite(p).all() for p in weights(task))
    learns = method.startswith(("dfsr", "cmi"))
    assert (task.source.movement().get("generator", 0) > 0) == learns
    assert ("generation.contrastive" in reports[-1]) == method.startswith("cmi")


def test_imitation_stage_moves_the_student_only():
    task = run()
    t, s = snapshot(task.teacher), snapshot(task.student)
    g, h = snapshot(task.source.generators), snapshot(task.source.contrast.h)
    task.imitation_step()
    assert moved(s, task.student) == set(s)
    assert not moved(t, task.teacher) and not moved(g, task.source.generators) and not moved(h, task.source.contrast.h)
    assert all(p.grad is None for p in [*task.teacher.parameters(), *task.source.generators.parameters()])


def test_generation_stage_moves_one_generator_and_h_only():
    task = run()
    t, s = snapshot(task.teacher), snapshot(task.student)
    g, h = snapshot(task.source.generators), snapshot(task.source.contrast.h)
    task.source.improve(task.teacher, task.student, scale=2)
    assert not moved(t, task.teacher) and not moved(s, task.student)
    assert all(p.grad is None for p in [*task.teacher.parameters(), *task.student.parameters()])
    # A bias before a normalisation has no effect, hence no gradient; every weight has.
    assert {n for n in g if n.startswith("2.") and n.endswith("weight")} <= moved(g, task.source.generators)
    assert all(name.startswith("2.") for name in moved(g, task.source.generators))
    assert {n for n in h if n.endswith("weight")} <= moved(h, task.source.contrast.h)
    assert all(p.requires_grad for p in task.student.parameters())  # frozen for the stage only


def test_gradients_of_the_generation_stage_reach_z_through_teacher_and_student():
    source, task = (t := run()).source, t
    z = source.draw_z(2, 2).requires_grad_()
    terms, _ = source.losses(source.generators["2"](z), task.teacher, task.student, 2)
    for name in ("adversarial", "reconstruction", "contrastive"):
        (gradient,) = torch.autograd.grad(terms[name], z, retain_graph=True)
        assert gradient.abs().sum() > 0, name


def test_cmi_without_weight_is_dfsr_bit_for_bit():
    without, dfsr, cmi = run("cmi", w_contrast=0.0), run("dfsr"), run("cmi")
    for task in (without, dfsr, cmi):
        list(task.rounds())
    assert same(weights(without), weights(dfsr))
    assert same(list(without.source.generators.parameters()), list(dfsr.source.generators.parameters()))
    assert not same(weights(cmi), weights(dfsr))


def test_methods_with_departures_are_the_printed_ones_once_all_are_taken_back():
    back = dict(exposure=(), adversary="absolute", anneal=False)
    for plus, printed in ((run("dfsr+", **back), run("dfsr")), (run("cmi+", w_contrast=10.0, **back), run("cmi"))):
        list(plus.rounds()), list(printed.rounds())
        assert same(weights(plus), weights(printed))
        assert same(plus.source.generators.parameters(), printed.source.generators.parameters())


@pytest.mark.parametrize(
    "departure", [dict(exposure=(0.1, 1.0)), dict(stretch=8.0), dict(adversary="relative"),
                  dict(reconstruction="squared"), dict(anneal=True)],
)  # fmt: skip
def test_each_departure_changes_the_run(departure):
    printed, other = run("dfsr"), run("dfsr", **departure)
    list(printed.rounds()), list(other.rounds())
    assert not same(printed.source.generators.parameters(), other.source.generators.parameters())


def test_annealed_generator_slows_down_with_the_student():
    steady, annealed, paper = run("dfsr"), run("dfsr", anneal=True), run("dfsr", optim="paper")
    rates = {task: [] for task in (steady, annealed, paper)}
    for task, seen in rates.items():
        task.source.improve = lambda teacher, student, scale, rate, seen=seen: seen.append(rate) or {}
        list(task.rounds())
    assert rates[steady] == [1.0] * 4
    assert rates[annealed] == [cosine(step, 8) for step in (1, 3, 5, 7)] and rates[annealed][-1] < 0.2
    assert rates[paper] == [staircase(step, 8) for step in (1, 3, 5, 7)]


@pytest.mark.parametrize("steps, matters", [(1, False), (3, True)])
def test_z_matters_only_with_several_inner_steps(steps, matters):
    free, fixed = (run(generation_steps=steps, optimise_z=moves) for moves in (True, False))
    for task in (free, fixed):
        list(task.rounds())
    assert same(weights(free), weights(fixed)) != matters


@pytest.mark.parametrize("method", ["noise", "real", "dfsr", "cmi", "cmi+"])
@pytest.mark.parametrize("parts, stop", [(1, 2), (2, 1), (2, 2), (2, 3), (1, 4)])
def test_resumed_run_repeats_the_uninterrupted_one_bit_for_bit(method, parts, stop):
    settings = dict(method=method, parts=parts) | (dict(replay=0.5) if method in ("dfsr", "cmi") else {})
    whole, first, second = (run(**settings) for _ in range(3))
    curve = list(whole.rounds())
    for _, report in zip(range(stop), first.rounds(), strict=False):
        assert report in curve
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    rest = list(second.rounds())
    assert curve[stop:] == rest
    assert same(weights(whole), weights(second))


def test_seed_decides_everything():
    a, b, c = run(seed=1), run(seed=1), run(seed=2)
    for i, task in enumerate((a, b, c)):
        torch.manual_seed(i)  # the global stream must not matter
        list(task.rounds())
    assert same(weights(a), weights(b)) and not same(weights(a), weights(c))


def test_student_grows_part_by_part_and_generator_lives_on():
    task = run(parts=2)
    generators, bank = task.source.generators, task.source.banks
    sizes = []
    for _ in task.rounds():
        sizes.append((task.part, task.student.blocks, len(list(task.optimiser.state))))
    assert [s[:2] for s in sizes] == [(0, 1), (0, 1), (1, 2), (1, 2)]
    assert task.source.generators is generators and task.source.banks is bank
    assert task.averaged.module.blocks == 2


def test_identity_block_preserves_the_network_and_random_block_does_not():
    lr = torch.rand(2, 1, 8, 8)
    network = teacher()
    before = network(lr, 2)
    network.grow(1, "identity")
    assert torch.equal(before, network(lr, 2))
    network.grow(1, "random")
    assert (before - network(lr, 2)).abs().max() > 1e-4
    with pytest.raises(UnknownName, match="identity"):
        network.grow(1, "zero")


def test_split_covers_all_blocks():
    for blocks in range(1, 20):
        for parts in range(1, blocks + 1):
            sizes = split(blocks, parts)
            assert len(sizes) == parts and sum(sizes) == blocks and max(sizes) - min(sizes) <= 1
    with pytest.raises(TrainingError):
        split(3, 4)


def test_replay_draws_banked_images():
    source = run("dfsr", replay=0.5).source
    banked = torch.full((2, 1, 12, 12), 0.25)
    source.banks[2].add(image=banked)
    sample = source.sample(4, 2)
    assert sample.shape == (4, 1, 12, 12)
    assert sum(torch.equal(image, banked[0]) for image in sample) == 2


def test_each_answer_is_used_as_often_as_asked():
    answers, made = Answers(uses=3, held=2), iter(range(1000))
    drawn = [answers.draw(lambda: (next(made), None, None))[0] for _ in range(300)]
    counts = Counter(drawn)
    assert answers.asked == len(counts) == 101  # 100 spent thrice or still in the pool, and the pool never empty
    assert max(counts.values()) == 3 and sum(n < 3 for n in counts.values()) <= 2
    assert [Answers(uses=1).draw(lambda: (7, None, None))[0] for _ in range(2)] == [7, 7]


def test_reuse_asks_the_teacher_less():
    class Counting(VDSR):
        asked = 0

        def forward(self, lr, scale):
            Counting.asked += 1
            return super().forward(lr, scale)

    config = small("noise", steps=200, reuse=4)
    task = Distillation(Counting(6, 3), make_student(config, 4), make_source(config, teacher()), config)
    list(task.rounds())
    assert Counting.asked == task.batches and 200 / 4 <= task.batches < 1.4 * 200 / 4


def test_reuse_works_in_short_runs_and_keeps_its_pool_in_long_ones():
    task = run("noise", steps=40, reuse=4)
    list(task.rounds())
    assert 40 / 4 <= task.batches <= 15  # a pool that only fills would have asked forty times
    assert pool_size(512, 4) == pool_size(12_500, 4) == HELD and pool_size(2, 4) == 1


def test_resumed_run_with_reuse_repeats_the_uninterrupted_one_bit_for_bit():
    whole, first, second = (run("dfsr", reuse=3, steps=40) for _ in range(3))
    list(whole.rounds())
    list(islice(first.rounds(), 16))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    list(second.rounds())
    assert same(weights(whole), weights(second)) and second.batches == whole.batches


@pytest.mark.filterwarnings("ignore:for .*meta parameter")  # nothing is copied to such a device
def test_what_was_kept_goes_to_the_device_of_the_run():
    """A checkpoint is read onto the processor; 'meta' stands for a device that is not there to try."""
    first, second = (run("cmi", reuse=2) for _ in range(2))
    list(islice(first.rounds(), 2))
    second.student.to("meta")
    second.source.device = "meta"
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert {t.device.type for _, (_, *batch) in second.answers._pool for t in batch} == {"meta"}
    held = [bank for bank in second.source.banks.values() if len(bank)]
    assert held and all(t.device.type == "meta" for bank in held for t in bank.sample(2, torch.Generator()).values())


def test_paper_optimiser_minimises_the_sum_with_sgd():
    task = run("noise", optim="paper", clip=1e9)
    assert isinstance(task.optimiser, torch.optim.SGD) and task.optimiser.param_groups[0]["momentum"] == 0.9
    mean = run("noise", optim="adam", clip=1e9)
    task.imitation_step(), mean.imitation_step()
    ratios = [a.grad / b.grad for a, b in zip(task.student.parameters(), mean.student.parameters(), strict=True)]
    pixels = 2 * 24 * 24
    assert all(torch.allclose(r[r.isfinite()], torch.tensor(float(pixels)), rtol=1e-3) for r in ratios)


def test_squared_error_at_the_end_is_what_the_student_descends():
    plain, late = (run("noise", optim="paper", squared=share, clip=1e9) for share in (0.0, 0.25))
    for _ in range(6):
        assert plain.imitation_step() == late.imitation_step()  # of eight
    assert same(snapshot(plain.student).values(), snapshot(late.student).values())
    before = copy.deepcopy(late.student)
    scale, lr, sr = late.answers.draw(late._ask)
    late.answers.draw = lambda ask: (scale, lr, sr)
    loss = late.imitation_step()
    (before(lr, scale) - sr).square().sum().backward()
    pairs = zip(before.parameters(), late.student.parameters(), strict=True)
    assert all(torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-6) for a, b in pairs)
    assert loss == pytest.approx((before(lr, scale) - sr).abs().mean().item(), rel=1e-5)  # what is reported stays L1


@pytest.mark.parametrize("optim", ["adam", "soap", "paper"])
def test_resumed_run_repeats_the_uninterrupted_one_bit_for_bit_with_each_optimiser(optim):
    whole, first, second = (run("noise", optim=optim, steps=50, squared=0.4) for _ in range(3))
    list(whole.rounds())
    list(islice(first.rounds(), 13))  # SOAP has turned its bases twice by then
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    list(second.rounds())
    assert same(weights(whole), weights(second))


def test_nan_loss_stops_the_run_before_it_spoils_the_state():
    task = run()
    with torch.no_grad():
        task.student.head.weight.fill_(float("nan"))
    average, optimiser = weights(task), copy.deepcopy(task.optimiser.state_dict())
    with pytest.raises(TrainingError, match="lower lr"):
        task.imitation_step()
    assert task.step == 0 and task.optimiser.state_dict() == optimiser
    assert same(average[1:], weights(task)[1:])


def test_gradient_that_is_not_finite_stops_the_run_though_the_loss_is():
    task = run("noise")
    before = snapshot(task.student)
    task.student.head.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingError, match="gradient became"):
        task.imitation_step()
    assert not moved(before, task.student) and task.step == 0


def test_gradient_that_is_not_finite_stops_the_generator():
    task = run("dfsr")
    before = snapshot(task.source.generators)
    task.source.generators["2"].project.weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(TrainingError, match="gradient of the generator"):
        task.source.improve(task.teacher, task.student, 2)
    assert not moved(before, task.source.generators)


class WithBatchNorm(VDSR):
    """A student whose forward pass changes it."""

    def __init__(self):
        super().__init__(4, 2)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, lr, scale):
        return self.norm(super().forward(lr, scale))


@pytest.mark.parametrize("look", [
    lambda task: task.notes(),
    lambda task: task.source.balance(task.teacher, task.student),
    lambda task: task.generation_stage(),
])  # fmt: skip
def test_looking_and_the_generation_stage_leave_the_students_statistics_alone(look):
    config = small()
    task = Distillation(teacher(), WithBatchNorm(), make_source(config, teacher()), config)
    before = copy.deepcopy(dict(task.student.named_buffers()))
    look(task)
    assert all(torch.equal(before[name], buffer) for name, buffer in task.student.named_buffers())
    task.imitation_step()
    assert not torch.equal(before["norm.running_mean"], task.student.norm.running_mean)


def test_making_a_source_leaves_the_teachers_statistics_alone():
    """A teacher in training mode, as one is before its run begins."""
    network = WithBatchNorm()
    before = copy.deepcopy(dict(network.named_buffers()))
    make_source(small(), network)
    assert all(torch.equal(before[name], buffer) for name, buffer in network.named_buffers())


def test_contrast_looks_through_the_teacher_it_is_given():
    losses = []
    for other in (teacher(0), copy.deepcopy(teacher(0)), teacher(1)):
        task = run(optimise_z=False, generation_steps=1)
        losses.append(task.source.improve(other, task.student, 2)["contrastive"])
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("method", ["dfsr", "cmi"])
def test_source_does_not_keep_the_teacher_it_was_made_with(method):
    first = teacher()
    source, gone = make_source(small(method), first), weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None and source.movement()


def test_run_goes_on_with_a_teacher_that_replaces_its_own():
    task = run()
    task.teacher, asked = copy.deepcopy(task.teacher), []
    task.teacher.body[0].register_forward_hook(lambda *_: asked.append(1))
    task.generation_stage()
    assert len(asked) == 2 * 3  # at each of two inner steps once for L_R and L_GEN, and for each view of the images


@pytest.mark.parametrize("blocks", [1, 2])
def test_contrast_knows_layers_of_edsr_that_serve_every_scale(blocks):
    config = small(scales=(2, 3, 4), patch=48)
    network, student = EDSR(4, blocks), VDSR(3, 1)
    source = make_source(config, network)
    for scale in config.scales:
        assert source.improve(network, student, scale)["contrastive"] != 0


def spread(task: Distillation) -> Distillation:
    """As if the student were one of several, on a process each."""
    wrapper = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(wrapper)  # its own __init__ wants other processes to talk to
    wrapper.module = task.student
    task.student = wrapper
    return task


def test_student_spread_over_processes_does_not_grow():
    """The wrapper would not know of blocks added later, and each process would train its own."""
    with pytest.raises(TrainingError, match="parts=1"):
        next(spread(run("noise", parts=2)).rounds())


@pytest.mark.parametrize("settings", [dict(method="dfsr"), dict(method="cmi"), dict(method="cmi", dead_leaves=0.5)])
def test_student_spread_over_processes_does_not_learn_from_generators(settings):
    with pytest.raises(TrainingError, match="go their own ways"):
        next(spread(run(**settings)).rounds())


def test_student_that_is_no_first_part_does_not_grow_past_what_was_asked_for():
    task = run("noise", parts=2)
    finished = dataclasses.replace(task.config, parts=1)
    with pytest.raises(TrainingError, match="begins with 1, this one with 2"):
        Distillation(teacher(), make_student(finished, 4), NoiseSource(24), task.config)


def test_teacher_of_volumes_is_left_in_its_layout():
    class Volumes(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.conv = teacher(), nn.Conv3d(1, 1, 1)

        def forward(self, lr, scale):
            return self.conv(self.inner(lr, scale)[:, None])[:, 0]

    task = run("noise")
    Distillation(Volumes(), make_student(task.config, 4), NoiseSource(24), task.config).imitation_step()


def test_a_stage_before_the_first_update_is_no_longer_than_the_first():
    task = run("dfsr", optim="paper")
    assert task._generator_rate() == 1.0


def test_frozen_student_is_thawed_and_goes_on_learning():
    """As `load_student` gives it."""
    student = make_student(run().config, 4).requires_grad_(False).eval()
    task = Distillation(teacher(), student, NoiseSource(24), run("noise").config)
    before = snapshot(student)
    task.imitation_step()
    assert student.training and moved(before, student) == set(before)


def test_any_module_of_the_right_signature_is_a_teacher():
    class Nearest(nn.Module):
        def __init__(self):
            super().__init__()
            self.sharpen = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(3)))

        def forward(self, lr, scale):
            return self.sharpen(nn.functional.interpolate(lr, scale_factor=scale))

    config = small()
    network = Nearest()
    task = Distillation(network, make_student(config, 4), make_source(config, network), config)
    assert len(list(task.rounds())) == 4
    with pytest.raises(TrainingError, match="grow"):
        Distillation(network, Nearest(), make_source(config, network), small(parts=2))


def test_sources_do_not_see_images_they_must_not_see():
    with pytest.raises(TrainingError, match="must not see images"):
        make_source(configure("cmi"), teacher(), [torch.rand(1, 1, 60, 60)])
    with pytest.raises(TrainingError, match="needs images"):
        make_source(configure("real"), teacher())


def test_source_images_have_the_promised_shape_and_range():
    photos = [torch.rand(1, 1, 60, 70)]
    for source in (NoiseSource(48), RealSource(photos, 48), UntrainedSource((2, 3, 4)), DFSRSource((2, 3, 4))):
        for scale in (2, 3, 4):
            images = source.sample(3, scale)
            assert images.shape == (3, 1, 48 // scale, 48 // scale)
            assert not images.requires_grad and 0 <= images.min() and images.max() <= 1
