"""ONNX files: the same numbers at any size, whole or not there at all, and errors that say what to do."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import dfkd
from dfkd.cli import app
from dfkd.errors import CheckpointError, ExportError, UnknownName
from dfkd.networks import onnx as export
from dfkd.networks.edsr import EDSR
from dfkd.networks.onnx import check_onnx, export_onnx, load_onnx
from dfkd.networks.vdsr import VDSR

pytest.importorskip("onnxscript", reason="onnxscript is not installed (it is in the extra `export`)")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (it is in the extra `export`)")


@pytest.fixture(params=[VDSR, EDSR], ids=["vdsr", "edsr"])
def either(request):
    """A network of each design."""
    return new(request.param)


@pytest.fixture
def model():
    return new(EDSR)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The EDSR `model` as a file for scale 2."""
    path = tmp_path_factory.mktemp("exported") / "m.onnx"
    export_onnx(new(EDSR), path, 2)
    return path


def new(kind):
    torch.manual_seed(0)
    return kind(4, 2).eval()


def invoke(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("kind, scale", [(VDSR, 2), (VDSR, 3), (VDSR, 4), (EDSR, 3)])
def test_file_gives_the_networks_numbers_at_sizes_it_was_not_traced_with(kind, scale, tmp_path):
    model = new(kind)
    export_onnx(model, tmp_path / "m.onnx", scale)
    assert check_onnx(tmp_path / "m.onnx", model, scale) < 1e-5
    run = load_onnx(tmp_path / "m.onnx")
    for shape in ((1, 1, 2, 2), (3, 1, 5, 40), (1, 1, 64, 31)):
        lr = torch.rand(shape)
        torch.testing.assert_close(run(lr), model(lr, scale).detach(), atol=1e-5, rtol=0)


def test_file_says_what_it_is_and_holds_its_weights(model, tmp_path):
    import onnx

    export_onnx(model, tmp_path / "m.onnx", 3)
    proto = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(proto)
    assert {p.key: p.value for p in proto.metadata_props}["scale"] == "3"
    assert [i.name for i in proto.graph.input] == ["lr"] and [o.name for o in proto.graph.output] == ["sr"]
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]  # no second file with the weights
    content = (tmp_path / "m.onnx").read_bytes()
    assert b".py" not in content and len(content) < 4 * sum(p.numel() for p in model.parameters()) + 5000


def test_exporting_leaves_the_network_as_it_was(either, tmp_path):
    model = either
    model.train().to(memory_format=torch.channels_last)
    before = [p.clone() for p in model.parameters()]
    export_onnx(model, tmp_path / "m.onnx")
    assert model.training and all(map(torch.equal, before, model.parameters()))
    assert check_onnx(tmp_path / "m.onnx", model) < 1e-5


def test_a_colour_network_of_ones_own(tmp_path):
    class Nearest(nn.Module):
        def forward(self, lr, scale):
            return lr.repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    export_onnx(Nearest(), tmp_path / "m.onnx", 2, channels=3)
    assert check_onnx(tmp_path / "m.onnx", Nearest(), 2, channels=3) == 0


