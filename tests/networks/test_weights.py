"""Files of weights: good ones come back as they were, bad ones are refused, and nothing in them runs."""

import json
import os
import pickle
import resource
import stat
import struct
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import dfkd
from dfkd.cli import app
from dfkd.errors import CheckpointError
from dfkd.networks.vdsr import VDSR
from dfkd.networks.weights import (
    fingerprint,
    read_pickled_module,
    read_state,
    read_weights,
    write_state,
    write_weights,
)  # fmt: skip
from dfkd.networks.zoo import Bicubic, path_meant
from dfkd.running.provenance import FilesRead
from dfkd.writing import replacing

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


class Calls:
    """Pickles as a call of some function with some arguments."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def _text(word: str) -> bytes:
    raw = word.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _legacy(body: bytes, storages: list[np.ndarray] = ()) -> bytes:
    """A file as torch wrote it before 2020, around a hand-made pickle."""
    head = b"".join(pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, SYSTEM))
    tail = pickle.dumps([str(i) for i in range(len(storages))], 2)
    return head + body + tail + b"".join(struct.pack("<q", s.size) + s.astype("<f4").tobytes() for s in storages)


def _module(count: int = 6, offset: int = 0, size=(2, 3), stride=(3, 1)) -> bytes:
    """{"model": Net with one parameter w}, its storage of `count` numbers named '0'."""

    def integers(values):
        return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"

    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu")
    storage += b"J" + struct.pack("<i", count) + b"NtQ"
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"J" + struct.pack("<i", offset)
    tensor += integers(size) + integers(stride) + b"tR"
    parameter = b"ctorch.nn.parameter\nParameter\n(" + tensor + b"\x88tR"
    ordered = b"ccollections\nOrderedDict\n)R"
    net = b"cvdsr\nNet\n)\x81}(" + _text("_parameters") + ordered + _text("w") + parameter + b"s"
    net += _text("_modules") + ordered + b"ub"
    return b"\x80\x02}" + _text("model") + net + b"s."


# ---- what a good file gives ------------------------------------------------------------------------------------------


def test_old_module_is_read_to_the_last_bit(tmp_path):
    values = np.arange(6, dtype=np.float32) / 7
    path = tmp_path / "old.pth"
    path.write_bytes(_legacy(_module(), [values]))
    weights = read_pickled_module(path)
    assert list(weights) == ["w"] and torch.equal(weights["w"], torch.from_numpy(values).reshape(2, 3))


def test_old_module_honours_offset_and_stride(tmp_path):
    values = np.arange(7, dtype=np.float32)
    path = tmp_path / "old.pth"
    path.write_bytes(_legacy(_module(7, 1, (3, 2), (1, 3)), [values]))
    assert torch.equal(read_pickled_module(path)["w"], torch.from_numpy(values[1:]).reshape(2, 3).T)


@pytest.mark.data
def test_public_teacher_has_its_weights(data_dir):
    weights = read_pickled_module(data_dir / "checkpoints" / "pytorch-vdsr-model_epoch_50.pth")
    assert sum(w.numel() for w in weights.values()) == 664_704 and len(weights) == 20
    assert set(dfkd.load_teacher("vdsr").state_dict()) == {"head.weight", "tail.weight"} | {
        f"body.{i}.weight" for i in range(18)
    }


def test_state_survives(tmp_path, random):
    state = {
        "a": torch.randn(3, generator=random), "n": 3, "x": 0.1, "s": "word", "l": [1, (2, None)], 2: {True: b"raw"},
        "o": OrderedDict(z=torch.tensor(1)), "rng": random.get_state(),
    }  # fmt: skip
    write_state(tmp_path / "sub" / "state.pt", state)
    back = read_state(tmp_path / "sub" / "state.pt")
    assert torch.equal(back.pop("a"), state.pop("a")) and torch.equal(back.pop("rng"), state.pop("rng"))
    assert back == state
    assert os.listdir(tmp_path / "sub") == ["state.pt"]


def test_weights_survive_whatever_their_layout(tmp_path, random):
    weights = {"w": torch.randn(2, 3, 4, 5, generator=random).to(memory_format=torch.channels_last), "b": torch.ones(2)}
    write_weights(tmp_path / "w.safetensors", weights, {"role": "test", "n": [1, 2]})
    back, description = read_weights(tmp_path / "w.safetensors")
    assert description == {"role": "test", "n": [1, 2]} and set(back) == set(weights)
    assert all(torch.equal(back[name], weights[name]) for name in weights)


def test_model_survives_and_comes_back_frozen(tmp_path):
    model = VDSR(5, 2)
    dfkd.save_model(tmp_path / "m.safetensors", model, role="student")
    back = dfkd.load_model(tmp_path / "m.safetensors")
    lr = torch.rand(1, 1, 6, 7)
    assert torch.equal(model(lr, 3), back(lr, 3))
    assert back.spec() == model.spec() and not back.training and not any(p.requires_grad for p in back.parameters())


def test_fingerprint_is_that_of_the_weights_whatever_their_order_and_layout(random):
    weights = {"w": torch.randn(2, 3, 4, 5, generator=random), "b": torch.ones(2)}
    turned = {"b": weights["b"], "w": weights["w"].to(memory_format=torch.channels_last)}
    assert fingerprint(turned) == fingerprint(weights)


def test_fingerprint_sees_the_last_bit(random):
    weights = {"w": torch.randn(2, 3, generator=random)}
    other = {"w": weights["w"].nextafter(torch.tensor(9.0))}
    assert fingerprint(other) != fingerprint(weights)


def test_a_packaged_network_opens_no_weights_but_its_own():
    with FilesRead() as read:
        dfkd.load_model("vdsr-small")
    assert [Path(path).name for path in read.paths if path.endswith(".safetensors")] == ["vdsr-small.safetensors"]


# ---- what a name means -----------------------------------------------------------------------------------------------


def test_a_known_name_means_the_packaged_network():
    assert path_meant("bicubic", ["bicubic"]) is None


@pytest.mark.parametrize("name", ["./bicubic", Path("bicubic"), "elsewhere/bicubic", "bicubic.safetensors"])
def test_what_is_written_as_a_path_means_the_path(name):
    assert path_meant(name, ["bicubic"]) == Path(name)


def test_a_folder_of_a_known_name_does_not_hide_the_packaged_network(tmp_path, monkeypatch):
    _run_called_bicubic(tmp_path, monkeypatch)
    assert isinstance(dfkd.load_model("bicubic"), Bicubic)


@pytest.mark.parametrize("name", ["./bicubic", Path("bicubic")])
def test_a_folder_of_a_known_name_is_loaded_by_its_path(name, tmp_path, monkeypatch):
    _run_called_bicubic(tmp_path, monkeypatch)
    assert dfkd.load_model(name).spec() == {"width": 5, "blocks": 2}


def _run_called_bicubic(folder, monkeypatch):
    dfkd.save_model(folder / "bicubic" / "student.safetensors", VDSR(5, 2))
    monkeypatch.chdir(folder)


# ---- what a bad file must not do -------------------------------------------------------------------------------------


def _poisons(canary) -> dict[str, bytes]:
    """Files that leave `canary` behind when something in them runs, by the trick they use."""
    command = Calls(os.system, f"touch '{canary}'")
    name, call = _text(str(canary)), b"(" + _text(str(canary)) + _text("w") + b"tR."
    write = Calls(open, str(canary), "w")
    shell = _text(f"touch '{canary}'")
    whole = {
        "system": pickle.dumps(command, 2),
        "open": pickle.dumps(write, 4),
        "nested": pickle.dumps({"model": [1, {"x": (command,)}]}, 3),
        "protocol0": f"cos\nsystem\n(S\"touch '{canary}'\"\ntR.".encode(),
        "inst": f"(S\"touch '{canary}'\"\nios\nsystem\n.".encode(),
        "newobj": b"\x80\x02cos\nsystem\n(" + shell + b"t\x81.",
        "stack_global": b"\x80\x04\x8c\x02os\x8c\x06system\x93(" + shell + b"tR.",
        # Names that look admitted, or reach on from an admitted one.
        "dotted_name": b"\x80\x04" + _text("torch") + _text("nn.Module.os.system") + b"\x93(" + shell + b"tR.",
        "dotted_module": b"\x80\x04" + _text("collections.OrderedDict.__init__.__globals__") + _text("open")
        + b"\x93" + call,
        "attribute_of_admitted": b"\x80\x04" + _text("torch") + _text("FloatStorage.from_file") + b"\x93("
        + name + b"\x88K\x01tR.",
        "attribute_of_function": b"\x80\x04" + _text("torch._utils") + _text("_rebuild_tensor.__globals__") + b"\x93.",
        "split_elsewhere": b"\x80\x04" + _text("torch.nn") + _text("parameter.Parameter.__reduce__") + b"\x93.",
        "storage_in_name": b"\x80\x04" + _text("os") + _text("system.Storage") + b"\x93(" + shell + b"tR.",
        "getattr": b"cbuiltins\ngetattr\n.",
        # The old loader saved a 'patch' next to a class whose source differs, if the class asks for it.
        "dump_patches": b"\x80\x02cvdsr\nNet\nN}" + _text("dump_patches") + b"\x88s" + _text("__name__") + name
        + b"s\x86b0(" + _text("module") + b"cvdsr\nNet\n" + _text("x.py") + _text("evil\n") + b"tQ.",
    }  # fmt: skip
    files = {f"bare_{trick}": content for trick, content in whole.items()}
    files |= {f"legacy_{trick}": _legacy(content) for trick, content in whole.items()}
    return files


def _archives(canary, folder) -> dict[str, bytes]:
    """The same in torch's zip and tar files, and TorchScript, which has code of its own."""
    made = {}
    command = Calls(os.system, f"touch '{canary}'")
    for name, options in {"zip": {}, "old": {"_use_new_zipfile_serialization": False}}.items():
        torch.save({"model": command}, folder / "f", **options)
        made[f"torch_{name}"] = (folder / "f").read_bytes()

    class Script(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.path = str(canary)

        def forward(self, x):
            return x

        @torch.jit.export
        def __getstate__(self):
            return (self.path, self.training)

        @torch.jit.export
        def __setstate__(self, state: tuple[str, bool]):
            self.path, self.training = state[0], state[1]
            torch.save(torch.ones(1), self.path)

    torch.jit.save(torch.jit.script(Script()), str(folder / "f"))
    made["torchscript"] = (folder / "f").read_bytes()
    (folder / "part").write_bytes(pickle.dumps(command, 2))
    with tarfile.open(folder / "f", "w") as tar:
        for part in ("storages", "tensors", "pickle"):
            tar.add(folder / "part", part)
    made["torch_tar"] = (folder / "f").read_bytes()
    for part in ("part", "f"):
        (folder / part).unlink()
    return made


TRICKS = sorted([*_poisons("x"), "torch_zip", "torch_old", "torchscript", "torch_tar"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("trick", TRICKS)
def test_file_that_would_run_code_is_refused_and_runs_nothing(trick, tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    outside.mkdir()
    monkeypatch.chdir(outside)
    canary = outside / "canary"
    content = (_poisons(canary) | _archives(canary, outside))[trick]
    for path in outside.iterdir():  # what scripting the archive may itself have left
        path.unlink()
    parameter_before = vars(torch.nn.Parameter).copy()
    for suffix in (".pth", ".pt", ".safetensors", ".pkl", ""):
        path = tmp_path / f"evil{suffix}"
        path.write_bytes(content)
        for reader in (read_pickled_module, read_state, read_weights, dfkd.load_model, dfkd.load_teacher):
            with pytest.raises(CheckpointError) as error:
                reader(path)
            assert str(path) in str(error.value) and "\n" not in str(error.value)
    run = tmp_path / "run"
    run.mkdir()
    for file in ("student.safetensors", "checkpoint.pt"):
        (run / file).write_bytes(content)
    for arguments in (
        ["evaluate", str(tmp_path / "evil.pth"), "--dataset", "Set5"], ["evaluate", str(run)],
        ["distill", "--teacher", str(tmp_path / "evil.pth"), "--out", str(tmp_path / "new")],
    ):  # fmt: skip
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 1 and isinstance(result.exception, CheckpointError)
    assert list(outside.iterdir()) == []
    assert vars(torch.nn.Parameter) == parameter_before


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("trick", ["torch_zip", "bare_system", "legacy_open"])
def test_poisoned_checkpoint_stops_a_resume(trick, tmp_path):
    canary = tmp_path / "canary"
    dfkd.save_model(tmp_path / "t.safetensors", VDSR(4, 3))
    start = [
        "distill", "--teacher", str(tmp_path / "t.safetensors"), "--method", "noise", "--steps", "2", "--batch", "1",
        "--imitation-steps", "1", "--patch", "24", "--scale", "2", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    assert CliRunner().invoke(app, start).exit_code == 0
    content = (_poisons(canary) | _archives(canary, tmp_path))[trick]
    (tmp_path / "run" / "checkpoint.pt").write_bytes(content)
    result = CliRunner().invoke(app, ["distill", "--resume", str(tmp_path / "run")])
    assert isinstance(result.exception, CheckpointError) and not canary.exists()


@pytest.mark.filterwarnings("ignore")
def test_canary_would_have_sung(tmp_path):
    """The tricks are real: an ordinary unpickler falls for them."""
    canary = tmp_path / "canary"
    for trick in ("bare_system", "bare_open", "bare_protocol0", "bare_inst", "bare_stack_global", "bare_nested"):
        pickle.loads(_poisons(canary)[trick])
        assert canary.exists(), trick
        canary.unlink()


def test_refusal_says_what_was_asked_for_and_what_to_do(tmp_path):
    path = tmp_path / "evil.pth"
    path.write_bytes(_legacy(pickle.dumps(Calls(os.system, "true"), 2)))
    with pytest.raises(CheckpointError, match=r"refused to load .*evil\.pth.*none of it was run.*system.*safetensors"):
        read_pickled_module(path)
    with pytest.raises(CheckpointError, match=r"refused to load .*pickle.*safetensors"):
        dfkd.load_model(path)
    torch.save({"model": Calls(os.system, "true")}, path)
    with pytest.raises(CheckpointError, match=r"refused to load .*none of it was run"):
        read_state(path)


@pytest.mark.parametrize(
    "count, offset, size, stride, stored",
    [(2**31 - 1, 0, (2, 3), (3, 1), None), (6, 0, (2**30, 2**30), (1, 1), 6), (6, 3, (2, 3), (3, 1), 6),
     (6, -1, (2, 3), (3, 1), 6), (6, 0, (-2, 3), (3, 1), 6), (6, 0, (2, 3), (3,), 6), (6, 0, (2, 3), (3, -1), 6)],
)  # fmt: skip
def test_absurd_sizes_are_an_error(count, offset, size, stride, stored, tmp_path):
    content = _legacy(_module(count, offset, size, stride), [np.zeros(stored or 6, np.float32)])
    if stored is None:  # a storage that claims more numbers than the file has bytes
        content = content[: -6 * 4 - 8] + struct.pack("<q", 2**62)
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        read_pickled_module(tmp_path / "x.pth")


def test_every_truncation_of_an_old_file_is_an_error(tmp_path):
    content = _legacy(_module(), [np.ones(6, np.float32)])
    path = tmp_path / "x.pth"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            read_pickled_module(path)


@pytest.mark.parametrize("keep", [0, 1, 8, 100, 0.5, -1])
def test_truncated_files_are_errors_in_one_line(keep, tmp_path):
    dfkd.save_model(tmp_path / "m.safetensors", VDSR(4, 1))
    write_state(tmp_path / "s.pt", {"a": torch.ones(1000)})
    for name, reader in (("m.safetensors", dfkd.load_model), ("s.pt", read_state)):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
        with pytest.raises(CheckpointError, match=r"fetch it again|safetensors file") as error:
            reader(tmp_path / name)
        assert "\n" not in str(error.value)


class _Zeros:
    """Pickles as a call of bytearray: so many zeros."""

    def __reduce__(self):
        return bytearray, (2**31,)


def _unfolding(kind: str, path) -> None:
    """A small file that would take two gigabytes or more, or never end, if it were believed."""
    if kind == "packed":
        torch.save({"a": torch.zeros(2**16)}, path)
        with zipfile.ZipFile(path) as old:
            parts = {name: old.read(name) for name in old.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            for name, content in parts.items():
                new.writestr(name, content)
    elif kind == "bytearray":
        torch.save({"a": _Zeros()}, path)
    elif kind == "seen a billion times":
        torch.save({"a": torch.zeros(1).expand(2**15, 2**15)}, path)
    elif kind == "sparse":
        torch.save({"a": torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.long), [1.0], (2**20, 2**20))}, path)
    elif kind == "not in torch's format":
        path.write_bytes(b"\x80\x02r" + struct.pack("<I", 2**27) + b".")


@pytest.mark.parametrize("kind", ["packed", "bytearray", "seen a billion times", "sparse", "not in torch's format"])
def test_small_state_that_unfolds_to_a_large_one_is_refused(kind, tmp_path):
    path, before = tmp_path / "x.pth", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _unfolding(kind, path)
    for reader in (read_state, dfkd.load_model):
        with pytest.raises(CheckpointError):
            reader(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


@pytest.mark.parametrize(
    "body",
    [_module(6, 0, (2**15, 2**15), (0, 0)),  # six numbers, seen a billion times
     _module()[:-1] + b"r" + struct.pack("<I", 2**27) + b"."],  # a place in the memo: all before it would be made
)  # fmt: skip
def test_small_old_file_that_unfolds_to_a_large_one_is_refused(body, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (tmp_path / "x.pth").write_bytes(_legacy(body, [np.zeros(6, np.float32)]))
    with pytest.raises(CheckpointError):
        read_pickled_module(tmp_path / "x.pth")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_modules_that_hold_one_another_are_walked_through_once(tmp_path):
    """Forty, each holding the next one twice: a trillion ways through."""
    net, ordered = b"cvdsr\nNet\n)\x81", b"ccollections\nOrderedDict\n)R"
    nested = ordered
    for _ in range(40):
        module = net + b"}(" + _text("_parameters") + ordered + _text("_modules") + nested + b"ub"
        nested = ordered + _text("a") + module + b"q\x01s" + _text("b") + b"h\x01s"
    (tmp_path / "x.pth").write_bytes(_legacy(b"\x80\x02}" + _text("model") + module + b"s."))
    assert read_pickled_module(tmp_path / "x.pth") == {}


@pytest.mark.parametrize(
    "head, width", [((20_000,), 20_000), ((10**9, 0), 10**9), ((10**9, 1, 3, 0), 10**9), ((3, 1, 3, 3), 3)]
)
def test_width_that_is_no_more_than_the_length_of_a_vector_costs_no_memory(head, width, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    weights = VDSR(4, 1).state_dict() | {"head.weight": torch.zeros(head)}
    _saved(tmp_path / "m.safetensors", weights, architecture="vdsr", width=width, blocks=1)
    with pytest.raises(CheckpointError, match="does not hold the network"):
        dfkd.load_model(tmp_path / "m.safetensors")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def _saved(path, weights, **description):
    save_file(weights, path, metadata={"dfkd": json.dumps(description)})


GOOD = dict(architecture="vdsr", width=4, blocks=1)


@pytest.mark.parametrize(
    "description",
    [{}, {"architecture": "edsr"}, {**GOOD, "width": 8}, {**GOOD, "blocks": 2}, {**GOOD, "width": 10**9},
     {**GOOD, "blocks": 10**9}, {**GOOD, "width": "4"}, {**GOOD, "blocks": None}, {**GOOD, "blocks": -2},
     {"architecture": "vdsr"}, {**GOOD, "architecture": ["vdsr"]}],
)  # fmt: skip
def test_description_that_does_not_fit_is_an_error_at_once(description, tmp_path):
    _saved(tmp_path / "m.safetensors", VDSR(4, 1).state_dict(), **description)
    with pytest.raises(CheckpointError) as error:
        dfkd.load_model(tmp_path / "m.safetensors")
    assert "\n" not in str(error.value) and "m.safetensors" in str(error.value)


def test_metadata_that_is_no_description_is_an_error(tmp_path):
    for text in ("[1]", "3", "not json", "null"):
        save_file(VDSR(4, 1).state_dict(), tmp_path / "m.safetensors", metadata={"dfkd": text})
        with pytest.raises(CheckpointError):
            dfkd.load_model(tmp_path / "m.safetensors")


def test_wrong_weights_are_an_error_in_one_line(tmp_path):
    path = tmp_path / "m.safetensors"
    good = VDSR(4, 1).state_dict()
    for wrong in ({**good, "body.0.weight": torch.ones(4, 4, 1, 1)}, {**good, "x": torch.ones(1)},
                  {n: w for n, w in good.items() if n != "tail.weight"}, {"body.0.weight": torch.ones(1)},
                  {**good, "head.weight": torch.tensor(1.0)}):  # fmt: skip
        _saved(path, wrong, **GOOD)
        with pytest.raises(CheckpointError, match="does not hold the network it describes") as error:
            dfkd.load_model(path)
        assert "\n" not in str(error.value)
    for value in (float("nan"), float("inf")):
        bad = {n: w.clone() for n, w in good.items()}
        bad["tail.weight"][0, 0, 0, 0] = value
        _saved(path, bad, **GOOD)
        with pytest.raises(CheckpointError, match="not finite"):
            dfkd.load_model(path)


def test_missing_file_and_zip_of_something_else(tmp_path):
    with pytest.raises(CheckpointError, match="no file"):
        read_state(tmp_path / "nothing.pt")
    with zipfile.ZipFile(tmp_path / "z.pt", "w") as archive:
        archive.writestr("hello.txt", "hello")
    for reader in (read_state, read_pickled_module, read_weights):
        with pytest.raises(CheckpointError):
            reader(tmp_path / "z.pt")
        with pytest.raises(CheckpointError):
            reader(tmp_path)  # a folder


# ---- writing whole or not at all -------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_full_disk_leaves_the_old_file_and_nothing_else(moment, tmp_path, monkeypatch):
    path = tmp_path / "s.pt"
    write_state(path, {"a": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"dfkd.writing.os.{moment}", full)
    with pytest.raises(CheckpointError, match=r"No space left.*untouched"):
        write_state(path, {"a": 2})
    monkeypatch.undo()
    assert read_state(path) == {"a": 1} and os.listdir(tmp_path) == ["s.pt"]


def test_full_disk_while_torch_writes(tmp_path, monkeypatch):
    path = tmp_path / "s.pt"
    write_state(path, {"a": 1})

    class Full:
        def __init__(self, *arguments):
            self._file = open(*arguments)  # noqa: SIM115 (closed by who opened it)

        def write(self, data):
            raise OSError(28, "No space left on device")

        def __getattr__(self, name):
            return getattr(self._file, name)

    monkeypatch.setattr("dfkd.writing.open", Full, raising=False)
    with pytest.raises(CheckpointError, match="untouched"):
        write_state(path, {"a": torch.ones(10)})
    with pytest.raises(CheckpointError, match="No space left"):
        write_weights(path, {"a": torch.ones(10)}, {})
    monkeypatch.undo()
    assert read_state(path) == {"a": 1} and os.listdir(tmp_path) == ["s.pt"]


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "s.pt"
    write_state(path, {"a": 1})

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        write_state(path, {"a": 2})
    monkeypatch.undo()
    assert read_state(path) == {"a": 1} and os.listdir(tmp_path) == ["s.pt"]


@pytest.mark.parametrize("umask, mode", [(0o077, 0o600), (0o002, 0o664)])
def test_new_files_have_the_permissions_that_the_umask_leaves(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "new") as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == mode


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="cannot write"):
        write_state(tmp_path / "file" / "s.pt", {})
