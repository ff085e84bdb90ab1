"""One step of the cascade: what goes in unseen, what comes out unchanged, and where it starts (model.md 2, 9)."""

import math

import pytest
import torch
from model_world import ACCUMULATED, SST, TP, clocks, model_config, physical_frames, random_model

from fuxi_ens.convert.shapes import RELEASE
from fuxi_ens.model import build_model
from fuxi_ens.model.block import no_dropout, seeded_dropout
from fuxi_ens.model.noise import Noise, Stream


@pytest.fixture(params=["state", "increment"])
def config(request):
    return model_config(output=request.param)


@pytest.fixture
def model(config, rng):
    return random_model(config, rng)


@pytest.fixture
def frames(config, rng):
    return physical_frames(config, 2, rng)


@pytest.fixture
def eps(rng):
    return torch.randn(2, 2, 9, 8, 16, generator=rng)


def step(model, frames, eps):
    with torch.no_grad():
        return model.step(frames, clocks(len(frames)), eps, no_dropout)


def equal(a, b):
    return torch.equal(a.nan_to_num(nan=-777.0), b.nan_to_num(nan=-777.0))


def test_frame_0_of_the_output_is_frame_1_of_the_input_bit_for_bit(model, frames, eps):
    out = step(model, frames, eps)
    assert out[:, 0].isnan().any()
    assert torch.equal(out[:, 0].contiguous().view(torch.int32), frames[:, 1].contiguous().view(torch.int32))


def test_accumulated_inputs_have_no_influence(model, frames, eps):
    changed = frames.clone()
    changed[:, :, ACCUMULATED] = 1e3 * torch.rand(changed[:, :, ACCUMULATED].shape)
    assert equal(step(model, changed, eps)[:, 1], step(model, frames, eps)[:, 1])


def test_accumulated_inputs_may_be_missing(model, frames, eps):
    changed = frames.clone()
    changed[:, :, ACCUMULATED] = torch.nan
    assert equal(step(model, changed, eps)[:, 1], step(model, frames, eps)[:, 1])


def test_perturbation_of_accumulated_inputs_has_no_influence(model, frames, eps):
    changed = eps.clone()
    changed[:, :, ACCUMULATED] += 5.0
    assert equal(step(model, frames, changed), step(model, frames, eps))


def test_other_perturbations_of_either_frame_reach_the_output(model, frames, eps):
    for frame in (0, 1):
        changed = eps.clone()
        changed[:, frame, 0] += 5.0
        assert not equal(step(model, frames, changed), step(model, frames, eps))


def test_perturbed_input_is_never_stored(model, frames, eps):
    assert equal(step(model, frames, eps)[:, 0], step(model, frames, eps + 3.0)[:, 0])


@pytest.mark.parametrize("size", [1.0, 1e3])
def test_precipitation_stays_within_0_and_the_cap(model, frames, eps, size):
    with torch.no_grad():
        model.decoder[0].pred_layer.sf_head.weight.mul_(size)
    tp = step(model, frames, eps)[:, 1, TP]
    assert tp.min() >= 0.0
    assert tp.max() <= math.expm1(7.0) * (1 + 1e-6)
    if size > 1.0:
        assert tp.max() > 1000.0


def test_same_noise_gives_the_same_bits_and_other_noise_another_member(model, frames, eps):
    assert equal(step(model, frames, eps), step(model, frames, eps))
    assert not equal(step(model, frames, eps), step(model, frames, eps.flip(0)))


def test_missing_sea_temperature_is_seen_as_the_mean_and_stays_missing(model, frames, eps):
    out = step(model, frames, eps)
    missing = frames[:, 1, SST].isnan()
    assert torch.equal(out[:, 1, SST].isnan(), missing)
    assert not out[:, 1].isnan()[:, [c for c in range(9) if c != SST]].any()
    filled = frames.clone()
    filled[:, :, SST] = torch.where(frames[:, :, SST].isnan(), model.mean[SST], frames[:, :, SST])
    torch.testing.assert_close(step(model, filled, eps)[:, 1, :SST], out[:, 1, :SST], rtol=1e-5, atol=1e-5)


def test_missing_points_stay_missing_through_a_rollout(model, frames, eps):
    state = frames
    for _ in range(3):
        state = step(model, state, eps)
    assert torch.equal(state[:, :, SST].isnan(), frames[:, :, SST].isnan())


def test_infinite_input_does_not_become_missing(model):
    inside = model.network_input(torch.tensor([torch.inf, -torch.inf, torch.nan]).view(3, 1, 1, 1).expand(3, 9, 1, 1))
    assert inside.isfinite().all()
    assert (inside[:2, 0].abs() == torch.finfo(torch.float32).max).all()
    assert inside[2].eq(0.0).all()


def test_untrained_increment_model_is_persistence(rng):
    config = model_config(output="increment")
    model, frames = build_model(config), physical_frames(config, 2, rng)
    model.mean.copy_(torch.randn(9, generator=rng))
    model.std.copy_(0.5 + torch.rand(9, generator=rng))
    out = step(model, frames, torch.randn(2, 2, 9, 8, 16, generator=rng))
    torch.testing.assert_close(out[:, 1, :4], frames[:, 1, :4], rtol=1e-5, atol=1e-5, equal_nan=True)
    expected_tp = torch.expm1(model.mean[TP].clamp(0.0, 7.0))
    torch.testing.assert_close(out[:, 1, TP], expected_tp.expand(2, 8, 16))


def test_untrained_state_model_is_the_climatological_mean(rng):
    config = model_config(output="state")
    model, frames = build_model(config), physical_frames(config, 2, rng)
    model.mean.copy_(torch.randn(9, generator=rng))
    out = step(model, frames, torch.randn(2, 2, 9, 8, 16, generator=rng))[:, 1]
    for channel in range(8):
        field = out[:, channel][~out[:, channel].isnan()]
        torch.testing.assert_close(field, model.mean[channel].expand_as(field))


