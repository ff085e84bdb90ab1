"""Members roll out as the model steps, each from its own stream, whatever else is computed (style 6.6)."""

import itertools

import numpy as np
import pytest
import torch
from tiny_run import randomize

from fuxi_ens.checkpoint import Checkpoint, LeadModels, LeadStage
from fuxi_ens.config import ModelConfig
from fuxi_ens.errors import UserError
from fuxi_ens.forecast.draws import Draws, member_stream
from fuxi_ens.forecast.guard import Guard
from fuxi_ens.forecast.rollout import EnsembleSettings, rollout
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


def settings(kind="random", members=3, **changes):
    values = {"control": False, "steps": 4, "members_per_batch": 1, "step_size": STEP, "precision": "float32"}
    return EnsembleSettings(draws=Draws(kind, 7, members), **{**values, **changes})


def guard(model, factor=None, *, proceed=False):
    return Guard(CHANNELS, model.config.grid, factor, proceed=proceed)


def forecast(model, history, init_time=INIT_TIME, *, watch=None, numbers=None, **changes):
    """Lead times and members [M, L, C, H, W]."""
    models = LeadModels((LeadStage("", None, Checkpoint(model, 6, {}, "")),), CPU)
    watch = watch or guard(model)
    leads, frames = zip(*rollout(models, history, init_time, settings(**changes), watch, numbers), strict=True)
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
    with pytest.raises(
        UserError, match=r"member 1 .*2018-01-02T12:00: t2m is inf K at lead time 18 h, 67.5N 0E; the model"
    ):
        forecast(model, history)


def test_broken_fill_up_members_do_not_matter(model, history, monkeypatch):
    step = model.step

    def breaking(state, *arguments):
        out = step(state, *arguments)
        out[1:, 1] = torch.nan
        return out

    monkeypatch.setattr(model, "step", breaking)
    forecast(model, history, members=1, members_per_batch=2)


class TestMembersWanted:
    @pytest.mark.parametrize("members_per_batch", [1, 2, 3])
    @pytest.mark.parametrize("kind", ["random", "antithetic", "stratified"])
    def test_a_member_is_the_same_in_any_part_of_the_ensemble(self, model, history, members_per_batch, kind):
        same_for_all = {"kind": kind, "members": 6, "members_per_batch": members_per_batch, "steps": 2}
        _, whole = forecast(model, history, **same_for_all)
        for numbers in ([4], range(1, 4), [5, 0]):
            assert same(forecast(model, history, numbers=numbers, **same_for_all)[1], whole[list(numbers)])

    def test_the_second_of_an_antithetic_pair_has_minus_the_noise_of_the_first(self, model, history, monkeypatch):
        seen, step = [], model.step

        def watching(state, clock, eps, dropout, xi):
            seen.append(eps.clone())
            return step(state, clock, eps, dropout, xi)

        monkeypatch.setattr(model, "step", watching)
        forecast(model, history, kind="antithetic", members=4, members_per_batch=4)
        assert len(seen) == 4
        for eps in seen:
            assert torch.equal(eps[1::2], -eps[::2])
        monkeypatch.setattr(model, "step", step)
        assert same(forecast(model, history)[1][0], forecast(model, history, kind="antithetic", members=4)[1][0])


class TestControl:
    @pytest.mark.parametrize("members_per_batch", [1, 2, 3, 4])
    @pytest.mark.parametrize("kind", ["random", "antithetic", "stratified"])
    def test_perturbed_members_keep_their_bits(self, model, history, members_per_batch, kind):
        changes = {"kind": kind, "members": 4, "members_per_batch": members_per_batch}
        _, without = forecast(model, history, **changes)
        _, with_control = forecast(model, history, control=True, **changes)
        assert len(with_control) == 5
        assert same(with_control[1:], without)

    @pytest.mark.parametrize("members_per_batch", [1, 3, 4])
    def test_number_0_is_the_mean_of_the_prior_without_dropout(self, model, history, members_per_batch):
        _, ens = forecast(model, history, control=True, members_per_batch=members_per_batch)
        state = torch.from_numpy(history)[None].expand(members_per_batch, -1, -1, -1, -1)
        for step, (hour, day) in enumerate([(12, 2), (18, 2), (0, 3), (6, 3)]):
            clock = torch.tensor([[float(step), hour / 24, day / 365]]).expand(members_per_batch, 3)
            with torch.no_grad():
                state = model.step(state, clock, torch.zeros(state.shape), lambda x: x)
            assert same(ens[0, step], state[-1, 1].numpy())

    def test_it_depends_neither_on_seed_nor_on_the_other_members(self, model, history):
        _, one = forecast(model, history, control=True, members=2)
        _, other = forecast(model, history, control=True, kind="stratified", members=5)
        _, alone = forecast(model, history, control=True, members=5, numbers=[0])
        assert same(one[0], other[0])
        assert same(one[0], alone[0])


class TestGuard:
    """`Guard` itself is tested in test_forecast_guard.py."""

    @staticmethod
    def breaking(model, monkeypatch, at):
        """Let member 1 break at step `at`; batches of one member."""
        step, calls = model.step, []

        def broken(state, *arguments):
            out = step(state, *arguments)
            if len(calls) == 3 * at + 1:
                out[:, 1, 0, 2, 5] = torch.nan
            calls.append(1)
            return out

        monkeypatch.setattr(model, "step", broken)

    @pytest.mark.parametrize("at", [0, 2, 3])
    def test_a_member_is_missing_from_its_failure_on_and_the_others_go_on(self, model, history, monkeypatch, at):
        _, whole = forecast(model, history)
        watch = guard(model, proceed=True)
        self.breaking(model, monkeypatch, at)
        _, ens = forecast(model, history, watch=watch)
        assert same(ens[[0, 2]], whole[[0, 2]])
        assert same(ens[1, :at], whole[1, :at])
        assert np.isnan(ens[1, at:]).all()
        (failure,) = watch.failures
        assert (failure.number, failure.channel, failure.lead_time) == (1, "z500", (at + 1) * STEP)

    def test_the_number_of_a_member_is_that_of_the_store(self, model, history, monkeypatch):
        watch = guard(model, proceed=True)
        self.breaking(model, monkeypatch, 1)
        # Members 2, 3, 4 of an ensemble with control are the calls 0, 1, 2 of a step.
        forecast(model, history, watch=watch, control=True, members=6, numbers=range(2, 5))
        assert [failure.number for failure in watch.failures] == [3]

    def test_fields_out_of_range_stop_too(self, model, history):
        # These fields are standard normal: a temperature of about 0 K.
        with pytest.raises(UserError, match=r"member 0 .* t2m is .* K at lead time 6 h.*plausible are 85 to 425"):
            forecast(model, history, watch=guard(model, 2.0))


def test_bfloat16_is_near_float32_and_gives_float32(model, history):
    _, exact = forecast(model, history, steps=1)
    _, rounded = forecast(model, history, steps=1, precision="bfloat16")
    assert rounded.dtype == np.float32
    assert not same(exact, rounded)
    np.testing.assert_allclose(rounded, exact, atol=0.1)
    assert same(rounded, forecast(model, history, steps=1, precision="bfloat16")[1])
