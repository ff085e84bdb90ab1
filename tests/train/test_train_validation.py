"""Validation scores equal their definitions, computed by hand in float64 from the members."""

import numpy as np
import pytest
import torch
from scoringrules import crps_ensemble
from tiny_run import randomize
from torch.distributions import Normal, kl_divergence

from fuxi_ens.config import ModelConfig, StageConfig
from fuxi_ens.data.loader import Batch
from fuxi_ens.grid import area_weights
from fuxi_ens.losses.objective import Weights
from fuxi_ens.model import build_model
from fuxi_ens.model.noise import Noise, Stream
from fuxi_ens.train.validation import Validation

CHANNELS = ("z500", "z850", "t850", "sst", "u10m", "v10m", "tp")
MEAN = torch.tensor([5.5e4, 1.4e4, 270.0, 290.0, 0.0, 1.0, 0.3])
STD = torch.tensor([400.0, 300.0, 5.0, 8.0, 4.0, 4.0, 0.5])
T850, SST, U10M, V10M, TP = 2, 3, 4, 5, 6
NAMES = ("z500", "t850", "ws10m", "tp")
HEIGHT, WIDTH, MEMBERS = 4, 8, 5
SIX_HOURS = np.timedelta64(6, "h")
CPU = torch.device("cpu")


def make_model(seed=0, channels=CHANNELS):
    shape = {"height": HEIGHT, "width": WIDTH, "patch": 1, "embedding": 8, "heads": 2, "window": 2, "mlp_hidden": 8}
    depth = {"perturbation_layers": 1, "forecast_layers": 1, "blocks_per_layer": 2, "dropout": 0.0}
    model = build_model(ModelConfig(channels=channels, **shape, **depth, output="increment", initial_logvar=-2.0))
    randomize(model, seed, 0.2)
    which = [CHANNELS.index(name) for name in channels]
    model.mean.copy_(MEAN[which])
    model.std.copy_(STD[which])
    return model


def make_batch(samples=2, steps=2, channels=CHANNELS):
    rng = torch.Generator().manual_seed(5)
    standard = torch.randn(samples, 2 + steps, len(CHANNELS), HEIGHT, WIDTH, generator=rng)
    frames = MEAN[:, None, None] + STD[:, None, None] * standard
    frames[:, :, TP].abs_()
    frames[:, :, SST, 1:3, :5] = torch.nan
    frames = frames[:, :, [CHANNELS.index(name) for name in channels]]
    clock = torch.rand(samples, steps, 3, generator=rng)
    init_times = np.datetime64("2017-01-01T00", "ns") + np.arange(samples) * np.timedelta64(1, "D")
    return Batch(frames[:, :2], frames[:, 2:], clock, init_times)


def one(batch, sample):
    """A batch of a single sample."""
    where = slice(sample, sample + 1)
    parts = (batch.frames_BTCHW, batch.target_BKCHW, batch.clock_BK3, batch.init_time)
    return Batch(*(part[where] for part in parts))


def noise(samples):
    return Noise([Stream([7, sample, member], CPU) for sample in samples for member in range(MEMBERS)])


def make_validation(model, serving=None, **stage):
    stage = {"name": "s", "objective": "crps_kl", "iterations": 1, "learning_rate": 1e-3, **stage}
    area = torch.tensor(area_weights(model.config.grid.latitude), dtype=torch.float32)
    weights = Weights(area, torch.ones(len(model.config.channels)))
    return Validation(model, StageConfig(**stage), weights, MEMBERS, SIX_HOURS, serving)


def members_of(model, batch, serving=None):
    """The members [K, B, M, C, H, W] in model units, one at a time from its own stream."""
    steps, out = batch.target_BKCHW.shape[1], []
    for sample in range(len(batch.init_time)):
        for member in range(MEMBERS):
            stream, frames = Stream([7, sample, member], CPU), batch.frames_BTCHW[sample : sample + 1]
            for k in range(steps):
                network = serving(k) if serving else model
                with torch.no_grad():
                    clock = batch.clock_BK3[sample : sample + 1, k]
                    frames = network.step(frames, clock, stream.normal(frames.shape[1:])[None], lambda x: x)
                out.append(frames[0, -1])
    stacked = torch.stack(out).unflatten(0, (len(batch.init_time), MEMBERS, steps))
    return stacked.permute(2, 0, 1, 3, 4, 5).double()