def test_increment_is_added_to_the_unperturbed_newest_frame(rng):
    config = model_config(output="increment")
    model, x = random_model(config, rng), torch.randn(1, 2, 9, 8, 16, generator=rng)
    s = torch.randn(1, 2, 9, 8, 16, generator=rng)
    raw = model.decoder[0]((x + s) * model.input_mask, model.const, clocks(1))
    expected = x[:, 1] + model.increment_std[:, None, None] * raw
    torch.testing.assert_close(model.predict(x, s, clocks(1)), expected)


def test_polar_row_is_the_zonal_mean_of_its_neighbor(rng):
    config = model_config(height=9, polar_row="zonal_mean")
    model = random_model(config, rng)
    y = model.predict(*torch.randn(2, 1, 2, 9, 9, 16, generator=rng), clocks(1))
    torch.testing.assert_close(y[:, :, 8], y[:, :, 7].mean(-1, keepdim=True).expand(1, 9, 16))


def test_polar_row_of_the_release_is_the_bias_of_the_head(rng):
    config = model_config(height=9, polar_row="release")
    model = random_model(config, rng)
    y = model.predict(*torch.randn(2, 1, 2, 9, 9, 16, generator=rng), clocks(1))
    bias = torch.cat([model.decoder[0].pred_layer.pl_head.bias, model.decoder[0].pred_layer.sf_head.bias])
    torch.testing.assert_close(y[0, :, 8], bias[:, None].expand(9, 16))


def test_polar_rows_change_nothing_else(rng):
    release = random_model(model_config(height=9, polar_row="release"), rng)
    seam = random_model(model_config(height=9, polar_row="zonal_mean"), torch.Generator().manual_seed(2025))
    seam.load_state_dict(release.state_dict())
    x, s = torch.randn(2, 1, 2, 9, 9, 16, generator=rng)
    assert torch.equal(release.predict(x, s, clocks(1))[:, :, :8], seam.predict(x, s, clocks(1))[:, :, :8])


def test_a_step_with_all_settings_of_the_release_keeps_its_promises(rng):
    config = model_config(height=9, **{**RELEASE, "dropout": 0.3})
    model, frames = random_model(config, rng), physical_frames(config, 2, rng)
    eps = torch.randn(2, 2, 9, 9, 16, generator=rng)
    changed = frames.clone()
    changed[:, :, ACCUMULATED] = torch.nan

    def run(state):
        masks = Noise([Stream([7, n], torch.device("cpu")) for n in range(2)])
        with torch.no_grad():
            return model.step(state, clocks(2), eps, seeded_dropout(0.3, masks))

    out = run(frames)
    assert torch.equal(out[:, 0].contiguous().view(torch.int32), frames[:, 1].contiguous().view(torch.int32))
    assert torch.equal(out[:, 1], run(changed)[:, 1])
    assert 0.0 <= out[:, 1, TP].min() <= out[:, 1, TP].max() <= math.expm1(7.0) * (1 + 1e-6)
    # The row that no patch covers: one number per channel, whatever the weather.
    other = run(frames + 1.0)
    assert torch.equal(out[:, 1, :, 8], other[:, 1, :, 8])
    assert out[:, 1, :, 8].std(-1).eq(0).all()


def test_without_bounds_the_log_variance_is_free(rng):
    config = model_config(initial_logvar=-20.0, logvar_bounds=None)
    model = build_model(config)
    free = model.prior(torch.zeros(1, 2, 9, 8, 16), clocks(1)).logvar
    assert torch.equal(free, torch.full_like(free, -20.0))


@pytest.mark.parametrize("wanted", [True, False])
def test_dropout_in_forecasts_is_a_switch(rng, wanted):
    config = model_config(dropout=0.3, forecast_dropout=wanted)
    model, frames = random_model(config, rng), physical_frames(config, 2, rng)
    noise = torch.randn(2, 2, 9, 8, 16, generator=rng)
    masks = Noise([Stream([n], torch.device("cpu")) for n in range(2)])
    with torch.no_grad():
        dropped = model.step(frames, clocks(2), noise, seeded_dropout(0.3, masks))
    assert equal(dropped, step(model, frames, noise)) != wanted


def test_a_prediction_may_be_fed_back_where_the_input_is_missing(rng):
    config = model_config(missing_points="prediction")
    model, frames = random_model(config, rng), physical_frames(config, 2, rng)
    eps = torch.randn(2, 2, 9, 8, 16, generator=rng)
    kept = build_model(config.model_copy(update={"missing_points": "missing"}))
    kept.load_state_dict(model.state_dict())
    out, without = step(model, frames, eps), step(kept, frames, eps)
    missing = frames[:, 1, SST].isnan()
    assert missing.any()
    assert out[:, 1].isfinite().all()
    assert torch.equal(out[:, 1, SST][~missing], without[:, 1, SST][~missing])
    assert without[:, 1, SST][missing].isnan().all()
    # What was predicted there is seen by the next step.
    assert not equal(step(model, out, eps)[:, 1, :SST], step(kept, without, eps)[:, 1, :SST])


def test_standardizing_and_back_is_the_identity(model, frames):
    back = model.to_physical(model.standardize(frames))
    torch.testing.assert_close(back, frames, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_precipitation_is_logged_before_it_is_standardized(model, frames):
    tp = frames[:, :, TP]
    expected = (torch.log1p(tp) - model.mean[TP]) / model.std[TP]
    torch.testing.assert_close(model.standardize(frames)[:, :, TP], expected)
