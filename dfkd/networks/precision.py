"""Networks that compute in bfloat16: faster on processors that can, with eight significant bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PRECISIONS = ("float32", "bfloat16")
# Those that multiply in bfloat16, by the names torch gives them; the first is several times as fast as the others.
INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 BF16", "bf16": "Arm BF16"}


def preferred(device: str = "cpu") -> tuple[str, str]:
    """The precision in which a device computes fastest, and what says so.

    Without instructions for it bfloat16 is slower than float32, not faster.

    Args:
        device: 'cpu' or 'cuda'.

    Returns:
        One of `PRECISIONS`, and a few words on why.
    """
    if device.startswith("cuda") and torch.cuda.is_available():  # whether it is there at all is for others to say
        major, minor = torch.cuda.get_device_capability(device)
        native, what = major >= 8, f"compute capability {major}.{minor}"
    else:
        able = getattr(torch.cpu, "get_capabilities", dict)()  # not in older versions, which then take float32
        what = next((words for flag, words in INSTRUCTIONS.items() if able.get(flag)), "")
        native, what = bool(what), what or "no instructions for bfloat16 found"
    return ("bfloat16" if native else "float32"), what


def answer(network: nn.Module, lr: Tensor, scale: int, precision: str = "float32") -> Tensor:
    """``network(lr, scale)`` with its convolutions in some precision; the answer is float32.

    Weights stay as they are, and losses, optimisers and averages see float32 throughout. In bfloat16 an error of up to
    2^-8 of each feature remains: small where a network adds a correction to the bicubic image, as those here do,
    because resizing keeps float32.

    Args:
        network: any module of signature ``network(lr, scale)``.
        lr: low-resolution images [batch, channels, height, width] in [0, 1].
        scale: upscaling factor.
        precision: one of `PRECISIONS`.
    """
    if precision == "float32":
        return network(lr, scale)
    with torch.autocast(lr.device.type, torch.bfloat16):
        return network(lr, scale).float()
