"""The objective of a stage equals its definition, computed by hand from the networks (model.md 3)."""

import numpy as np
import pytest
import torch

from fuxi_ens.config import ModelConfig, StageConfig, TrainConfig
from fuxi_ens.data.loader import Batch
from fuxi_ens.grid import area_weights
from fuxi_ens.losses.objective import Weights
from fuxi_ens.model import build_model
from fuxi_ens.model.block import seeded_dropout
from fuxi_ens.model.noise import Noise, Stream
from fuxi_ens.train.module import TrainingModule
from fuxi_ens.train.ranks import Ranks

CHANNELS = ("z500", "t2m", "sst", "tp")
SST, TP = 2, 3


def model_config(**changes):
    shape = {"height": 4, "width": 8, "patch": 1, "embedding": 8, "heads": 2, "window": 2, "mlp_hidden": 8}
    depth = {"perturbation_layers": 1, "forecast_layers": 1, "blocks_per_layer": 2, "dropout": 0.0}
    return ModelConfig(
        **{"channels": CHANNELS, **shape, **depth, "initial_logvar": -2.0, "logvar_bounds": (-4.0, 1.0), **changes}
    )


def make_model(rng, **changes):
    model = build_model(model_config(**changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=rng))
        model.mean.copy_(torch.randn(4, generator=rng))
        model.std.copy_(0.5 + torch.rand(4, generator=rng))
        model.const.copy_(torch.randn(model.const.shape, generator=rng))
    return model


def make_batch(rng, steps, size=2):
    frames = torch.randn(size, 2 + steps, 4, 4, 8, generator=rng)
    frames[:, :, TP].abs_()
    frames[:, :, SST, 1:3, :5] = torch.nan
    clock = torch.rand(size, steps, 3, generator=rng)
    return Batch(frames[:, :2], frames[:, 2:], clock, np.zeros(size, "datetime64[ns]"))


def make_module(model, rollout_steps=1, objective="crps_kl", lead_in=None, **changes):
    stage = {"name": "s", "objective": objective, "iterations": 1, "learning_rate": 1e-3, "members": 3}
    area = torch.tensor(area_weights(model.config.grid.latitude), dtype=torch.float32)
    weights = Weights(area, torch.tensor([0.4, 1.2, 0.8, 1.6]))
    config = StageConfig(rollout_steps=rollout_steps, **{**stage, **changes})
    return TrainingModule(model, config, weights, Ranks.alone(), TrainConfig(stages=(config,)), lead_in)


def noise():
    return Noise([Stream([1, 2, 3], torch.device("cpu"))])


def by_hand(score, weights):
    """Per channel: area-weighted mean over the points with truth; then the mean under the channel weights."""
    area = weights.area_H.numpy()[None, :, None] * np.ones((len(score), 1, 8))
    per_channel = []
    for channel in range(4):
        values = score[:, channel].detach().double().numpy()
        known = ~np.isnan(values)
        per_channel.append((values[known] * area[known]).sum() / area[known].sum())
    return np.array(per_channel)


def weighted(per_channel, weights):
    return float((per_channel * weights.channel_C.double().numpy()).mean())


def seen(model, frames):
    """What the networks see: standardized, no NaN, no precipitation."""
    x = model.standardize(frames).nan_to_num(nan=0.0)
    x[..., TP, :, :] = 0.0
    return x


def fed_back(y, truth):
    y = torch.where(truth.isnan(), 0.0, y)
    return torch.cat([y[:, :TP], torch.zeros_like(y[:, TP:])], dim=1)


def crps(members, truth, alpha=0.95):
    """Facts 3.2, double sum; members [B, M, ...]."""
    m = members.shape[1]
    pairs = (members[:, :, None] - members[:, None]).abs().sum((1, 2))
    c = alpha / (2 * m * (m - 1)) + (1 - alpha) / (2 * m * m)
    return (members - truth[:, None]).abs().mean(1) - c * pairs


