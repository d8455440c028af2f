"""Any network is scored alike, wherever its weights are."""

import pytest
import torch
from torch import nn

import dfkd
from dfkd.errors import ImageError
from dfkd.networks import zoo


class _Nearest(nn.Module):
    def forward(self, lr, scale):
        return nn.functional.interpolate(lr, scale_factor=scale)


def test_own_module_is_evaluated_like_ours(random):
    smooth = dfkd.imresize(torch.rand(1, 1, 8, 9, generator=random), 7).clamp(0, 1)
    images = [smooth[..., :41, :50], smooth[..., :47]]
    ours, own = (dfkd.evaluate_images(model, images, 3) for model in (zoo.Bicubic(), _Nearest()))
    assert ours.images == own.images == 2 and ours.psnr > own.psnr > 0


def test_images_are_brought_to_the_device_of_the_network():
    class Elsewhere(_Nearest):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, device="meta"))  # stands for a device that is not there to try

        def forward(self, lr, scale):
            assert lr.device == self.weight.device
            return torch.zeros(*lr.shape[:2], lr.shape[2] * scale, lr.shape[3] * scale)

    assert dfkd.evaluate_images(Elsewhere(), [torch.rand(1, 1, 40, 40)], 2).images == 1


def test_no_image_is_an_error():
    with pytest.raises(ImageError, match="no image"):
        dfkd.evaluate_images(zoo.Bicubic(), [], 2)
