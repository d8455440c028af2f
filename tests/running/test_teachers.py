"""The training of a teacher."""

import math

import pytest
import torch

from dfkd.errors import TrainingError
from dfkd.method.sources import RealSource
from dfkd.running.teachers import TeacherSettings, TeacherTraining


def training(**settings) -> TeacherTraining:
    config = TeacherSettings(**{**dict(width=4, blocks=1, scales=(2,), steps=20, batch=2, patch=24), **settings})
    image = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    return TeacherTraining(RealSource([image], config.patch), config)


def test_gradient_that_is_not_finite_stops_it_though_the_loss_is():
    task = training()
    before = [p.detach().clone() for p in task.model.parameters()]
    task.model.head.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(TrainingError, match=r"norm of the gradient became (inf|nan) at step 0; lower lr"):
        task.training_step()
    assert all(torch.equal(now, then) for now, then in zip(task.model.parameters(), before, strict=True))


def test_loss_that_is_not_finite_stops_it():
    task = training()
    with torch.no_grad():
        task.model.tail.weight.fill_(math.nan)
    with pytest.raises(TrainingError, match="loss became nan at step 0; lower lr"):
        task.training_step()


def test_step_size_rises_over_its_share_of_the_run_and_falls():
    task, sizes = training(warm_up=0.25, lr=1e-3), []
    for _ in range(20):
        task.training_step()
        sizes.append(task.optimiser.param_groups[0]["lr"])
    assert task.warm_up_updates == 5 and sizes[0] == pytest.approx(1e-3 / 5, rel=0.01)
    assert sizes.index(max(sizes)) == 4 and sizes[4:] == sorted(sizes[4:], reverse=True)


@pytest.mark.parametrize("settings", [{"warm_up": -0.1}, {"warm_up": 1.5}, {"clip": 0.0}, {"average": 0.0}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(TrainingError):
        training(**settings)
