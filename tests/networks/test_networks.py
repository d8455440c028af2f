"""The networks: shapes, sizes, ranges, and what the teacher's features are."""

import numpy as np
import pytest
import torch
from torch import nn

from dfkd.errors import ImageError, TrainingError, UnknownName
from dfkd.networks.discriminator import InstanceDiscriminator, TeacherFeatures, default_layers
from dfkd.networks.generator import Generator
from dfkd.networks.vdsr import VDSR
from dfkd.pixels.resize import imresize


@pytest.mark.parametrize("width, blocks, parameters", [(64, 18, 664_704), (32, 18, 166_464), (32, 8, 74_304)])
def test_vdsr_has_the_parameters_of_the_paper(width, blocks, parameters):
    model = VDSR(width, blocks)
    assert sum(p.numel() for p in model.parameters()) == parameters == 9 * (width + blocks * width**2 + width)
    assert model.spec() == {"width": width, "blocks": blocks}


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_vdsr_enlarges_by_the_scale(scale):
    model = VDSR(4, 2)
    assert model(torch.rand(2, 1, 5, 7), scale).shape == (2, 1, 5 * scale, 7 * scale)


def test_vdsr_adds_a_residual_to_bicubic():
    model, lr = VDSR(4, 2), torch.rand(2, 1, 9, 7)
    bicubic = imresize(lr, 2).clamp(0, 1)
    x = bicubic
    for layer in (model.head, *model.body):
        x = nn.functional.conv2d(x, layer.weight, padding=1).clamp(min=0)
    expected = bicubic + nn.functional.conv2d(x, model.tail.weight, padding=1)
    torch.testing.assert_close(model(lr, 2), expected)
    with torch.no_grad():
        model.tail.weight.zero_()
    assert torch.equal(model(lr, 2), bicubic)


def test_vdsr_output_is_not_clamped():
    model = VDSR(2, 1)
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(1.0)
    assert model(torch.ones(1, 1, 4, 4), 2).max() > 10


def test_new_vdsr_is_close_to_bicubic():
    torch.manual_seed(0)
    lr = torch.rand(4, 1, 12, 12)
    correction = VDSR(32, 8)(lr, 2) - imresize(lr, 2).clamp(0, 1)
    assert 1e-4 < correction.std() < 0.3


def test_growing_follows_its_stream_and_keeps_what_is_there():
    grown = [VDSR(4, 1) for _ in range(3)]
    for model, seed in zip(grown, (1, 1, 2), strict=True):
        before = model.body[0].weight.clone()
        model.grow(2, rng=torch.Generator().manual_seed(seed))
        assert model.blocks == 3 and torch.equal(before, model.body[0].weight)
    a, b, c = (model.body[2].weight for model in grown)
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize("size", [8, 12, 16, 24])
@pytest.mark.parametrize("channels", [1, 3])
def test_generator_makes_images(size, channels):
    torch.manual_seed(0)
    generator = Generator(size, z_dim=16, width=8, channels=channels)
    images = generator(torch.randn(5, 16))
    assert images.shape == (5, channels, size, size)
    assert images.isfinite().all() and 0 <= images.min() < images.max() <= 1
    assert images.std(dim=0).mean() > 1e-3  # different z, different image
    assert generator(torch.randn(1, 16)).shape == (1, channels, size, size)


def test_generator_survives_extreme_z():
    generator = Generator(12, z_dim=8, width=8)
    for z in (torch.zeros(2, 8), torch.full((2, 8), 1e4), torch.full((2, 8), -1e4)):
        z.requires_grad_()
        images = generator(z)
        images.sum().backward()
        assert images.isfinite().all() and z.grad.isfinite().all()


def test_every_weight_of_the_generator_learns():
    generator = Generator(12, z_dim=8, width=8)
    (generator(torch.randn(3, 8)) * torch.rand(3, 1, 12, 12)).sum().backward()
    assert all(p.grad.abs().sum() > 0 for name, p in generator.named_parameters() if name.endswith("weight"))


@pytest.mark.parametrize("size", [4, 10, 0, -8])
def test_generator_of_a_wrong_size_is_an_error(size):
    with pytest.raises(ImageError, match=str(size)):
        Generator(size)


