"""The generator G: from a random vector z to a small low-resolution image (after DFSR, Zhang et al., 2021)."""

from __future__ import annotations

from torch import Tensor, nn

from dfkd.errors import ImageError


class Generator(nn.Module):
    """A linear layer, then two steps of doubling the size, convolving and normalising.

    There is one generator a scale, each making images of its own size, so that the teacher's outputs all have the same.

    Args:
        size: side of the images in pixels, a multiple of 4.
        z_dim: length of z.
        width: channels of the first two feature maps; the last has half as many.
        channels: channels of the images, 1 for luma.
    """

    def __init__(self, size: int, z_dim: int = 256, width: int = 128, channels: int = 1):
        super().__init__()
        if size < 8 or size % 4:  # instance normalisation of a 1x1 map is always zero
            raise ImageError(f"a generator doubles its size twice: it makes images of side 8, 12, 16, ..., not {size}")
        self.z_dim, self.size, self.width = z_dim, size, width
        self.project = nn.Linear(z_dim, width * (size // 4) ** 2)
        self.paint = nn.Sequential(
            nn.InstanceNorm2d(width),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.InstanceNorm2d(width, eps=0.8),  # DFSR's; the usual 1e-5 gives more contrast (chapter 3)
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.InstanceNorm2d(width // 2, eps=0.8),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width // 2, channels, 3, padding=1),
            nn.Tanh(),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, a=0.2)
                nn.init.zeros_(layer.bias)

    def forward(self, z: Tensor) -> Tensor:
        """Make images.

        Args:
            z: [batch, z_dim], drawn from a standard normal distribution p_z.

        Returns:
            G(z), [batch, channels, size, size] in [0, 1].
        """
        side = self.size // 4
        x = self.project(z).view(-1, self.width, side, side)  # [batch, width, size / 4, size / 4]
        return (self.paint(x) + 1) / 2
