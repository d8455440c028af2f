"""A student cut out of its teacher: exact where it can be, close where it cannot, and never by gradient."""

import pytest
import torch
from torch import nn

from dfkd.errors import TrainingError, UnknownName
from dfkd.method import slicing
from dfkd.method.settings import configure
from dfkd.method.slicing import choose_channels, slice_teacher
from dfkd.method.sources import DeadLeavesSource, NoiseSource
from dfkd.method.students import make_student
from dfkd.networks.edsr import EDSR
from dfkd.networks.vdsr import VDSR
from dfkd.networks.zoo import load_model, load_teacher
from dfkd.running.evaluation import agreement


def leaves(seed: int = 0, patch: int = 24) -> DeadLeavesSource:
    return DeadLeavesSource(patch, side=96, pool=4, seed=seed)


def teacher_of_rank(kept: int, idle: int) -> VDSR:
    """A teacher of which only `kept` channels of every layer are listened to."""
    torch.manual_seed(3)
    teacher = VDSR(kept + idle, 2)
    with torch.no_grad():
        for layer in (*teacher.body, teacher.tail):
            layer.weight[:, kept:] = 0
    return teacher


def test_channels_nobody_listens_to_are_cut_without_loss():
    teacher = teacher_of_rank(kept=4, idle=3)
    student = slice_teacher(teacher, 4, leaves(), scales=(2,), images=24)
    lr = leaves(seed=9).sample(4, 2)
    with torch.no_grad():
        torch.testing.assert_close(student(lr, 2), teacher(lr, 2), atol=2e-4, rtol=0)


def test_channels_that_are_copies_are_kept_once():
    activations = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    doubled = torch.cat([activations, activations], dim=1)  # channel 2 is channel 0, 3 is 1
    following = nn.Conv2d(4, 5, 3, padding=1, bias=False)
    nn.init.constant_(following.weight, 0.1)
    chosen = choose_channels(doubled, following, 2, torch.Generator().manual_seed(0))
    assert {channel % 2 for channel in chosen} == {0, 1}


def test_loud_but_unheard_channels_are_not_chosen():
    activations = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    activations[:, 1] *= 100
    following = nn.Conv2d(3, 2, 3, padding=1, bias=False)
    with torch.no_grad():
        following.weight[:, 1] *= 1e-6
    assert choose_channels(activations, following, 2, torch.Generator().manual_seed(0)) == [0, 2]


