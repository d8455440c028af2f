"""Where things run."""

from __future__ import annotations

import torch

from dfkd.errors import TrainingError


def usable(device: str) -> str:
    """The device, if it is there.

    Raises:
        TrainingError: it is not.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        why = str(error).splitlines()[0]
        raise TrainingError(f"no device {device!r} here ({why}); use --device cpu") from error
    return device
