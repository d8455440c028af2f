"""Networks from elsewhere as teachers: recognised, adapted to luma, and carried through every command."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from typer.testing import CliRunner

import dfkd
from dfkd.cli import app
from dfkd.errors import CheckpointError, TrainingError, UnknownName
from dfkd.networks import zoo
from dfkd.networks.foreign import DEEPEST, Foreign, _mirrored, load_foreign, need_spandrel
from dfkd.networks.vdsr import VDSR
from dfkd.pixels.colour import rgb_to_ycbcr
from dfkd.running.checks import check_teacher

need_spandrel("a test")  # as it is imported by who asks for a network
from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact  # noqa: E402
from spandrel.architectures.ESRGAN.__arch.RRDB import RRDBNet  # noqa: E402
from spandrel.architectures.RCAN.__arch.rcan_arch import RCAN  # noqa: E402
from spandrel.architectures.SPAN.__arch.span import SPAN  # noqa: E402
from spandrel.architectures.SwinIR.__arch.SwinIR import SwinIR  # noqa: E402


def compact() -> nn.Module:
    return SRVGGNetCompact(num_feat=8, num_conv=3, upscale=2)


def span() -> nn.Module:
    return SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2)


def esrgan() -> nn.Module:
    return RRDBNet(num_filters=8, num_blocks=1, scale=2)


def rcan() -> nn.Module:
    return RCAN(scale=2, n_resgroups=2, n_resblocks=2, n_feats=16)  # works in place on what it is given


def swinir() -> nn.Module:
    return SwinIR(
        img_size=24, embed_dim=12, depths=[2], num_heads=[2], window_size=8, mlp_ratio=2, upscale=2,
        upsampler="pixelshuffledirect",
    )  # fmt: skip


KINDS = {"RealESRGAN Compact": compact, "SPAN": span, "ESRGAN": esrgan, "RCAN": rcan}


@pytest.fixture(params=KINDS)
def file(request, tmp_path) -> tuple[Path, nn.Module, str]:
    """A file of weights as people have it, the network it came from, and its name."""
    torch.manual_seed(0)
    network = KINDS[request.param]().eval()
    path = tmp_path / "theirs.pth"
    torch.save({"params": network.state_dict()}, path)
    return path, network, request.param


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


# ---- recognised and adapted ------------------------------------------------------------------------------------------


def test_network_is_recognised_and_gives_luma_of_its_answer_to_grey(file):
    path, network, name = file
    teacher = dfkd.load_teacher(path)
    assert (teacher.name, teacher.scales, teacher.channels) == (name, (2,), 3) and not teacher.training
    lr = 16 / 255 + torch.rand(2, 1, 12, 10) * 219 / 255
    grey = ((lr * 255 - 16) / 219).repeat(1, 3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(teacher(lr, 2), rgb_to_ycbcr(network(grey))[:, :1], atol=1e-4, rtol=1e-5)
    with pytest.raises(UnknownName, match="unknown scale 3; choose one of: 2"):
        teacher(lr, 3)


def test_safetensors_from_elsewhere_are_read_too(tmp_path):
    path = tmp_path / "theirs.safetensors"
    save_file(compact().state_dict(), path)
    assert dfkd.load_teacher(path).name == "RealESRGAN Compact"


def test_a_grey_network_that_works_in_place_leaves_the_image_alone():
    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x *= 255
            return nn.functional.interpolate(x, scale_factor=2) / 255

    lr = torch.rand(1, 1, 8, 8, requires_grad=True)
    before, sr = lr.detach().clone(), Foreign(InPlace(), 2, channels=1)(lr, 2)
    torch.testing.assert_close(sr, nn.functional.interpolate(lr, scale_factor=2))
    assert torch.equal(lr, before)


def test_gradients_reach_the_image_and_nothing_is_clamped(file):
    lr = torch.rand(1, 1, 12, 12, requires_grad=True)
    teacher = dfkd.load_teacher(file[0])
    assert torch.autograd.grad(teacher(lr, 2).square().sum(), lr)[0].abs().sum() > 0
    bright = Foreign(nn.Upsample(scale_factor=2), 2, channels=1)
    assert bright(torch.full((1, 1, 4, 4), 1.5), 2).max() == 1.5


def test_colour_network_that_only_repeats_pixels_keeps_luma():
    """Grey in, luma out, is the identity: black is 16, white 235."""
    lr = torch.linspace(0, 1, 16).reshape(1, 1, 4, 4)
    repeated = Foreign(nn.Upsample(scale_factor=2), 2)(lr, 2)
    torch.testing.assert_close(repeated, lr.repeat_interleave(2, 2).repeat_interleave(2, 3), atol=1e-6, rtol=0)


def test_sides_are_mirrored_to_what_the_network_asks_for(tmp_path):
    torch.manual_seed(0)
    torch.save(swinir().state_dict(), tmp_path / "swinir.pth")
    teacher = dfkd.load_teacher(tmp_path / "swinir.pth")
    assert teacher.name == "SwinIR" and teacher.padding(24, 24) == (0, 0) and teacher.padding(10, 17) != (0, 0)
    lr = torch.rand(1, 1, 17, 10)
    with torch.no_grad():
        whole = teacher(_mirrored(lr, 6, 7), 2)
        torch.testing.assert_close(teacher(lr, 2), whole[..., :34, :20])


def test_small_images_are_mirrored_as_often_as_it_takes():
    row = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    assert _mirrored(row, 5, 0).flatten().tolist() == [1, 2, 3, 2, 1, 2, 3, 2]
    assert _mirrored(row, 0, 2).shape == (1, 1, 3, 3)


# ---- through every command -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["dead-leaves", "cmi"])
def test_people_can_distil_their_network(file, method, tmp_path):
    own = {"dead-leaves": ("--side", 32, "--pool", 2), "cmi": ("--bank", 6, "--negatives", 4)}[method]
    command = (
        "distill", "--teacher", file[0], "--method", method, "--out", tmp_path / "run", "--student", "edsr:4x2",
        "--patch", 24, "--batch", 2, "--imitation-steps", 2, "--steps", 4, "--precision", "float32",
    )  # fmt: skip
    result = invoke(*command, *own)
    assert result.exit_code == 0, result.output + repr(result.exception)
    student = dfkd.load_student(tmp_path / "run")
    assert student.spec() == {"width": 4, "blocks": 2, "scales": [2]}  # the teacher's only scale
    Image.new("RGB", (20, 13), "teal").save(tmp_path / "photo.png")
    for model in (file[0], tmp_path / "run"):
        out = tmp_path / f"large-{model.stem}.png"
        result = invoke("upscale", tmp_path / "photo.png", out, "--model", model)
        assert result.exit_code == 0 and Image.open(out).size == (40, 26), result.output + repr(result.exception)


def test_a_network_can_be_exported(file, tmp_path):
    result = invoke("export", file[0], tmp_path / "theirs.onnx")
    assert result.exit_code == 0 and "at x2" in result.stdout, result.output + repr(result.exception)


def test_check_teacher_command_names_methods(file):
    result = invoke("check-teacher", file[0])
    assert "scales     ok   x2" in result.stdout and "layers     ok" in result.stdout, result.output


def test_evaluate_asks_for_its_only_scale(file, monkeypatch):
    monkeypatch.setattr(
        "dfkd.cli.score", lambda network, name, scale, model: dfkd.Score("theirs", name, scale, 30.0, 0.9, 5)
    )
    lines = invoke("evaluate", file[0]).stdout.splitlines()[1:]
    assert [line.split()[1:3] for line in lines] == [["Set5", "x2"]]


def test_an_untrained_network_does_not_shrink_back(file):
    """So `dfsr` and `cmi` are not for it, and the check says so."""
    verdict = check_teacher(dfkd.load_teacher(file[0]))
    assert not any(method.startswith(("dfsr", "cmi")) for method in verdict.methods)


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_it_cannot_be_halved_or_sliced(file, tmp_path):
    result = invoke("distill", "--teacher", file[0], "--out", tmp_path / "run")
    assert isinstance(result.exception, CheckpointError) and "--student edsr:32x8" in str(result.exception)
    result = invoke("distill", "--teacher", file[0], "--student", "edsr:4x2", "--init", "teacher", "--method", "noise",
                    "--out", tmp_path / "run")  # fmt: skip
    assert isinstance(result.exception, TrainingError) and "can be sliced" in str(result.exception)
    assert file[2] in str(result.exception) and not (tmp_path / "run").exists()


def _not_weights() -> dict[str, object]:
    deep = compact().state_dict() | {f"body.{10 * DEEPEST}.weight": torch.zeros(1)}
    bad = compact().state_dict() | {"body.0.weight": torch.full((8, 3, 3, 3), torch.nan)}
    return {
        "of no network": {"a.weight": torch.zeros(3, 3)}, "names a layer number": deep, "not finite": bad,
        "not hold weights by name": {"epoch": 3, "note": "hello"}, "holds a list": [torch.zeros(2)],
        "not fit one": {name: value for name, value in esrgan().state_dict().items() if "model.3" not in name},
    }  # fmt: skip


@pytest.mark.parametrize("words", _not_weights())
def test_what_is_no_network_is_one_clear_line(words, tmp_path):
    torch.save(_not_weights()[words], tmp_path / "theirs.pth")
    with pytest.raises(CheckpointError, match=words) as caught:
        dfkd.load_teacher(tmp_path / "theirs.pth")
    assert "\n" not in str(caught.value) and str(tmp_path / "theirs.pth") in str(caught.value)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_code_in_a_file_is_not_run(tmp_path):
    with open(tmp_path / "theirs.pth", "wb") as file:
        pickle.dump({"params": Trap(tmp_path / "ran")}, file)
    torch.save({"params": Trap(tmp_path / "ran")}, tmp_path / "zipped.pth")
    torch.jit.script(nn.Conv2d(1, 1, 3)).save(tmp_path / "script.pt")
    for name in ("theirs.pth", "zipped.pth", "script.pt"):
        with pytest.raises(CheckpointError):
            dfkd.load_teacher(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_network_for_something_else_is_refused(monkeypatch, tmp_path):
    torch.save(SRVGGNetCompact(num_feat=8, num_conv=3, upscale=1).state_dict(), tmp_path / "restores.pth")
    with pytest.raises(CheckpointError, match="not a network that enlarges"):
        load_foreign(tmp_path / "restores.pth")


def test_without_the_extra_one_line_names_it(file):
    program = (
        "import sys; sys.modules['spandrel'] = None; import dfkd.cli; "
        f"sys.argv = ['dfkd', 'check-teacher', {str(file[0])!r}]; dfkd.cli.main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 2 and 'pip install "dfkd[teachers]"' in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_our_own_files_do_not_need_spandrel(tmp_path, monkeypatch):
    dfkd.save_model(tmp_path / "ours.safetensors", VDSR(4, 1), role="teacher")
    monkeypatch.setattr("dfkd.networks.foreign.need_spandrel", lambda why: pytest.fail("asked for spandrel"))
    assert isinstance(zoo.load_model(tmp_path / "ours.safetensors"), VDSR)


def test_foreign_network_is_a_module_of_tensors_alone(file):
    """Its weights, and nothing that the adapter adds, decide its fingerprint."""
    teacher = dfkd.load_teacher(file[0])
    assert all(isinstance(value, Tensor) and name.startswith("model.") for name, value in teacher.state_dict().items())