def test_the_last_layer_solves_its_least_squares_problem():
    """No small change of the tail comes closer to the teacher on the images it was fitted on."""
    torch.manual_seed(0)
    teacher = VDSR(6, 1)
    student = slice_teacher(teacher, 3, leaves(), scales=(2,), images=8)
    lr = leaves().sample(8, 2)  # the same draw from a source of the same seed
    target = teacher(lr, 2).detach()
    error = lambda: (student(lr, 2) - target).square().sum()  # noqa: E731
    best = error().item()
    (gradient,) = torch.autograd.grad(error(), student.tail.weight)
    assert gradient.norm() < 1e-2 * target.norm()
    for seed in range(5):
        change = torch.randn(student.tail.weight.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            student.tail.weight += 0.01 * change
            assert error().item() > best
            student.tail.weight -= 0.01 * change


def test_slicing_beats_a_random_start_and_dead_leaves_beat_noise():
    teacher = load_teacher("vdsr-small")
    random = make_student(configure(blocks=8), 16)
    by_leaves = slice_teacher(teacher, 16, leaves(patch=48), images=48)
    by_noise = slice_teacher(teacher, 16, NoiseSource(48), images=48)
    held_out = [agreement(teacher, s, leaves(seed=77, patch=48), 2) for s in (random, by_noise, by_leaves)]
    assert held_out[0] + 5 < held_out[2] and held_out[1] + 0.5 < held_out[2]


def test_slicing_is_repeatable_and_needs_no_gradient():
    torch.manual_seed(0)
    teacher = VDSR(6, 2).requires_grad_(False)
    first, second = (slice_teacher(teacher, 3, leaves(), images=6) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert all(p.requires_grad and p.grad is None for p in first.parameters())


def test_run_can_start_from_the_teacher():
    torch.manual_seed(0)
    teacher = VDSR(6, 2)
    config = configure("dead-leaves", init="teacher", blocks=2, patch=24, scales=(2,))
    student = make_student(config, 3, teacher, leaves())
    assert student.spec() == {"width": 3, "blocks": 2}
    with pytest.raises(TrainingError, match="needs the teacher"):
        make_student(config, 3)
    with pytest.raises(TrainingError, match="keeps the teacher's depth"):
        make_student(configure(init="teacher", blocks=5), 3, teacher, leaves())
    with pytest.raises(TrainingError, match="parts must be 1"):
        configure(init="teacher", parts=2)


@pytest.mark.parametrize("width", [0, 6, 9])
def test_only_narrower_students_can_be_cut(width):
    with pytest.raises(TrainingError, match="cannot keep"):
        slice_teacher(VDSR(6, 1), width, leaves())


def test_a_scale_that_the_teacher_does_not_serve_is_named_before_anything_is_fitted():
    with pytest.raises(UnknownName, match="unknown scale 4; choose one of: 2"):
        slice_teacher(EDSR(6, 1, scales=(2,)), 3, leaves(), scales=(2, 4))


def blocks_of_rank(kept: int, idle: int) -> EDSR:
    """An EDSR in whose blocks only `kept` channels are listened to."""
    torch.manual_seed(3)
    teacher = EDSR(6, 3, scales=(2, 3), inner=kept + idle)
    with torch.no_grad():
        for block in teacher.body:
            block[2].weight[:, kept:] = 0
            block[0].bias.uniform_(-0.1, 0.1)
            block[2].weight.mul_(5)
    return teacher


def test_channels_inside_residual_blocks_are_cut_without_loss():
    teacher = blocks_of_rank(kept=3, idle=4)
    student = slice_teacher(teacher, 3, leaves(), scales=(2, 3), images=24)
    assert student.spec() == {"width": 6, "blocks": 3, "scales": [2, 3], "inner": 3}
    for scale in (2, 3):
        lr = leaves(seed=9).sample(4, scale)
        with torch.no_grad():
            torch.testing.assert_close(student(lr, scale), teacher(lr, scale), atol=5e-4, rtol=0)
            repeated = lr.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
            assert (teacher(lr, scale) - repeated).abs().max() > 0.02  # there was something to lose


def test_sliced_blocks_are_far_ahead_of_random_ones():
    torch.manual_seed(4)
    teacher = EDSR(8, 3, scales=(2,))
    config = configure("dead-leaves", blocks=3, scales=(2,), init="teacher", patch=24)
    sliced = make_student(config, 8, teacher, leaves(), architecture="edsr", inner=4)
    random = make_student(configure(blocks=3, scales=(2,)), 8, architecture="edsr", inner=4)
    assert sliced.spec() == random.spec() == {"width": 8, "blocks": 3, "scales": [2], "inner": 4}
    assert agreement(teacher, sliced, leaves(9), 2) > agreement(teacher, random, leaves(9), 2) + 3


@pytest.mark.parametrize("shape, words", [
    (dict(width=6), "such as edsr:8x3/4"), (dict(width=8), "such as edsr:8x3/4"),
    (dict(width=8, inner=8), "keep 8 of the teacher's 8 channels"),
])  # fmt: skip
def test_an_edsr_is_cut_inside_its_blocks_only(shape, words):
    config = configure("dead-leaves", blocks=3, scales=(2,), init="teacher")
    with pytest.raises(TrainingError, match=words):
        make_student(config, teacher=EDSR(8, 3), source=leaves(), architecture="edsr", **shape)


def test_student_and_teacher_must_be_of_one_class():
    config = configure("dead-leaves", blocks=3, init="teacher")
    with pytest.raises(TrainingError, match="own class: not edsr"):
        make_student(config, 4, VDSR(8, 3), leaves(), architecture="edsr")
    with pytest.raises(TrainingError, match="own class: not vdsr"):
        make_student(config, 4, EDSR(8, 3), leaves())


@pytest.mark.parametrize("settings", [{"init": "identity"}, {"parts": 2}])
def test_an_edsr_does_not_grow(settings):
    with pytest.raises(TrainingError, match="neither grows"):
        make_student(configure(blocks=4, **settings), 4, architecture="edsr")


def test_only_vdsr_can_be_cut():
    with pytest.raises(TrainingError, match="such as VDSR"):
        slice_teacher(load_model("bicubic"), 3, leaves())


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (3, 1, 1, 1), (1, 4, 2, 9)])
def test_what_a_convolution_sees_is_what_unfold_gives(shape, random):
    x = torch.randn(shape, generator=random)
    assert torch.equal(slicing._patches(x), torch.nn.functional.unfold(x, 3, padding=1).transpose(0, 1).flatten(1))