def test_exporting_says_nothing_by_itself(tmp_path):
    code = (
        "import sys; from dfkd.networks.onnx import export_onnx; from dfkd.networks.edsr import EDSR;"
        "export_onnx(EDSR(4, 1), sys.argv[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "m.onnx"], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""


# ---- what can go wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_missing_package_is_named_with_the_command_that_brings_it(package, model, exported, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    use = check_onnx if package == "onnxruntime" else export_onnx
    with pytest.raises(ExportError, match=f"package {package}: pip install .*{package}"):
        use(exported, model) if use is check_onnx else use(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_pytorch_that_is_too_old_is_named_with_one_that_is_not(model, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.6.0+cpu")
    with pytest.raises(ExportError, match=r"PyTorch 2\.6\.0\+cpu cannot .* from 2\.7 on"):
        export_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_unknown_scales_are_errors_before_anything_is_written(tmp_path):
    with pytest.raises(UnknownName, match=r"scale 5.*2, 3, 4"):
        export_onnx(EDSR(4, 1), tmp_path / "m.onnx", 5)
    for scale in (0, -2, 1.5, "2"):
        with pytest.raises(ExportError, match="whole number"):
            export_onnx(VDSR(4, 1), tmp_path / "m.onnx", scale)
    assert list(tmp_path.iterdir()) == []


class Halving(nn.Module):
    def forward(self, lr, scale):
        return lr[..., ::2, ::2]


class WithoutScale(nn.Module):
    def forward(self, lr):
        return lr


class Colourful(nn.Module):
    def forward(self, lr, scale):
        raise RuntimeError("\x1b[96mno such thing\x1b[0m\nand a page more")


class Undecided(nn.Module):
    def forward(self, lr, scale):
        lr = lr.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        return lr * 2 if lr.sum() > 1 else lr


@pytest.mark.parametrize(
    "wrong, message",
    [
        (Halving, r"gives \(2, 1, 6, 7\)"), (WithoutScale, "model"), (Colourful, r"\(no such thing\)$"),
        (Undecided, "Python `if`"),
    ],
)  # fmt: skip
def test_networks_that_cannot_be_exported_leave_nothing_behind(wrong, message, tmp_path):
    (tmp_path / "m.onnx").write_text("old")
    with pytest.raises(ExportError, match=message) as error:
        export_onnx(wrong(), tmp_path / "m.onnx", 2)
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"] and (tmp_path / "m.onnx").read_text() == "old"


def test_unwritable_place_is_an_error(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write"):
        export_onnx(model, tmp_path / "file" / "m.onnx")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match="cannot write"):
        export_onnx(model, tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_full_disk_leaves_the_old_file(model, tmp_path, monkeypatch):
    (tmp_path / "m.onnx").write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dfkd.writing.os.fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        export_onnx(model, tmp_path / "m.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"] and (tmp_path / "m.onnx").read_text() == "old"


@pytest.mark.parametrize("found", [1.0, float("nan")])
def test_a_check_that_fails_leaves_the_old_file(found, model, tmp_path, monkeypatch):
    (tmp_path / "m.onnx").write_text("old")
    monkeypatch.setattr("dfkd.networks.onnx.check_onnx", lambda *_, **__: found)
    with pytest.raises(ExportError, match="gives something else"):
        export_onnx(model, tmp_path / "m.onnx", check=True)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"] and (tmp_path / "m.onnx").read_text() == "old"


def test_exporting_with_a_check_returns_the_difference(model, tmp_path):
    assert 0 <= export_onnx(model, tmp_path / "m.onnx", check=True) < 1e-5
    assert export_onnx(model, tmp_path / "m.onnx") is None


def test_checking_leaves_a_network_in_training_as_it_was(tmp_path):
    class Normed(EDSR):
        def __init__(self):
            super().__init__(4, 1)
            self.norm = nn.BatchNorm2d(1)

        def forward(self, lr, scale):
            return self.norm(super().forward(lr, scale))

    model = Normed().train()
    before = [buffer.clone() for buffer in model.buffers()]
    assert export_onnx(model, tmp_path / "m.onnx", check=True) < 1e-5
    assert model.training and all(map(torch.equal, before, model.buffers()))


def test_files_that_do_not_run_are_errors(model, exported, tmp_path):
    with pytest.raises(ExportError, match="no file"):
        check_onnx(tmp_path / "m.onnx", model)
    (tmp_path / "m.onnx").write_bytes(b"not a network")
    with pytest.raises(ExportError, match="export it again") as error:
        check_onnx(tmp_path / "m.onnx", model)
    assert "\n" not in str(error.value)
    with pytest.raises(ExportError, match="where the network gives"):
        check_onnx(exported, model, 3)
    with pytest.raises(ExportError, match="does not run on"):
        load_onnx(exported)(torch.rand(1, 3, 8, 8))


def test_check_sees_other_weights(model, exported):
    with torch.no_grad():
        model.head.weight.mul_(1.1)
    assert check_onnx(exported, model) > export.TOLERANCE


# ---- the command -----------------------------------------------------------------------------------------------------


def test_command_writes_checks_and_says_so(either, tmp_path):
    model = either
    dfkd.save_model(tmp_path / "m.safetensors", model)
    result = invoke("export", tmp_path / "m.safetensors", tmp_path / "m.onnx", "--scale", 3)
    assert result.exit_code == 0, result.output
    assert "at x3" in result.stdout and "differs from PyTorch by at most" in result.stdout
    assert check_onnx(tmp_path / "m.onnx", model, 3) < 1e-5
    quick = invoke("export", tmp_path / "m.safetensors", tmp_path / "m.onnx", "--no-check")
    assert quick.exit_code == 0 and "differs" not in quick.stdout


def test_command_refuses_a_file_that_computes_something_else(model, tmp_path, monkeypatch):
    dfkd.save_model(tmp_path / "m.safetensors", model)
    for found in (1.0, float("nan")):
        monkeypatch.setattr("dfkd.networks.onnx.check_onnx", lambda *_, found=found, **__: found)
        error = invoke("export", tmp_path / "m.safetensors", tmp_path / "m.onnx").exception
        assert isinstance(error, ExportError) and "gives something else" in str(error)
        assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_command_errors(tmp_path):
    assert isinstance(invoke("export", "nobody", tmp_path / "m.onnx").exception, UnknownName)
    assert invoke("export", "bicubic", tmp_path / "m.onnx", "--scale", 1).exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [VDSR, EDSR])
def test_colour_file_enlarges_as_upscale_does(kind, tmp_path):
    from dfkd.networks.photographs import Colour

    model = new(kind)
    export_onnx(Colour(model), tmp_path / "colour.onnx", 2, channels=3, check=True)
    rgb = torch.rand(1, 3, 21, 30, generator=torch.Generator().manual_seed(1))
    found = load_onnx(tmp_path / "colour.onnx")(rgb)
    assert found.shape == (1, 3, 42, 60)
    torch.testing.assert_close(found, dfkd.upscale(model, rgb, 2), atol=2e-4, rtol=0)


def test_colour_by_command(tmp_path):
    out = tmp_path / "c.onnx"
    result = CliRunner().invoke(app, ["export", "vdsr-small", str(out), "--scale", "2", "--colour"])
    assert result.exit_code == 0, result.output
    assert load_onnx(out)(torch.rand(1, 3, 8, 9)).shape == (1, 3, 16, 18)
