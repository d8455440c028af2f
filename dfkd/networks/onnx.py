"""A network as an ONNX file: one scale, images of any size, to be run where there is neither PyTorch nor dfkd."""

from __future__ import annotations

import copy
import logging
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import ExportError
from dfkd.writing import replacing

OPSET = 18  # of ONNX's operators; older than most runtimes in use
OLDEST = (2, 7)  # of the PyTorch whose exporter can name the axes that are free
TOLERANCE = 1e-4  # largest difference to PyTorch that rounding explains, with room; a fortieth of a grey level
SIZES = ((24, 24), (17, 30))  # of the images on which a file is checked; neither is the size it was traced with


def export_onnx(
    model: nn.Module, path: str | os.PathLike, scale: int = 2, *, channels: int = 1, check: bool = False
) -> float | None:
    """Write a network as ONNX, whole or not at all.

    The file has one input, ``lr`` [batch, channels, height, width] in [0, 1], and one output, ``sr``, which like the
    network's is not clamped. Batch, height and width are free; sides are at least 2. As `scale` decides which layers
    run, it is fixed in the file, which notes it among its metadata: write one file a scale.

    Args:
        model: ``model(lr, scale)``; it is neither moved nor changed.
        path: file to write, usually ``.onnx``.
        scale: upscaling factor.
        channels: of the images; 1 for a network on luma.
        check: run what is to be written with onnxruntime before it takes its place, see `check_onnx`.

    Returns:
        With `check`, the largest absolute difference between file and network.

    Raises:
        ExportError: onnx or onnxscript is missing, PyTorch is older than `OLDEST`, the network does not enlarge by
            `scale` or does what has no counterpart in ONNX, or the check found a difference above `TOLERANCE`.
        CheckpointError: the place cannot be written. Whatever goes wrong, an older file there is left as it was.
    """
    onnx, _ = need("onnx"), need("onnxscript")
    if tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise ExportError(f"PyTorch {torch.__version__} cannot export for any size of image; from {oldest} on it can")
    fixed = _OneScale(copy.deepcopy(model).cpu(), scale).eval()
    lr = torch.rand(2, channels, 12, 14)  # of one image, an older PyTorch would write a file for one
    _require_enlarging(fixed, lr, scale)
    with replacing(path) as file:
        with quiet():
            try:
                program = torch.onnx.export(
                    fixed, (lr,), dynamo=True, input_names=["lr"], output_names=["sr"], opset_version=OPSET,
                    dynamic_shapes={"lr": {0: "batch", 2: "height", 3: "width"}}, verbose=False,
                )  # fmt: skip
            except Exception as error:  # the exporter passes on whatever a network's code runs into
                raise ExportError(
                    f"{type(model).__name__} cannot be written as ONNX ({_brief(error)}); look for Python `if`s that "
                    "depend on a tensor, and for sizes computed with NumPy"
                ) from error
        content = program.model_proto  # made anew whenever it is asked for
        _forget_origin(content.graph)
        onnx.helper.set_model_props(content, {"scale": str(scale), "network": type(model).__name__})
        file.write(content.SerializeToString())
        if not check:
            return None
        file.flush()
        difference = check_onnx(file.name, fixed.model, scale, channels=channels)
        if not difference < TOLERANCE:
            raise ExportError(f"as ONNX the network gives something else (by {difference:.1e}); {path} is as it was")
        return difference


@torch.no_grad()
def check_onnx(
    path: str | os.PathLike, model: nn.Module, scale: int = 2, *, channels: int = 1,
    sizes: Iterable[tuple[int, int]] = SIZES,
) -> float:  # fmt: skip
    """Run an ONNX file and the network it was made from on the same random images.

    Args:
        path: the file.
        model: the network, ``model(lr, scale)``.
        scale: upscaling factor.
        channels: of the images.
        sizes: heights and widths of the images.

    Returns:
        The largest absolute difference between their outputs; some 1e-7 where only rounding differs.

    Raises:
        ExportError: onnxruntime is missing, there is no such file, or it does not run or enlarge as it should.
    """
    run, rng = load_onnx(path), torch.Generator().manual_seed(0)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    worst = 0.0
    for batch, size in enumerate(sizes, start=1):
        lr = torch.rand(batch, channels, *size, generator=rng)
        theirs, ours = run(lr), model(lr.to(device), scale).cpu()
        if theirs.shape != ours.shape:
            raise ExportError(f"{path} gives {tuple(theirs.shape)} where the network gives {tuple(ours.shape)}")
        worst = max(worst, (theirs - ours).abs().max().item())
    return worst


def load_onnx(path: str | os.PathLike):
    """An ONNX file as a function of low-resolution images, run by onnxruntime on the processor.

    Returns:
        A function from a float tensor [batch, channels, height, width] to one `scale` times as large.

    Raises:
        ExportError: onnxruntime is missing, or the file cannot be loaded; the function raises it where the file
            cannot be run on what it is given.
    """
    runtime = need("onnxruntime")
    if not os.path.isfile(path):
        raise ExportError(f"no file {path}; write one with dfkd.networks.onnx.export_onnx or dfkd export")
    try:
        options = runtime.SessionOptions()
        options.log_severity_level = 4  # what is wrong is in the exception
        session = runtime.InferenceSession(os.fspath(path), options, ["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime's errors have no common class
        raise ExportError(f"{path} is not an ONNX file that can be run ({_brief(error)}); export it again") from error

    def run(lr: Tensor) -> Tensor:
        try:
            return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: lr.cpu().numpy()})[0])
        except Exception as error:
            raise ExportError(f"{path} does not run on {tuple(lr.shape)} ({_brief(error)})") from error

    return run


class _OneScale(nn.Module):
    """A network with its scale decided: a function of the image alone."""

    def __init__(self, model: nn.Module, scale: int):
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, lr: Tensor) -> Tensor:
        return self.model(lr, self.scale)


@torch.no_grad()
def _require_enlarging(fixed: _OneScale, lr: Tensor, scale: int) -> None:
    if not isinstance(scale, int) or scale < 1:
        raise ExportError(f"a scale is a whole number of at least 1, not {scale!r}")
    try:
        found = tuple(fixed(lr).shape)
    except (RuntimeError, TypeError) as error:
        raise ExportError(f"the network does not run as model(lr, {scale}) on luma ({_brief(error)})") from error
    if found != (wanted := (*lr.shape[:2], scale * lr.shape[2], scale * lr.shape[3])):
        raise ExportError(f"the network does not enlarge {tuple(lr.shape)} by {scale}: it gives {found}, not {wanted}")


def need(package: str) -> Any:
    """A package that this room can do without until somebody asks for a file.

    Raises:
        ExportError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise ExportError(f"ONNX needs the package {package}: pip install onnx onnxscript onnxruntime") from error


def _forget_origin(graph: Any) -> None:
    """Take out the notes on which line of which file made each node: they are longer than a small network's weights."""
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages it could have used and on its own deprecated parts."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _brief(error: Exception) -> str:
    """An error's first line, without colours: the exporter's and the runtime's go on for pages."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[\d;]*m", "", str(error)).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
