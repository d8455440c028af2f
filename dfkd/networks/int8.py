"""A network as an ONNX file that computes in whole numbers: 8 bits a weight and a value, a quarter of the size.

How large the values inside get has to be known beforehand, and is measured on images (static quantisation). Any images
will do that ask what photographs ask; drawn ones keep the student free of data to the end.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfkd.errors import ExportError
from dfkd.networks.onnx import export_onnx, load_onnx, need, quiet
from dfkd.writing import replacing

QUANTIZATION = "onnxruntime.quantization"
NARROW = 8  # channels; a convolution from or to fewer is a small part of the work and stays in float
FIRST = 2  # wide convolutions that stay in float as well: rounding there costs most, as chapter 11 measures
PERCENTILE = 99.99  # of the values inside; the few beyond are cut off, and the rest is told apart more finely


def export_int8(
    model: nn.Module, path: str | os.PathLike, scale: int, images: Iterable[Tensor], *, channels: int = 1,
    first: int = FIRST,
) -> float:  # fmt: skip
    """Write a network as ONNX with 8-bit convolutions, whole or not at all.

    Weights are rounded channel by channel, values inside layer by layer (onnxruntime's QDQ format, which other runtimes
    read too). Input and output stay float32, as `dfkd.networks.onnx.export_onnx` has them.

    Args:
        model: ``model(lr, scale)``.
        path: file to write.
        scale: upscaling factor, fixed in the file.
        images: batches [batch, channels, height, width] in [0, 1] to measure values on, all of one shape; the last is
            left out, and compared on.
        channels: of the images.
        first: wide convolutions that stay in float.

    Returns:
        How well the file agrees with the network on the images left out: PSNR in dB.

    Raises:
        ExportError: a package is missing, the network cannot be written as ONNX, or has no convolution to round.
        CheckpointError: the place cannot be written; an older file there is left as it was.
    """
    onnx = need("onnx")
    *seen, unseen = images
    if not seen:
        raise ExportError("8 bits need at least two batches of images: one to measure on, one to compare on")
    with tempfile.TemporaryDirectory() as folder, replacing(path) as file:
        plain, rounded = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        export_onnx(model, plain, scale, channels=channels)
        layers = _wide(onnx.load(plain).graph)[first:]
        if not layers:
            raise ExportError(f"{type(model).__name__} has too few wide convolutions to be worth rounding")
        try:
            _round(plain, rounded, layers, seen)
        except Exception as error:  # as where a layer gives one value everywhere; its errors have no common class
            raise ExportError(f"{type(model).__name__} cannot be written in 8 bits ({error})") from error
        file.write(rounded.read_bytes())
        file.flush()
        return _agreement(load_onnx(rounded), model, unseen, scale)


def _round(plain: Path, rounded: Path, layers: list[str], images: list[Tensor]) -> None:
    """Write the file with some of its convolutions rounded, ranges taken from images."""
    quantization, shapes = need(QUANTIZATION), need(f"{QUANTIZATION}.shape_inference")
    with quiet(), contextlib.redirect_stdout(io.StringIO()):  # the package tells of each step
        shapes.quant_pre_process(plain, plain, skip_symbolic_shape=True)
        quantization.quantize_static(
            plain, rounded, _reader(quantization, images), quant_format=quantization.QuantFormat.QDQ,
            nodes_to_quantize=layers, op_types_to_quantize=["Conv"], per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE},
        )  # fmt: skip


def _wide(graph: Any) -> list[str]:
    """Names of the convolutions between many channels, in the order in which they run."""
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    convolutions = ((node.name, shapes.get(node.input[1], ())) for node in graph.node if node.op_type == "Conv")
    return [name for name, shape in convolutions if len(shape) == 4 and min(shape[:2]) >= NARROW]


def _reader(quantization: Any, images: list[Tensor]) -> Any:
    """Images as the package wants them: an object of its own class, which is imported late."""

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.left: Iterator[Tensor] = iter(images)

        def get_next(self) -> dict | None:
            lr = next(self.left, None)
            return None if lr is None else {"lr": lr.cpu().numpy()}

    return Reader()


@torch.no_grad()
def _agreement(run: Any, model: nn.Module, lr: Tensor, scale: int) -> float:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    error = run(lr).clamp(0, 1) - model(lr.to(device), scale).cpu().clamp(0, 1)
    return -10 * error.double().square().mean().clamp_min(1e-12).log10().item()