@pytest.mark.parametrize("steps", [1, 3])
def test_deterministic_objective_is_the_weighted_absolute_error_without_perturbation(rng, steps):
    model, batch = make_model(rng), make_batch(rng, steps)
    module = make_module(model, steps, "l1")
    terms = module(batch, noise(), 1.0)
    x, truth = seen(model, batch.frames_BTCHW), model.standardize(batch.target_BKCHW)
    per_step = []
    for k in range(steps):
        y = model.predict(x, torch.zeros_like(x), batch.clock_BK3[:, k])
        per_step.append(by_hand((y - truth[:, k]).abs(), module.weights))
        x = torch.stack([x[:, 1], fed_back(y, truth[:, k])], dim=1)
    expected = np.mean(per_step, axis=0)
    np.testing.assert_allclose(terms.error_C.detach(), expected, rtol=1e-5)
    assert terms.total.item() == pytest.approx(weighted(expected, module.weights), rel=1e-5)
    assert terms.kl.item() == 0.0


def distributions_by_hand(model, batch, stream):
    """Q and P of the first step for each of 3 members [B * 3, ...]; dropout masks are drawn for Q, then for P."""
    x, clock = seen(model, batch.frames_BTCHW).repeat_interleave(3, 0), batch.clock_BK3[:, 0].repeat_interleave(3, 0)
    target = seen(model, batch.target_BKCHW)[:, 0].repeat_interleave(3, 0)
    dropout = seeded_dropout(model.config.dropout, stream)
    q = model.posterior(torch.stack([x[:, 1], target], dim=1), clock, dropout)
    return {"posterior": q, "prior": model.prior(x, clock, dropout)}


def members_by_hand(model, batch, source, eps):
    """The first step of 3 members, each from its own distribution; `source` and `eps` [B * 3, ...]."""
    s = source.mean + torch.exp(0.5 * source.logvar) * eps
    x = seen(model, batch.frames_BTCHW).repeat_interleave(3, 0)
    return model.predict(x, s, batch.clock_BK3[:, 0].repeat_interleave(3, 0))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("sampled", ["posterior", "prior", "both"])
def test_ensemble_objective_is_the_crps_of_members_of_the_sampled_distribution(rng, sampled, dropout):
    model, batch = make_model(rng, dropout=dropout), make_batch(rng, 1)
    module = make_module(model, sampled=sampled)
    terms = module(batch, noise(), 0.0)
    truth = model.standardize(batch.target_BKCHW)[:, 0]
    stream, errors = noise(), []
    distributions = distributions_by_hand(model, batch, stream)
    for name in {"both": ("posterior", "prior")}.get(sampled, (sampled,)):
        y = members_by_hand(model, batch, distributions[name], stream.normal((6, 2, 4, 4, 8)))
        errors.append(by_hand(crps(y.unflatten(0, (2, 3)), truth), module.weights))
    expected = np.mean(errors, axis=0)
    np.testing.assert_allclose(terms.error_C.detach(), expected, rtol=1e-4, atol=1e-6)
    assert terms.total.item() == pytest.approx(weighted(expected, module.weights), rel=1e-4)


def test_later_steps_feed_back_prediction_and_unperturbed_frame_and_sample_each_members_prior(rng):
    model, batch = make_model(rng), make_batch(rng, 2)
    module = make_module(model, 2, sampled="posterior")
    terms = module(batch, noise(), 0.0)
    x, truth = seen(model, batch.frames_BTCHW), model.standardize(batch.target_BKCHW)
    stream = noise()
    q = distributions_by_hand(model, batch, stream)["posterior"]
    first = members_by_hand(model, batch, q, stream.normal((6, 2, 4, 4, 8)))
    repeated = truth[:, 0].repeat_interleave(3, 0)
    x = torch.stack([x[:, 1].repeat_interleave(3, 0), fed_back(first, repeated)], dim=1)
    clock = batch.clock_BK3[:, 1].repeat_interleave(3, 0)
    p = model.prior(x, clock)
    second = model.predict(x, p.mean + torch.exp(0.5 * p.logvar) * stream.normal((6, 2, 4, 4, 8)), clock)
    errors = [by_hand(crps(y.unflatten(0, (2, 3)), truth[:, k]), module.weights) for k, y in enumerate((first, second))]
    np.testing.assert_allclose(terms.error_C.detach(), np.mean(errors, axis=0), rtol=1e-4, atol=1e-6)


