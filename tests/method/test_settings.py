"""What a run is told: each setting belongs to somebody, none is ignored, old records are still read."""

import math

import pytest
import torch

from dfkd.errors import TrainingError, UnknownName
from dfkd.method.loop import Distillation
from dfkd.method.settings import Config, configure, describe, names_of, read_config
from dfkd.method.sources import METHODS, make_source
from dfkd.method.students import make_student
from dfkd.networks.vdsr import VDSR
from dfkd.running.records import load_record


@pytest.mark.parametrize(
    "wrong",
    [dict(method="dfrs"), dict(scales=(5,)), dict(steps=0), dict(parts=99), dict(replay=1.0), dict(reuse=0),
     dict(init="zeros"), dict(optim="sgd"), dict(generation_steps=-1), dict(scales=()), dict(dead_leaves=1.0),
     dict(clip=-1), dict(average=2), dict(average=0), dict(scales=(1,)), dict(method="dead-leaves", dead_leaves=0.5),
     dict(warm_up=1.5), dict(squared=1.5), dict(optim="paper", warm_up=0.1), dict(precision="float16"),
     dict(temperature=0), dict(method="cmi", batch=1), dict(method="dead-leaves", side=40),
     dict(method="dead-leaves", textured=-0.1), dict(exposure=(0.1,)), dict(exposure=(0.5, 0.1)), dict(exposure=(0, 1)),
     dict(method="untrained", exposure=(0.1, 2.0)), dict(adversary="kind"), dict(reconstruction="none"),
     dict(scales=(2, 2)), dict(steps=2.0), dict(clip=math.inf), dict(temperature=math.inf), dict(w_recon=math.nan),
     dict(z_lr=math.inf), dict(generator_lr=math.inf), dict(w_adversarial=math.inf),
     dict(method="untrained", stretch=0.5), dict(stretch=1e9), dict(stretch=float("nan"))],
)  # fmt: skip
def test_wrong_settings_are_refused_with_a_word_why(wrong):
    with pytest.raises((TrainingError, UnknownName)) as error:
        configure(**wrong)
    assert len(str(error.value)) > 20


@pytest.mark.parametrize("method, setting", [("noise", "w_recon"), ("untrained", "replay"), ("dfsr", "w_contrast"),
                                             ("real", "bank"), ("cmi", "side"), ("noise", "colour")])  # fmt: skip
def test_setting_that_the_method_does_not_use_is_an_error(method, setting):
    with pytest.raises(TrainingError, match=f"{method!r} does not use {setting}"):
        configure(method, **{setting: 1})


def test_error_says_whose_the_setting_is():
    with pytest.raises(TrainingError, match=r"w_recon \(of dfsr, cmi, dfsr\+, cmi\+\)"):
        configure("noise", w_recon=1)


def test_error_lists_the_settings_that_the_method_has():
    with pytest.raises(TrainingError, match=r"it has pool, renew, side, textured$"):
        configure("dead-leaves", bank=3)
    with pytest.raises(TrainingError, match=r"it has none of its own$"):
        configure("noise", bank=3)


def test_unknown_method_is_an_error_that_lists_the_known_ones():
    with pytest.raises(UnknownName, match=r"method 'dfrs'; choose one of: noise, real, dead-leaves, .*dfsr, cmi"):
        configure("dfrs")


@pytest.mark.parametrize("method", METHODS)
def test_settings_survive_json(method):
    config = configure(method, scales=(2, 4), lr=None, clip=0.3)
    assert configure(**config.to_dict()) == config == read_config(config.to_dict())


@pytest.mark.parametrize("settings", [Config, *METHODS.values()])
def test_every_setting_says_what_it_means(settings):
    assert describe(settings).keys() == names_of(settings)


def test_no_two_rooms_claim_a_setting():
    for settings in METHODS.values():
        assert not names_of(settings) & names_of(Config)


