"""bfloat16: what is computed in it, what is not, and that a run in it can be repeated and resumed."""

import copy
from itertools import islice

import pytest
import torch

from dfkd.method.loop import Distillation
from dfkd.method.settings import configure
from dfkd.method.sources import make_source
from dfkd.method.students import make_student
from dfkd.networks.discriminator import TeacherFeatures
from dfkd.networks.precision import answer, preferred
from dfkd.networks.vdsr import VDSR
from dfkd.pixels.resize import imresize

SMALL = dict(steps=8, batch=2, patch=24, scales=(2, 3), blocks=2, imitation_steps=2)
OWN = {"dfsr": dict(bank=6), "cmi": dict(bank=6, negatives=4)}


def network(seed: int = 0) -> VDSR:
    torch.manual_seed(seed)
    return VDSR(width=8, blocks=3)


def run(method: str = "cmi", precision: str = "bfloat16") -> Distillation:
    config = configure(method, **SMALL, **OWN.get(method, {}), precision=precision)
    return Distillation(network(), make_student(config, width=4), make_source(config, network()), config)


def outputs_of_convolutions(module: torch.nn.Module, kinds: set) -> None:
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _, __, output: kinds.add(output.dtype))


def test_convolutions_compute_in_bfloat16_and_the_answer_is_float32():
    plain, kinds = network(), set()
    outputs_of_convolutions(plain, kinds)
    lr = torch.rand(2, 1, 9, 11, generator=torch.Generator().manual_seed(0))
    rounded = answer(plain, lr, 2, "bfloat16")
    assert kinds == {torch.bfloat16} and rounded.dtype == torch.float32
    exact = plain(lr, 2)
    bicubic = imresize(lr, 2).clamp(0, 1)
    # Only the correction is rounded: the error is a small share of it, however large the image's values are.
    assert 0 < (rounded - exact).norm() < 0.02 * (exact - bicubic).norm()


def test_float32_is_the_network_as_it_is():
    plain, kinds = network(), set()
    outputs_of_convolutions(plain, kinds)
    lr = torch.rand(2, 1, 9, 11, generator=torch.Generator().manual_seed(0))
    assert torch.equal(answer(plain, lr, 2, "float32"), plain(lr, 2))
    assert torch.equal(answer(plain, lr, 2), plain(lr, 2))
    assert kinds == {torch.float32}


def test_gradients_reach_image_and_weights_in_float32():
    plain = network()
    lr = torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()
    exact = torch.autograd.grad(plain(lr, 2).square().mean(), [lr, *plain.parameters()])
    rounded = torch.autograd.grad(answer(plain, lr, 2, "bfloat16").square().mean(), [lr, *plain.parameters()])
    for one, other in zip(exact, rounded, strict=True):
        assert other.dtype == torch.float32 and (one - other).norm() <= 0.05 * one.norm()


@pytest.mark.parametrize("scale", [0.5, 1 / 3, 2, 3])
def test_resizing_keeps_float32(scale):
    image = torch.rand(1, 1, 24, 24)
    with torch.autocast("cpu", torch.bfloat16):
        inside = imresize(image, scale)
    assert torch.equal(inside, imresize(image, scale))


def test_features_are_float32_and_near_the_exact_ones():
    lr = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    exact, rounded = (TeacherFeatures(network(), precision=kind)(lr, 2) for kind in ("float32", "bfloat16"))
    assert rounded.dtype == torch.float32 and not torch.equal(exact, rounded)
    assert torch.allclose(exact, rounded, rtol=0.03, atol=2e-3)


@pytest.mark.parametrize("method", ["noise", "untrained", "dfsr", "cmi"])
def test_a_run_computes_in_bfloat16_and_its_weights_stay_float32(method):
    task, of_teacher, of_student = run(method), set(), set()
    outputs_of_convolutions(task.teacher, of_teacher)
    outputs_of_convolutions(task.student, of_student)
    list(task.rounds())
    assert of_teacher == of_student == {torch.bfloat16}
    assert {p.dtype for p in task.averaged.parameters()} == {torch.float32}
    assert {v.dtype for state in task.optimiser.state.values() for v in state.values()} == {torch.float32}
    exact = run(method, "float32")
    list(exact.rounds())
    pairs = list(zip(task.student.parameters(), exact.student.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in pairs)
    assert all(torch.allclose(a, b, atol=0.01) for a, b in pairs)  # eight updates of 1e-3 each


def test_repeated_and_resumed_runs_agree_bit_for_bit():
    whole, again, first, second = (run() for _ in range(4))
    list(whole.rounds()), list(again.rounds())
    list(islice(first.rounds(), 2))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    list(second.rounds())
    for other in (again, second):
        pairs = zip(whole.averaged.parameters(), other.averaged.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    "flags, expected",
    [({"amx_bf16": True, "avx512_bf16": True}, ("bfloat16", "AMX")), ({"avx512_bf16": True}, ("bfloat16", "AVX-512")),
     ({"bf16": True}, ("bfloat16", "Arm")), ({"amx_bf16": False, "avx2": True}, ("float32", "no instructions"))],
)  # fmt: skip
def test_processor_without_instructions_for_it_does_not_get_bfloat16(flags, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    precision, why = preferred()
    assert precision == expected[0] and why.startswith(expected[1])


def test_torch_that_does_not_say_gets_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert preferred()[0] == "float32"


@pytest.mark.parametrize("capability, expected", [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")])
def test_older_graphics_cards_do_not_get_bfloat16(capability, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert preferred("cuda")[0] == expected


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cpu", "meta"])
def test_device_that_is_not_there_is_left_for_others_to_refuse(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert preferred(device) == preferred("cpu")


def test_features_are_what_the_layers_gave_though_the_network_works_in_place():
    network_, kept = network(), []
    lr = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = TeacherFeatures(network_, ["body.1"])(lr, 2)
        hook = network_.body[1].register_forward_hook(lambda *args: kept.append(args[2].clone()))
        network_(lr, 2)
        hook.remove()
    means = kept[0].mean((2, 3))
    assert means.min() < 0  # before the ReLU
    assert torch.equal(features[:, : means.shape[1]], means)