def test_teacher_features_by_hand():
    teacher, lr = VDSR(3, 4), torch.rand(2, 1, 7, 6)
    rows = TeacherFeatures(teacher, ("head", "body.1"))(lr, 2).detach().numpy()
    up = imresize(lr, 2).clamp(0, 1)
    head = teacher.head(up)
    second = teacher.body[1](teacher.body[0](head.relu()).relu())
    expected = []
    for maps in (head, second):
        flat = maps.detach().double().numpy().reshape(2, 3, -1)
        expected += [flat.mean(axis=2), flat.std(axis=2, ddof=1)]
    np.testing.assert_allclose(rows, np.concatenate(expected, axis=1), rtol=1e-4, atol=1e-5)


def test_teacher_features_tell_images_apart():
    teacher = VDSR(3, 3)
    features = TeacherFeatures(teacher)
    lr = torch.rand(1, 1, 8, 8)
    assert features(lr, 2).shape == (1, 3 * 3 * 2)
    assert (features(lr, 2) - features(torch.rand(1, 1, 8, 8), 2)).abs().max() > 1e-4


def test_black_image_gives_finite_gradients():
    features = TeacherFeatures(VDSR(4, 4))
    for level in (0.0, 0.5, 1.0):
        lr = torch.full((2, 1, 8, 8), level, requires_grad=True)
        features(lr, 2).sum().backward()
        assert lr.grad.isfinite().all()


def test_features_leave_no_hook_and_no_parameter_behind():
    teacher = VDSR(4, 4)
    features = TeacherFeatures(teacher)
    assert list(features.parameters()) == []
    features(torch.rand(1, 1, 8, 8), 2)
    with pytest.raises(RuntimeError):
        features(torch.rand(1, 2, 8, 8), 2)  # the teacher fails
    assert not any(module._forward_hooks for module in teacher.modules())


def test_layers_by_default_and_by_wrong_name():
    assert default_layers(VDSR(4, 18)) == ("body.0", "body.9", "body.17")
    assert len(TeacherFeatures(VDSR(4, 1)).layers) == 3
    with pytest.raises(UnknownName, match=r"body\.7.*head"):
        TeacherFeatures(VDSR(4, 2), ("body.7",))
    with pytest.raises(TrainingError, match="fewer than three"):
        default_layers(nn.Conv2d(1, 1, 3))


def test_default_layers_pass_over_those_the_teacher_does_not_run():
    teacher = VDSR(4, 3)
    teacher.spare = nn.Conv2d(1, 1, 3)
    assert default_layers(teacher) == ("body.0", "body.1", "body.2")


class Paths(nn.Module):
    """A network that goes through some of its layers, in an order of its own, at each scale."""

    def __init__(self, **paths: str):
        super().__init__()
        self.layers = nn.ModuleDict({name: nn.Conv2d(1, 1, 3, padding=1) for name in sorted("".join(paths.values()))})
        self.paths = paths

    def forward(self, lr, scale):
        for name in self.paths[f"x{scale}"]:
            lr = self.layers[name](lr)
        return nn.functional.interpolate(lr, scale_factor=scale)


def test_default_layers_are_counted_in_the_order_in_which_they_run():
    assert default_layers(Paths(x2="edcba"), {2: 8}) == ("layers.d", "layers.c", "layers.b")


def test_a_teacher_of_other_layers_at_each_scale_has_none_by_default():
    with pytest.raises(TrainingError, match="other layers at each scale; name those"):
        default_layers(Paths(x2="abc", x3="def"), {2: 8, 3: 8})


def test_a_layer_the_teacher_does_not_use_is_an_error():
    teacher = VDSR(4, 2)
    teacher.spare = nn.Conv2d(1, 1, 3)
    with pytest.raises(TrainingError, match="without using"):
        TeacherFeatures(teacher, ("head", "spare"))(torch.rand(1, 1, 8, 8), 2)


def test_instance_discriminator_gives_unit_vectors():
    h = InstanceDiscriminator(10, 6)
    v = h(torch.randn(7, 10) * torch.logspace(-4, 4, 10))
    assert v.shape == (7, 6)
    torch.testing.assert_close(v.norm(dim=1), torch.ones(7))
    zero = torch.zeros(2, 10, requires_grad=True)
    h(zero).sum().backward()
    assert zero.grad.isfinite().all()
    assert all(p.grad is not None for p in h.parameters())
