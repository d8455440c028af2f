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
        torch.zeros(1, device=device).item()  # a device without memory, 'meta', has no numbers to give
    except (RuntimeError, AssertionError, TypeError) as error:  # the second where torch was built without CUDA
        why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise TrainingError(f"no device {device!r} here ({why}); use --device cpu") from error
    return device
