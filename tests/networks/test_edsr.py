"""A teacher of another design: its shapes, its file, and that it goes through the same loop as VDSR."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import dfkd
from dfkd.errors import CheckpointError, TrainingError, UnknownName
from dfkd.networks.discriminator import TeacherFeatures, default_layers
from dfkd.networks.edsr import EDSR
from dfkd.networks.weights import read_weights, write_weights
from dfkd.seeds import seeded

OWN = {"dead-leaves": dict(side=48, pool=3), "dfsr": dict(bank=6), "cmi": dict(bank=6)}  # not for every method


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_edsr_enlarges_by_the_scale(scale):
    lr = torch.rand(2, 1, 5, 7)
    assert EDSR(4, 2)(lr, scale).shape == (2, 1, 5 * scale, 7 * scale)


def test_edsr_repeats_pixels_and_adds_a_residual():
    model, lr = EDSR(4, 2, scales=(3,)), torch.rand(2, 1, 5, 7)
    repeated = lr.repeat_interleave(3, 2).repeat_interleave(3, 3)
    x = model.head(lr)
    for first, _, second in model.body:
        x = x + second(first(x).clamp(min=0))
    maps = model.heads["3"](x)
    expected = repeated.clone()
    for i in range(3):
        for j in range(3):
            expected[:, 0, i::3, j::3] += maps[:, 3 * i + j]
    torch.testing.assert_close(model(lr, 3), expected)
    nn.init.zeros_(model.heads["3"].weight)
    assert torch.equal(model(lr, 3), repeated)


def test_unknown_scale_is_an_error():
    with pytest.raises(UnknownName, match=r"unknown scale 5; choose one of: 2, 4"):
        EDSR(4, 1, scales=(4, 2))(torch.rand(1, 1, 4, 4), 5)


def test_every_weight_learns():
    model = EDSR(4, 2)
    sum(model(torch.rand(2, 1, 6, 6), scale).square().sum() for scale in model.scales).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_file_round_trip(tmp_path):
    model, lr = EDSR(4, 2, scales=(4, 2)), torch.rand(1, 1, 6, 6)
    dfkd.save_model(tmp_path / "m.safetensors", model, role="teacher")
    again = dfkd.load_model(tmp_path / "m.safetensors")
    assert again.spec() == model.spec() == {"width": 4, "blocks": 2, "scales": [2, 4]}
    assert all(torch.equal(again(lr, scale), model(lr, scale)) for scale in (2, 4))


@pytest.mark.parametrize("scales", [(2,), (3, 9), (4, 10), (2, 64, 100)])
def test_file_round_trip_at_every_scale_that_a_run_may_have(scales, tmp_path):
    dfkd.configure("noise", scales=scales, patch=4 * math.lcm(*scales), batch=1)
    dfkd.save_model(tmp_path / "m.safetensors", EDSR(2, 1, scales), role="student")
    assert dfkd.load_model(tmp_path / "m.safetensors").scales == scales


@pytest.mark.parametrize("wrong", [{"width": 5}, {"blocks": 10**9}, {"scales": [2, 3]}, {"scales": None}])
def test_description_that_does_not_fit_is_an_error(wrong, tmp_path):
    path = tmp_path / "m.safetensors"
    dfkd.save_model(path, EDSR(4, 2))
    weights, description = read_weights(path)
    write_weights(path, weights, {**description, **wrong})
    with pytest.raises(CheckpointError, match="does not hold the network it describes"):
        dfkd.load_model(path)


def test_a_network_of_another_class_is_not_saved(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot build a Conv2d.*safetensors"):
        dfkd.save_model(tmp_path / "m.safetensors", nn.Conv2d(1, 1, 3))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["noise", "dead-leaves", "dfsr", "cmi"])
def test_edsr_is_a_teacher_and_a_student_like_any_other(method):
    config = dfkd.configure(method, scales=(2, 3), steps=4, batch=2, patch=24, imitation_steps=2, **OWN.get(method, {}))
    with seeded(0, "networks"):
        teacher, student = EDSR(6, 2), EDSR(3, 1)
    source = dfkd.make_source(config, teacher)
    before = [p.clone() for p in student.parameters()]
    run = dfkd.Distillation(teacher, student, source, config)
    reports = list(run.rounds())
    assert run.finished and all(torch.tensor(list(r.values())).isfinite().all() for r in reports)
    assert not all(map(torch.equal, before, student.parameters()))
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_its_features_can_be_compared_at_every_scale_without_naming_layers(blocks, scale):
    features = TeacherFeatures(EDSR(6, blocks))
    assert features(torch.rand(2, 1, 8, 8), scale).shape == (2, 3 * 2 * 6)


def test_default_layers_are_hidden_ones_that_every_scale_runs():
    assert default_layers(EDSR(6, 2)) == ("body.0.0", "body.1.0", "body.1.2")


def test_default_layers_of_a_teacher_of_one_scale_need_no_other_scale():
    features = TeacherFeatures(EDSR(6, 2, scales=(3,)))
    assert features(torch.rand(2, 1, 8, 8), 3).shape == (2, 3 * 2 * 6)


class Attention(nn.Module):
    """A plain stack with channel attention, whose convolutions see one number a channel."""

    def __init__(self):
        super().__init__()
        sizes = [1, 4, 4, 4, 4, 4]
        self.body = nn.Sequential(*(nn.Conv2d(i, o, 3, padding=1) for i, o in pairwise(sizes)))
        self.squeeze, self.excite = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)
        self.flat, self.tail = nn.Linear(4, 4), nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, lr: Tensor, scale: int) -> Tensor:
        x = self.body(nn.functional.interpolate(lr, scale_factor=scale))
        told = self.flat(x.mean((2, 3)))[..., None, None]
        return self.tail(x * self.excite(self.squeeze(told)).sigmoid())


def test_default_layers_have_positions_to_compare():
    layers = default_layers(Attention())
    assert all(name.startswith("body") for name in layers)
    assert TeacherFeatures(Attention(), layers)(torch.rand(2, 1, 8, 8), 2).isfinite().all()


@pytest.mark.parametrize("layer", ["squeeze", "flat"])
def test_a_layer_without_positions_is_refused_by_name(layer):
    with pytest.raises(TrainingError, match=f"layer '{layer}' gives no maps"):
        TeacherFeatures(Attention(), (layer,))(torch.rand(2, 1, 8, 8), 2)


def test_default_layers_leave_no_hook_behind():
    teacher = EDSR(6, 2)
    default_layers(teacher)
    assert not any(module._forward_hooks for module in teacher.modules())


def test_its_features_can_be_compared_where_they_are_named():
    features = TeacherFeatures(EDSR(6, 2), ("body.0.2", "body.1.2"))
    assert features(torch.rand(2, 1, 8, 8), 2).shape == (2, 2 * 2 * 6)
