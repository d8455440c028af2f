"""Networks in 8 bits: how close they stay, what stays in float, and what is left alone when it goes wrong."""

import onnx
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from dfkd.cli import app
from dfkd.errors import CheckpointError, ExportError
from dfkd.networks.edsr import EDSR
from dfkd.networks.int8 import FIRST, export_int8
from dfkd.networks.onnx import load_onnx
from dfkd.networks.vdsr import VDSR
from dfkd.networks.zoo import load_model
from dfkd.running.evaluation import evaluate
from dfkd.running.exports import drawn_images


def test_eight_bits_agree_with_the_network_and_take_a_quarter_of_the_place(tmp_path):
    network = load_model("vdsr-small")
    agrees = export_int8(network, tmp_path / "small.onnx", 2, drawn_images(2))
    assert agrees > 40
    lr = drawn_images(2)[-1]
    with torch.no_grad():
        error = (load_onnx(tmp_path / "small.onnx")(lr).clamp(0, 1) - network(lr, 2).clamp(0, 1)).square().mean()
    assert -10 * error.log10() == pytest.approx(agrees, abs=0.01)  # what it says, a reader finds
    weights = sum(p.numel() for p in network.body[FIRST:].parameters())
    assert (tmp_path / "small.onnx").stat().st_size < 1.1 * weights + 4 * 9 * (1 + 2 * 32 + FIRST * 32) * 32 + 60_000
    kinds = {t.data_type for t in onnx.load(tmp_path / "small.onnx").graph.initializer if len(t.dims) == 4}
    assert onnx.TensorProto.INT8 in kinds


def test_ends_and_first_layers_stay_in_float(tmp_path):
    export_int8(VDSR(8, 5), tmp_path / "v.onnx", 2, drawn_images(2)[:2])
    weights = [t for t in onnx.load(tmp_path / "v.onnx").graph.initializer if len(t.dims) == 4]
    whole = [t for t in weights if t.data_type == onnx.TensorProto.INT8]
    assert len(whole) == 5 - FIRST and {tuple(t.dims) for t in whole} == {(8, 8, 3, 3)}


@pytest.mark.parametrize("scale", [2, 3])
def test_other_architectures_and_colour(scale, tmp_path):
    torch.manual_seed(0)
    export_int8(EDSR(8, 2, scales=(2, 3)), tmp_path / "e.onnx", scale, drawn_images(scale)[:3])
    lr = torch.rand(2, 1, 11, 14)
    assert load_onnx(tmp_path / "e.onnx")(lr).shape == (2, 1, 11 * scale, 14 * scale)
    result = CliRunner().invoke(
        app, ["export", "vdsr-small", str(tmp_path / "c.onnx"), "--scale", str(scale), "--int8", "--colour"]
    )
    assert result.exit_code == 0 and "agrees with it to" in result.stdout, result.output
    assert load_onnx(tmp_path / "c.onnx")(torch.rand(1, 3, 9, 8)).shape == (1, 3, 9 * scale, 8 * scale)


def test_drawn_images_are_grey_in_colour_and_the_same_every_time():
    one, three = drawn_images(2), drawn_images(2, 3)
    assert torch.equal(one[3], drawn_images(2)[3]) and three[0].shape == (4, 3, 48, 48)
    assert torch.equal(three[0][:, 0], three[0][:, 2]) and 0 <= three[0].min() <= three[0].max() <= 1


def test_what_cannot_be_rounded_is_said(tmp_path):
    images = drawn_images(2)[:2]
    (tmp_path / "old.onnx").write_text("as it was")
    with pytest.raises(ExportError, match="too few wide convolutions"):
        export_int8(VDSR(4, 3), tmp_path / "old.onnx", 2, images)
    with pytest.raises(ExportError, match="at least two batches"):
        export_int8(VDSR(8, 4), tmp_path / "old.onnx", 2, images[:1])
    with pytest.raises(ExportError, match="does not run as model"):
        export_int8(nn.Identity(), tmp_path / "old.onnx", 2, images)
    assert (tmp_path / "old.onnx").read_text() == "as it was"
    with pytest.raises(CheckpointError):
        export_int8(VDSR(8, 4), tmp_path / "old.onnx" / "new.onnx", 2, images)


@pytest.mark.data
def test_photographs_lose_little(tmp_path, data_dir):
    """Set5 at x2: 8 bits against float."""
    network = load_model("vdsr-half-best")
    export_int8(network, tmp_path / "best.onnx", 2, drawn_images(2))
    run = load_onnx(tmp_path / "best.onnx")

    class Rounded(nn.Module):
        def forward(self, lr, scale):
            return run(lr)

    assert evaluate(network, "Set5", 2).psnr - evaluate(Rounded(), "Set5", 2).psnr < 0.15
