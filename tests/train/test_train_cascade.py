"""Training a cascade: each forecast stage starts from the one before and learns at its own lead times."""

import numpy as np
import pytest
import torch
import xarray as xr
from test_train_stops import outcome
from tiny_run import new_run

from fuxi_ens.checkpoint import CASCADE, load_checkpoint
from fuxi_ens.errors import StoreError
from fuxi_ens.forecast.ensemble import run_forecast
from fuxi_ens.paths import RunPaths
from fuxi_ens.train.lead_stages import LeadStages
from fuxi_ens.train.loop import fit
from fuxi_ens.train.ranks import Ranks
from fuxi_ens.train.stage import StageRun

SHORT = {"name": "first", "objective": "crps_kl", "iterations": 2, "learning_rate": 1e-2, "members": 2}
MEDIUM = SHORT | {"name": "second", "lead_stage": "medium", "rollout_steps": 3, "gradient_steps": 1, "sampled": "prior"}
LONG = MEDIUM | {"name": "third", "lead_stage": "long", "rollout_steps": 4}
TABLE = [{"name": name, "until_hours": hours} for name, hours in (("short", 12), ("medium", 18), ("long", 24))]
CHANGES = {"cascade": TABLE, "train.stages": [SHORT, MEDIUM, LONG], "train.checkpoint_every": 1, "train.ema_decay": 0.5}


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    config = new_run(world, tmp_path_factory.mktemp("cascade"), CHANGES)
    fit(config)
    return config


def network(config, name):
    return load_checkpoint(RunPaths(config.run.folder).model / name, posterior=True).model


def test_every_forecast_stage_is_a_network_of_its_own(trained):
    states = [network(trained, part.name).state_dict() for part in trained.cascade]
    moved = [key for key in states[0] if not torch.equal(states[0][key], states[1][key])]
    assert moved
    assert any(not torch.equal(states[1][key], states[2][key]) for key in states[1])
    assert (RunPaths(trained.run.folder).model / CASCADE).exists()


def test_a_forecast_with_the_cascade_is_written(trained):
    store = xr.open_zarr(run_forecast(trained).store)
    assert store["2m_temperature"].notnull().all()


def test_a_forecast_stage_starts_from_the_averaged_weights_of_the_one_before(world, tmp_path):
    """A learning rate at which nothing moves: what the second stage is, it was given."""
    still = [SHORT, MEDIUM | {"learning_rate": 1e-30, "final_learning_rate": 0.0}]
    config = new_run(
        world, tmp_path, CHANGES | {"cascade": [TABLE[0], TABLE[2] | {"name": "medium"}], "train.stages": still}
    )
    fit(config)
    short, medium = (dict(network(config, name).named_parameters()) for name in ("short", "medium"))
    assert all(torch.allclose(short[name], medium[name], rtol=0, atol=1e-20) for name in short)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", range(1, 6))
def test_a_cascade_stopped_anywhere_resumes_bit_for_bit(world, trained, tmp_path, monkeypatch, after):
    config = new_run(world, tmp_path, CHANGES)
    iterate, done = StageRun._iterate, []

    def dying(*arguments, **options):
        if len(done) == after:
            raise Killed
        done.append(1)
        return iterate(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(StageRun, "_iterate", dying)
        with pytest.raises(Killed):
            fit(config)
    fit(config)
    assert outcome(config) == outcome(trained)


def test_a_lost_earlier_stage_is_named(world, tmp_path, monkeypatch):
    config = new_run(world, tmp_path, CHANGES)
    with monkeypatch.context() as patch:
        patch.setattr(StageRun, "resume", None)
        publish = LeadStages.publish
        patch.setattr(
            LeadStages, "publish", lambda self, number, *a: None if number == 0 else publish(self, number, *a)
        )
        with pytest.raises(StoreError, match=r"model/short"):
            fit(config)


def test_the_serving_network_changes_with_the_lead_time(trained):
    stages = LeadStages(trained, Ranks.alone(), torch.device("cpu"))
    model = network(trained, "long")
    assert stages.serving(0, model) is None
    at = stages.serving(2, model)
    assert at(0) is at(1)
    assert at(2) not in (at(0), model)
    assert at(3) is model
    assert not np.any([p.requires_grad for k in (0, 2) for p in at(k).parameters()])
