"""Photos a tile at a time: as far as a network sees, so that the tiles leave no seams."""

import pytest
import torch
from torch import nn

from dfkd.errors import ImageError
from dfkd.networks.base import reach_of
from dfkd.networks.edsr import EDSR
from dfkd.networks.photographs import upscale
from dfkd.networks.vdsr import VDSR


class Wrapped(nn.Module):
    """A network of somebody else's class: it does not say how far it sees."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, lr, scale):
        return self.network(lr, scale)


@pytest.fixture
def far_sighted() -> EDSR:
    """Each block adds three times the image two pixels to the left: what stands 24 to 32 pixels away weighs most."""
    torch.manual_seed(0)
    network = EDSR(4, 16).eval()
    with torch.no_grad():
        network.head.weight.abs_()
        for first, _, second in network.body:
            for conv, gain in ((first, 1), (second, 3)):
                conv.weight.zero_()
                conv.weight[range(4), range(4), 1, 0] = gain
        for head in network.heads.values():
            head.weight.mul_(3 / 4**16)  # each block made it four times as large
    return network


@pytest.fixture
def photo() -> torch.Tensor:
    return torch.rand(1, 1, 70, 100, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scale", [2, 3])
def test_tiles_leave_no_seams_however_far_a_network_sees(scale, far_sighted, photo):
    whole = upscale(far_sighted, photo, scale, tile=100)
    torch.testing.assert_close(upscale(far_sighted, photo, scale, tile=32), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("margin", [4, 24])
def test_a_margin_below_the_reach_leaves_seams(margin, far_sighted, photo):
    whole = upscale(far_sighted, photo, 2, tile=100)
    assert (upscale(far_sighted, photo, 2, tile=32, margin=margin) - whole).abs().max() > 0.1


def test_tiles_of_a_network_that_does_not_say_how_far_it_sees_leave_no_seams(far_sighted, photo):
    whole = upscale(Wrapped(far_sighted), photo, 2, tile=100)
    torch.testing.assert_close(upscale(Wrapped(far_sighted), photo, 2, tile=32), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tiles_of_vdsr_leave_no_seams(channels):
    torch.manual_seed(0)
    network, image = VDSR(8, 8), torch.rand(1, channels, 50, 41)
    with torch.no_grad():
        network.tail.weight.mul_(5)
    torch.testing.assert_close(upscale(network, image, 3, tile=16), upscale(network, image, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("network", [VDSR, EDSR])
@pytest.mark.parametrize("blocks", [1, 4, 8])
def test_reach_is_what_the_gradient_shows_or_one_more(network, blocks, scale):
    torch.manual_seed(0)
    model = network(8, blocks)
    assert 0 <= model.reach(scale) - reach_of(Wrapped(model), scale) <= 1


@pytest.mark.parametrize("blocks", [1, 5, 16])
def test_reach_of_edsr_is_exact(blocks):
    torch.manual_seed(0)
    model = EDSR(4, blocks)
    assert model.reach(2) == reach_of(Wrapped(model), 2) == 2 * blocks + 2


def test_reach_of_a_network_that_sees_everything_is_the_limit():
    class Mean(nn.Module):
        def forward(self, lr, scale):
            return (lr + lr.mean((2, 3), keepdim=True)).repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    assert reach_of(Mean(), 2, limit=9) == 9


def test_reach_of_a_network_that_sees_its_own_pixel_is_zero():
    class Nearest(nn.Module):
        def forward(self, lr, scale):
            return lr.repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    assert reach_of(Nearest(), 3) == 0


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (1, 2, 8, 8), (1, 8, 8)])
def test_what_is_no_photo_is_an_error(shape):
    with pytest.raises(ImageError, match="one image"):
        upscale(VDSR(4, 1), torch.rand(shape), 2)


@pytest.mark.parametrize("image", [torch.full((1, 1, 8, 8), 200, dtype=torch.uint8), torch.full((1, 3, 8, 8), 200.0)])
def test_what_is_not_in_the_unit_range_is_an_error(image):
    with pytest.raises(ImageError, match="divide it by 255"):
        upscale(VDSR(4, 1), image, 2)