@pytest.mark.parametrize(
    "settings, why",
    [(dict(dead_leaves=0.97), "every image"), (dict(dead_leaves=0.01), "no image"),
     (dict(replay=0.25, batch=2), "no image"), (dict(replay=0.9, batch=4), "every image"),
     (dict(replay=0.25, batch=4, dead_leaves=0.5), "no image"),  # of the two that dead leaves leave it
     (dict(replay=0.75, batch=8, dead_leaves=0.75), "every image")],
)  # fmt: skip
def test_share_that_rounds_to_nothing_or_all_is_refused(settings, why):
    with pytest.raises(TrainingError, match=why):
        configure("dfsr", **settings)


# ---- warm-up ---------------------------------------------------------------------------------------------------------


def mean_factor(**settings) -> float:
    """Mean of the factor on the student's step size over a run of 240 updates."""
    teacher = VDSR(4, 2)
    config = configure("noise", steps=240, batch=1, patch=24, scales=(2,), blocks=2, imitation_steps=5, **settings)
    run = Distillation(teacher, make_student(config, 2), make_source(config, teacher), config)
    factors = []
    while not run.finished:
        for _ in range(run.rounds_in_part * config.imitation_steps):
            factors.append(run._student_rate())
            run._step_in_part += 1
        run._next_part()
    assert len(factors) == 240
    return sum(factors) / len(factors)


@pytest.mark.parametrize("warm_up", [None, 0.0, 0.1, 5 / 12])
def test_parts_have_the_mean_step_size_of_a_run_at_once(warm_up):
    once, twice = (mean_factor(parts=parts, warm_up=warm_up) for parts in (1, 2))
    assert math.isclose(once, twice, rel_tol=0.015)


def test_warm_up_of_an_optimiser_that_has_none_is_an_error():
    with pytest.raises(TrainingError, match="'paper' has no warm-up: leave warm_up out"):
        configure("noise", optim="paper", warm_up=0.0)


def test_warm_up_is_a_share_of_the_part():
    config = configure("noise", warm_up=0.25)
    assert (config.warm_up_updates(400), config.warm_up_updates(4)) == (100, 1)
    assert configure("noise").warm_up_updates(6000) == 120
    assert configure("noise", optim="paper").warm_up_updates(6000) == 0


# ---- records of the first edition ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["noise", "untrained", "dfsr", "cmi-9000", "12500", "leaves", "6000", "cmi-30-minutes"]
)
def test_first_editions_records_are_read_with_the_warm_up_they_had(name):
    record = load_record(f"vdsr-half-{name}")
    config = read_config(record["config"])
    assert config.warm_up_updates(record["steps"]) == 100
    assert config.method == record["config"]["method"] and config.seed == record["config"]["seed"]
    later = {"side", "pool", "renew", "textured", "w_adversarial", "exposure", "stretch", "adversary", "reconstruction",
             "anneal"}  # fmt: skip
    assert names_of(type(config.source)) <= record["config"].keys() | later


def test_old_settings_of_other_methods_are_left_out_and_unknown_ones_are_not():
    old = {"method": "noise", "steps": 1000, "w_contrast": 10.0, "bank": 7}
    assert read_config(old) == configure("noise", steps=1000, warm_up=0.1)
    with pytest.raises(TrainingError, match="does not use colour"):
        read_config(old | {"colour": 1})
    with pytest.raises(TrainingError, match="no method"):
        read_config({"steps": 3})


def test_old_settings_are_read_where_some_are_left_out():
    assert read_config({"method": "noise"}) == configure("noise", warm_up=1 / 60)


def test_first_students_schedule_is_repeated_exactly():
    """A hundred updates of rise, whatever the share comes to in floating point."""
    for steps in (1179, 6000, 9000, 12_500):
        config = read_config({"method": "noise", "steps": steps})
        updates = config.rounds * config.imitation_steps
        factors = torch.tensor([min(1, (step + 1) / config.warm_up_updates(updates)) for step in (0, 49, 99, 100)])
        assert torch.equal(factors, torch.tensor([0.01, 0.5, 1.0, 1.0]))