def area_mean(values_BHW):
    """Mean over samples of area means over the points that are there."""
    area = np.broadcast_to(area_weights(make_model().config.grid.latitude)[:, None], (HEIGHT, WIDTH))
    return np.mean([np.average(v[~np.isnan(v)], weights=area[~np.isnan(v)]) for v in values_BHW])


def by_hand(ens_BMHW, truth_BHW):
    """CRPS, squared error of the mean and variance."""
    ens, truth = np.asarray(ens_BMHW), np.asarray(truth_BHW)
    crps = crps_ensemble(truth, ens, m_axis=1, estimator="fair")
    variance = np.where(np.isnan(truth), np.nan, ens.var(1, ddof=1))
    return [area_mean(score) for score in (crps, (ens.mean(1) - truth) ** 2, variance)]


def check(scores, name, lead, expected):
    crps, mse, variance = expected
    assert scores["crps"][name][lead] == pytest.approx(crps, rel=1e-4)
    assert scores["rmse"][name][lead] == pytest.approx(mse**0.5, rel=1e-4)
    ratio = ((1 + 1 / MEMBERS) * variance / mse) ** 0.5
    assert scores["spread_skill_ratio"][name][lead] == pytest.approx(ratio, rel=1e-4)


@pytest.fixture(scope="module")
def scored():
    """Model, batch, members and the scores of two samples over two steps."""
    model, batch = make_model(), make_batch()
    validation = make_validation(model)
    return model, batch, members_of(model, batch), validation.scores(validation.sums(batch, noise(range(2)))[0])


def test_scores_have_names_and_lead_times(scored):
    for score in ("crps", "rmse", "spread_skill_ratio"):
        assert tuple(scored[3][score]) == ("standardized", *NAMES)
        assert all(list(by_lead) == ["6h", "12h"] for by_lead in scored[3][score].values())


@pytest.mark.parametrize("k", [0, 1])
@pytest.mark.parametrize("name", ["z500", "t850", "tp"])
def test_a_channel_is_scored_in_its_own_units(scored, name, k):
    _, batch, ens, scores = scored
    c = CHANNELS.index(name)
    check(scores, name, ("6h", "12h")[k], by_hand(ens[k, :, :, c], batch.target_BKCHW[:, k, c].double()))


def test_wind_speed_is_that_of_each_member(scored):
    _, batch, ens, scores = scored
    speed = torch.hypot(ens[1, :, :, U10M], ens[1, :, :, V10M])
    target = batch.target_BKCHW[:, 1].double()
    truth = torch.hypot(target[:, U10M], target[:, V10M])
    check(scores, "ws10m", "12h", by_hand(speed, truth))


def test_the_mean_over_channels_is_in_standardized_units(scored):
    _, batch, ens, scores = scored
    logged = [frames.clone() for frames in (ens[0], batch.target_BKCHW[:, 0].double())]
    for frames in logged:
        frames[..., TP, :, :] = torch.log1p(frames[..., TP, :, :].clamp(min=0))
    members, truth = ((frames - MEAN[:, None, None]) / STD[:, None, None] for frames in logged)
    each = [by_hand(members[:, :, c], truth[:, c]) for c in range(len(CHANNELS))]
    check(scores, "standardized", "6h", np.mean(each, axis=0))


def test_states_are_compared_by_the_mean_over_steps(scored):
    crps = scored[3]["crps"]["standardized"]
    assert scored[3]["score"] == pytest.approx((crps["6h"] + crps["12h"]) / 2)


def test_kl_is_that_of_the_first_step_where_the_latent_counts(scored):
    model, batch, _, scores = scored
    frames = torch.cat([batch.frames_BTCHW, batch.target_BKCHW], dim=1)[:, :3]
    seen = ((frames - MEAN[:, None, None]) / STD[:, None, None]).nan_to_num(nan=0.0)
    seen[:, :, TP] = 0.0
    with torch.no_grad():
        q = model.dist_q(seen[:, 1:], model.const, batch.clock_BK3[:, 0], lambda x: x)
        p = model.dist_p(seen[:, :2], model.const, batch.clock_BK3[:, 0], lambda x: x)
    kl = kl_divergence(*(Normal(d.mean, torch.exp(0.5 * d.logvar)) for d in (q, p)))
    counts = (~frames[:, 2].isnan()).float()
    counts[:, TP] = 0.0
    counts = counts[:, None].expand_as(kl)
    assert scores["kl"] == pytest.approx(float((kl * counts).sum() / counts.sum()), rel=1e-4)
    assert scores["kl"] > 0


