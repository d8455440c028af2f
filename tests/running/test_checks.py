"""What `dfkd check-teacher` finds: each fault in a teacher that has it, none in one that has not."""

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from dfkd.cli import app
from dfkd.method.sources import METHODS
from dfkd.networks.edsr import EDSR
from dfkd.networks.vdsr import VDSR
from dfkd.networks.zoo import Bicubic, load_teacher
from dfkd.running.checks import check_teacher

ALL = tuple(name for name in METHODS if name != "real")


def finding(teacher: nn.Module, what: str, scales=(2,)):
    return next(found for found in check_teacher(teacher, scales).findings if found.what == what)


class Wrapped(nn.Module):
    """The packaged teacher with something done to its answer, or to what it is asked."""

    def __init__(self, after=lambda sr, scale: sr, before=lambda lr: lr):
        super().__init__()
        self.inner, self.after, self.before = load_teacher("vdsr-small"), after, before

    def forward(self, lr, scale):
        return self.after(self.inner(self.before(lr), scale), scale)


def test_packaged_teacher_fits_every_method():
    verdict = check_teacher(load_teacher("vdsr-small"))
    assert all(found.well for found in verdict.findings) and verdict.methods == ALL and verdict.scales == (2, 3, 4)


def test_teacher_of_one_scale_is_asked_for_that_scale():
    verdict = check_teacher(EDSR(8, 2, scales=(3,)))
    assert verdict.scales == (3,)
    assert "x2" in check_teacher(EDSR(8, 2, scales=(3,)), (2, 3)).findings[0].says


def test_network_of_another_signature_is_no_teacher():
    verdict = check_teacher(nn.Conv2d(1, 1, 3, padding=1))
    assert verdict.methods == () and not verdict.findings[0].well and "x2:" in verdict.findings[0].says
    half = Wrapped(after=lambda sr, scale: sr[..., ::2])
    assert "not (2, 1, 48, 48)" in check_teacher(half, (2,)).findings[0].says


def test_sizes_it_refuses_are_named():
    def even(lr):
        if lr.shape[-1] % 2:
            raise RuntimeError("odd")
        return lr

    found = finding(Wrapped(before=even), "sizes")
    assert not found.well and "23x17 at x2" in found.says and "12x40" not in found.says


@pytest.mark.parametrize("after", [lambda sr, s: 255 * sr, lambda sr, s: sr * float("nan"), lambda sr, s: 0 * sr])
def test_answers_that_are_no_images_rule_out_every_method(after):
    verdict = check_teacher(Wrapped(after=after), (2,))
    assert verdict.methods == () and not next(f for f in verdict.findings if f.what == "values").well


def test_teacher_left_in_training_gives_two_answers():
    found = finding(Wrapped(after=lambda sr, s: sr + 0.01 * torch.randn_like(sr)), "repeats")
    assert not found.well and "eval()" in found.says


def test_teacher_that_wants_another_range_of_values_is_found_out_and_fits_no_method():
    """It was trained on images in [-1, 1], and gets some in [0, 1]: its answers look like images all the same."""
    verdict = check_teacher(Wrapped(after=lambda sr, s: (sr + 1) / 2), (2,))
    assert [found.well for found in verdict.findings if found.what in ("values", "grey")] == [True, False]
    assert verdict.methods == ()


def test_teacher_whose_answer_to_an_image_depends_on_its_neighbours_is_found_out():
    """As batch normalisation does in training mode: the same batch gets the same answer each time."""
    found = finding(Wrapped(after=lambda sr, s: sr + 0.1 * sr.mean()), "repeats")
    assert not found.well and "alone and in a batch" in found.says


def test_teacher_that_takes_no_large_image_is_not_asked_for_its_grey():
    class Placed(Wrapped):
        def forward(self, lr, scale):
            return super().forward(lr + torch.zeros(1, 1, 24, 24), scale)

    found = check_teacher(Placed(), (2,)).findings
    assert "not asked" in next(f for f in found if f.what == "grey").says


def test_teacher_is_left_as_it_is():
    teacher = nn.Sequential(nn.BatchNorm2d(1), load_teacher("vdsr-small")).train()
    teacher.forward = lambda lr, scale: teacher[1](teacher[0](lr), scale)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    verdict = check_teacher(teacher, (2,))
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert verdict.methods == () and not next(f for f in verdict.findings if f.what == "repeats").well


def test_teacher_that_invents_does_not_shrink_back_and_should_get_drawn_images():
    verdict = check_teacher(Wrapped(after=lambda sr, s: sr.roll(3, dims=-1)), (2,))
    assert not next(f for f in verdict.findings if f.what == "L_R").well
    assert verdict.methods == ("noise", "dead-leaves", "untrained")


def test_teacher_that_cuts_gradients_off_cannot_steer_a_generator():
    class Cut(Wrapped):
        @torch.no_grad()
        def forward(self, lr, scale):
            return super().forward(lr, scale)

    verdict = check_teacher(Cut(), (2,))
    assert "no_grad" in next(f for f in verdict.findings if f.what == "gradient").says
    assert "dfsr" not in verdict.methods and "dead-leaves" in verdict.methods


def test_teacher_without_layers_to_look_at_is_not_for_contrast():
    verdict = check_teacher(Bicubic(), (2,))
    assert not next(f for f in verdict.findings if f.what == "layers").well and "cmi" not in verdict.methods


def test_biases_are_told_from_a_clamp():
    torch.manual_seed(0)
    assert "without biases" in finding(VDSR(6, 3), "biases").says
    biased = EDSR(6, 2)
    nn.init.constant_(biased.head.bias, 0.3)
    nn.init.constant_(biased.heads["2"].bias, 0.1)
    assert "not homogeneous" in finding(biased, "biases").says


def test_command_says_which_methods_fit():
    result = CliRunner().invoke(app, ["check-teacher", "vdsr-small", "--scale", "2"])
    assert result.exit_code == 0 and f"methods that fit: {', '.join(ALL)}" in result.stdout