def test_training_rolls_out_as_a_forecast_does(rng):
    # The law of model.md 2 in model units (`step`) and in standardized units (training) is one and the same.
    model, batch = make_model(rng), make_batch(rng, 2)
    stream, forecast = noise(), noise()
    module = make_module(model, 2, sampled="prior")
    calls = []
    module._crps = lambda ens, truth: calls.append(ens) or ens.mean((0, 1, 3, 4))
    module(batch, stream, 0.0)
    frames = batch.frames_BTCHW.repeat_interleave(3, 0)
    for k in range(2):
        clock = batch.clock_BK3[:, k].repeat_interleave(3, 0)
        frames = model.step(frames, clock, forecast.normal(frames.shape), lambda x: x)
        got, expected = calls[k].flatten(0, 1), model.standardize(frames[:, 1])
        known = ~expected.isnan()
        known[:, TP] &= frames[:, 1, TP] > 0.0
        torch.testing.assert_close(got[known], expected[known], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_kl_is_the_mean_over_inputs_with_truth(rng, dropout):
    model, batch = make_model(rng, dropout=dropout), make_batch(rng, 1)
    terms = make_module(model)(batch, noise(), 0.5)
    q_and_p = distributions_by_hand(model, batch, noise()).values()
    kl = torch.distributions.kl_divergence(
        *(torch.distributions.Normal(g.mean, torch.exp(0.5 * g.logvar)) for g in q_and_p)
    )
    counted = ~batch.target_BKCHW[:, :1].isnan().repeat_interleave(3, 0).expand_as(kl)
    counted = counted.clone()
    counted[:, :, TP] = False
    assert counted[:, :, SST].any()
    assert not counted[:, :, SST].all()
    assert terms.kl.item() == pytest.approx(kl[counted].mean().item(), rel=1e-4)
    assert terms.total.item() == pytest.approx(terms.error.item() + 0.5 * terms.kl.item(), rel=1e-6)


def gradients(model, module, batch, kl_weight):
    model.zero_grad(set_to_none=True)
    module(batch, noise(), kl_weight).total.backward()
    return {
        name: any(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())
        for name, net in (("P", model.dist_p), ("Q", model.dist_q), ("F", model.decoder))
    }


@pytest.mark.parametrize(
    ("objective", "sampled", "steps", "kl_weight", "reached"),
    [
        ("l1", "posterior", 2, 1.0, "F"),
        ("crps_kl", "posterior", 1, 0.0, "QF"),
        ("crps_kl", "posterior", 1, 0.1, "PQF"),
        ("crps_kl", "posterior", 2, 0.0, "PQF"),
        ("crps_kl", "prior", 1, 0.0, "PF"),
        ("crps_kl", "prior", 1, 0.1, "PQF"),
        ("crps_kl", "both", 1, 0.0, "PQF"),
    ],
)
def test_gradient_reaches_the_networks_of_the_stage(rng, objective, sampled, steps, kl_weight, reached):
    model, batch = make_model(rng), make_batch(rng, steps)
    module = make_module(model, steps, objective, sampled=sampled)
    got = gradients(model, module, batch, kl_weight)
    assert {name for name, touched in got.items() if touched} == set(reached)


@pytest.mark.parametrize("objective", ["l1", "crps_kl"])
def test_gradients_are_finite_although_truth_is_missing(rng, objective):
    model, batch = make_model(rng), make_batch(rng, 2)
    make_module(model, 2, objective, sampled="both")(batch, noise(), 0.1).total.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_gradient_of_the_first_step_comes_through_all_later_ones(rng):
    model, batch = make_model(rng), make_batch(rng, 2)
    batch.frames_BTCHW.requires_grad_()
    module = make_module(model, 2, "l1")
    last = {}
    predict = model.predict
    model.predict = lambda x, s, clock: last.setdefault(len(last), predict(x, s, clock))
    module(batch, noise(), 0.0)
    (gradient,) = torch.autograd.grad(last[1].sum(), last[0])
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("objective", ["l1", "crps_kl"])
def test_a_prediction_that_is_not_finite_is_never_a_small_loss(rng, objective):
    model, batch = make_model(rng), make_batch(rng, 1)
    with torch.no_grad():
        model.decoder[0].pred_layer.pl_head.bias.fill_(torch.nan)
    terms = make_module(model, 1, objective)(batch, noise(), 0.0)
    assert not terms.total.isfinite()
    assert terms.error_C.isfinite().tolist() == [False, True, True, True]


@pytest.mark.parametrize("objective", ["l1", "crps_kl"])
def test_steps_before_the_scored_ones_lead_there_without_gradient_by_their_own_networks(rng, objective):
    model, batch = make_model(rng), make_batch(rng, 3)
    earlier = [make_model(rng) for _ in range(2)]
    for other in earlier:
        for name in ("mean", "std"):
            getattr(other, name).copy_(getattr(model, name))
    module = make_module(model, 3, objective, earlier.__getitem__, gradient_steps=1, sampled="prior", kl_weight=0.0)
    members = 3 if objective == "crps_kl" else 1
    terms = module(batch, noise(), 0.0)
    terms.total.backward()
    x, truth = seen(model, batch.frames_BTCHW).repeat_interleave(members, 0), model.standardize(batch.target_BKCHW)
    stream = noise()
    for k, network in enumerate([*earlier, model]):
        clock = batch.clock_BK3[:, k].repeat_interleave(members, 0)
        p = network.prior(x, clock)
        s = torch.zeros_like(x) if members == 1 else p.mean + torch.exp(0.5 * p.logvar) * stream.normal(x.shape)
        y = network.predict(x, s, clock)
        x = torch.stack([x[:, 1], fed_back(y, truth[:, k].repeat_interleave(members, 0))], dim=1)
    score = (y - truth[:, 2]).abs() if members == 1 else crps(y.unflatten(0, (2, 3)), truth[:, 2])
    np.testing.assert_allclose(terms.error_C.detach(), by_hand(score, module.weights), rtol=1e-4, atol=1e-6)
    assert all(p.grad is None for other in earlier for p in other.parameters())
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.decoder.parameters())