def test_sums_add_up_over_samples_in_any_division():
    model, batch = make_model(), make_batch(samples=3)
    validation = make_validation(model)
    together, _ = validation.sums(batch, noise(range(3)))
    alone = [validation.sums(one(batch, sample), noise([sample]))[0] for sample in range(3)]
    assert together.dtype == torch.float64
    torch.testing.assert_close(sum(alone), together, rtol=1e-5, atol=1e-6)


def test_a_small_spread_on_a_large_value_keeps_its_digits():
    # Perturbations of 1e-3 standard deviations: 0.4 m2 s-2 on 5.5e4, where float32 has steps of 0.004.
    model, batch = make_model(), make_batch(samples=1, steps=1)
    torch.nn.init.constant_(model.dist_p.logvar.bias, -14.0)
    validation = make_validation(model)
    scores = validation.scores(validation.sums(batch, noise([0]))[0])
    check(scores, "z500", "6h", by_hand(members_of(model, batch)[0, :, :, 0], batch.target_BKCHW[:, 0, 0].double()))


def test_a_model_without_headline_channels_is_scored_over_its_own():
    channels = ("z850", "sst")
    model, batch = make_model(channels=channels), make_batch(steps=1, channels=channels)
    sums, picture = make_validation(model).sums(batch, noise(range(2)))
    assert list(make_validation(model).scores(sums)["crps"]) == ["standardized"]
    assert picture.name == "z850"


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_broken_model_never_has_a_finite_score(value):
    model, batch = make_model(), make_batch(steps=1)
    with torch.no_grad():
        model.decoder[0].pred_layer.pl_head.bias.fill_(value)
    scores = make_validation(model).scores(make_validation(model).sums(batch, noise(range(2)))[0])
    assert not np.isfinite(scores["score"])
    assert not np.isfinite([scores[s]["z500"]["6h"] for s in ("crps", "rmse", "spread_skill_ratio")]).any()


def test_the_steps_before_a_lead_stage_are_made_by_the_network_that_serves_them():
    earlier, model, batch = make_model(1), make_model(2), make_batch()
    serving = {0: earlier, 1: model}.get
    validation = make_validation(model, serving)
    scores = validation.scores(validation.sums(batch, noise(range(2)))[0])
    ens = members_of(model, batch, serving)
    for k, lead in enumerate(("6h", "12h")):
        check(scores, "t850", lead, by_hand(ens[k, :, :, T850], batch.target_BKCHW[:, k, T850].double()))
    later = Batch(
        torch.cat([batch.frames_BTCHW[:, 1:], batch.target_BKCHW[:, :1]], dim=1),
        batch.target_BKCHW[:, 1:],
        batch.clock_BK3[:, 1:],
        batch.init_time,
    )
    alone = make_validation(model)
    assert scores["kl"] == pytest.approx(alone.scores(alone.sums(later, noise(range(2)))[0])["kl"])


def test_the_picture_shows_the_first_sample_at_the_last_step_in_file_units():
    model, batch = make_model(), make_batch()
    _, picture = make_validation(model).sums(batch, noise(range(2)))
    assert (picture.name, picture.init_time) == ("z500", np.datetime64("2017-01-01T00"))
    assert picture.lead_time == np.timedelta64(12, "h")
    np.testing.assert_allclose(picture.members_MHW, members_of(model, batch)[1, 0, :, 0], rtol=1e-6)
    np.testing.assert_array_equal(picture.truth_HW, batch.target_BKCHW[0, 1, 0])
    rain = ("z850", "tp")
    model, batch = make_model(channels=rain), make_batch(channels=rain)
    _, picture = make_validation(model).sums(batch, noise(range(2)))
    assert picture.name == "tp"
    np.testing.assert_allclose(picture.truth_HW, batch.target_BKCHW[0, 1, 1] / 1000.0, rtol=1e-6)


def test_the_same_noise_gives_the_same_bits():
    model, batch = make_model(), make_batch()
    first, second = (make_validation(model).sums(batch, noise(range(2)))[0] for _ in range(2))
    assert torch.equal(first, second)
