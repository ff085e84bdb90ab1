"""Members roll out as the model steps, each from its own stream, whatever else is computed (style 6.6)."""

import itertools

import numpy as np
import pytest
import torch
from tiny_run import randomize

from fuxi_ens.checkpoint import Checkpoint, LeadModels, LeadStage
from fuxi_ens.config import ModelConfig
from fuxi_ens.errors import UserError
from fuxi_ens.forecast.rollout import EnsembleSettings, member_stream, rollout
from fuxi_ens.model import build_model
from fuxi_ens.model.block import seeded_dropout
from fuxi_ens.model.noise import Noise

CHANNELS = ("z500", "t2m", "sst", "tp")
INIT_TIME = np.datetime64("2018-01-02T12:00", "ns")
STEP = np.timedelta64(6, "h")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model():
    shape = {"height": 4, "width": 8, "patch": 1, "embedding": 8, "heads": 2, "window": 2, "mlp_hidden": 8}
    depth = {"perturbation_layers": 2, "forecast_layers": 1, "blocks_per_layer": 2, "dropout": 0.2}
    config = ModelConfig(channels=CHANNELS, output="increment", **shape, **depth)
    return randomize(build_model(config), size=0.2).eval()


@pytest.fixture
def history(rng):
    frames = torch.randn(2, 4, 4, 8, generator=rng).numpy()
    frames[:, 2, 1, :4] = np.nan
    frames[:, 3] = np.abs(frames[:, 3])
    return frames


def settings(**changes):
    return EnsembleSettings(
        **{"seed": 7, "members": 3, "steps": 4, "members_per_batch": 1, "step_size": STEP, **changes}
    )


def forecast(model, history, init_time=INIT_TIME, **changes):
    """Lead times and members [M, L, C, H, W]."""
    models = LeadModels((LeadStage("", None, Checkpoint(model, 6, {}, "")),), CPU)
    leads, frames = zip(*rollout(models, history, init_time, settings(**changes)), strict=True)
    return np.array(leads), np.stack(frames, axis=1)


def same(a, b):
    return np.array_equal(a.view(np.int32), np.ascontiguousarray(b).view(np.int32))


def test_members_equal_a_roll_out_by_hand(model, history):
    leads, ens = forecast(model, history)
    assert leads.tolist() == (np.arange(1, 5) * STEP).astype(leads.dtype).tolist()
    for member in range(3):
        state = torch.from_numpy(history)[None]
        # Facts 1.5: the clock is that of the newest frame: 2 January 12 UTC, 18 UTC, 3 January 00 UTC, 06 UTC.
        for step, (hour, day) in enumerate([(12, 2), (18, 2), (0, 3), (6, 3)]):
            noise = Noise([member_stream(7, INIT_TIME, member, step, CPU)])
            clock = torch.tensor([[float(step), hour / 24, day / 365]])
            eps = noise.normal(state.shape)
            with torch.no_grad():
                state = model.step(state, clock, eps, seeded_dropout(0.2, noise))
            assert same(ens[member, step], state[0, 1].numpy())


def test_members_differ(model, history):
    _, ens = forecast(model, history)
    for a, b in itertools.combinations(range(3), 2):
        assert not np.array_equal(ens[a, 0, 0], ens[b, 0, 0])


@pytest.mark.parametrize("members_per_batch", [1, 2, 3])
def test_a_member_is_the_same_whatever_the_number_of_members(model, history, members_per_batch):
    _, few = forecast(model, history, members=3, members_per_batch=members_per_batch)
    _, many = forecast(model, history, members=7, members_per_batch=members_per_batch)
    assert few.shape[0] == 3
    assert same(many[:3], few)


def test_a_lead_time_is_the_same_whatever_the_number_of_steps(model, history):
    assert same(forecast(model, history, steps=4)[1][:, :2], forecast(model, history, steps=2)[1])


def test_batches_of_members_agree_to_rounding(model, history):
    np.testing.assert_allclose(
        forecast(model, history, members_per_batch=1)[1], forecast(model, history, members_per_batch=3)[1], atol=1e-4
    )


def test_seed_init_time_member_and_step_each_change_the_stream():
    draws = {
        tuple(member_stream(seed, INIT_TIME + hours * np.timedelta64(1, "h"), m, s, CPU).normal((3,)).tolist())
        for seed, hours, m, s in itertools.product((7, 8), (0, 12), (0, 1, 2), (0, 1, 2))
    }
    assert len(draws) == 36


def test_the_stream_of_an_init_time_does_not_depend_on_its_unit():
    streams = [member_stream(7, INIT_TIME.astype(f"datetime64[{unit}]"), 0, 0, CPU) for unit in ("ns", "s", "m", "h")]
    assert len({tuple(stream.normal((3,)).tolist()) for stream in streams}) == 1


def test_missing_sea_temperature_stays_missing(model, history):
    _, ens = forecast(model, history)
    assert np.array_equal(np.isnan(ens[:, :, 2]), np.broadcast_to(np.isnan(history[1, 2]), ens[:, :, 2].shape))
    assert np.isfinite(ens[:, :, [0, 1, 3]]).all()


def test_a_member_that_stops_being_finite_is_named(model, history, monkeypatch):
    step, calls = model.step, []

    def breaking(state, *arguments):
        out = step(state, *arguments)
        calls.append(1)
        # Batches of one member, members inside steps: call 8 is member 1 at the third of the steps.
        if len(calls) == 8:
            out[:, 1, 1, 0, 0] = torch.inf
        return out

    monkeypatch.setattr(model, "step", breaking)
    with pytest.raises(UserError, match=r"member 1 .*2018-01-02T12:00 .*not finite in t2m at lead time 18 hours"):
        forecast(model, history)


def test_broken_fill_up_members_do_not_matter(model, history, monkeypatch):
    step = model.step

    def breaking(state, *arguments):
        out = step(state, *arguments)
        out[1:, 1] = torch.nan
        return out

    monkeypatch.setattr(model, "step", breaking)
    forecast(model, history, members=1, members_per_batch=2)