def test_the_kl_of_a_led_in_stage_is_that_of_each_members_own_history(rng):
    model, batch = make_model(rng), make_batch(rng, 2)
    terms = make_module(model, 2, gradient_steps=1)(batch, noise(), 1.0)
    stream = noise()
    x, clock = seen(model, batch.frames_BTCHW).repeat_interleave(3, 0), batch.clock_BK3.repeat_interleave(3, 0)
    target, truth = (
        f(batch.target_BKCHW).repeat_interleave(3, 0) for f in (lambda t: seen(model, t), model.standardize)
    )
    p = model.prior(x, clock[:, 0])
    y = model.predict(x, p.mean + torch.exp(0.5 * p.logvar) * stream.normal(x.shape), clock[:, 0])
    x = torch.stack([x[:, 1], fed_back(y, truth[:, 0])], dim=1)
    window = torch.stack([x[:, 1], target[:, 1]], dim=1)
    q_and_p = model.posterior(window, clock[:, 1]), model.prior(x, clock[:, 1])
    kl = torch.distributions.kl_divergence(
        *(torch.distributions.Normal(g.mean, torch.exp(0.5 * g.logvar)) for g in q_and_p)
    )
    counted = (~truth[:, 1:].isnan()).expand_as(kl).clone()
    counted[:, :, TP] = False
    assert terms.kl.item() == pytest.approx(kl[counted].mean().item(), rel=1e-4)


def test_a_posterior_that_neither_samples_nor_costs_is_not_differentiated(rng):
    model, batch = make_model(rng), make_batch(rng, 1)
    terms = make_module(model, sampled="prior", kl_weight=0.0)(batch, noise(), 0.0)
    terms.total.backward()
    assert all(p.grad is None for p in model.dist_q.parameters())
    assert terms.kl.item() > 0


@pytest.mark.parametrize("sampled", ["posterior", "prior"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_every_member_has_its_own_dropout_mask(rng, sampled, dropout):
    # Hardly any variance: members differ by their masks alone.
    model = make_model(rng, dropout=dropout, initial_logvar=-79.5, logvar_bounds=(-80.0, -79.0))
    batch, perturbations = make_batch(rng, 1), []
    predict = model.predict
    model.predict = lambda x, s, clock: perturbations.append(s) or predict(x, s, clock)
    make_module(model, sampled=sampled)(batch, noise(), 0.0)
    members = perturbations[0].unflatten(0, (2, 3))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert torch.allclose(members[:, a], members[:, b], atol=1e-4) == (dropout == 0.0)
