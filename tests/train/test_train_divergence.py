"""What the KL in the loss counts: its direction, its mask, its free bits (model.md 3.1)."""

import pytest
import torch
from test_train_objective import CHANNELS, TP, distributions_by_hand, make_batch, make_model, make_module, noise
from torch.distributions import LowRankMultivariateNormal, Normal, kl_divergence

from fuxi_ens.config import StageConfig
from fuxi_ens.model.gaussian import DiagonalGaussian
from fuxi_ens.train.divergence import channel_kl, divergence, latent_mask

SHAPE = (3, 2, 4, 5, 6)


def stage(**changes):
    return StageConfig(**{"name": "s", "objective": "crps_kl", "iterations": 1, "learning_rate": 1.0, **changes})


@pytest.fixture
def pair(rng):
    """Q and P that differ most in the last channel, and a mask without the first."""
    q, p = (DiagonalGaussian(*torch.randn(2, *SHAPE, generator=rng)) for _ in range(2))
    q.mean[:, :, 3] += 3.0
    mask = (torch.rand(3, 1, 4, 5, 6, generator=rng) < 0.6).float()
    mask[:, :, 0] = 0.0
    return q, p, mask


def outside(q, p):
    return kl_divergence(*(Normal(g.mean, torch.exp(0.5 * g.logvar)) for g in (q, p)))


@pytest.mark.parametrize("direction", ["q_p", "p_q"])
def test_direction_swaps_the_two(pair, direction):
    q, p, mask = pair
    got = divergence(q, p, mask, stage(kl_direction=direction))
    kl = outside(q, p) if direction == "q_p" else outside(p, q)
    chosen = kl[mask.expand_as(kl).bool()]
    torch.testing.assert_close(got.mean, chosen.mean())
    assert torch.equal(got.penalty, got.mean)


def test_free_bits_lift_every_latent_channel_to_the_free_amount(pair):
    q, p, mask = pair
    kl, weight = outside(q, p), mask.expand(SHAPE)
    per_channel = [
        [(kl[:, t, c][weight[:, t, c].bool()].mean(), weight[:, t, c].sum()) for c in range(1, 4)] for t in range(2)
    ]
    free = sorted(mean.item() for row in per_channel for mean, _ in row)[2] + 0.01
    expected = sum(max(mean.item(), free) * n.item() for row in per_channel for mean, n in row) / weight.sum().item()
    got = divergence(q, p, mask, stage(kl_free_nats=free))
    assert got.penalty.item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(got.mean, kl[weight.bool()].mean())
    assert got.penalty > got.mean


def test_below_the_free_amount_nothing_pulls(pair):
    q, p, mask = pair
    q.mean.requires_grad_()
    kl_TC, _ = channel_kl(outside(q, p), mask)
    free = 0.5 * (kl_TC[:, 1:3].max() + kl_TC[:, 3].min()).item()
    assert kl_TC[:, 1:3].max() < free < kl_TC[:, 3].min()
    divergence(q, p, mask, stage(kl_free_nats=free)).penalty.backward()
    pulled = q.mean.grad.abs().amax((0, 3, 4)) > 0
    assert pulled.tolist() == [[False, False, False, True]] * 2


def test_free_nats_above_everything_cost_a_constant(pair):
    q, p, mask = pair
    assert divergence(q, p, mask, stage(kl_free_nats=1e3)).penalty.item() == pytest.approx(1e3)


def test_nothing_to_count_costs_nothing(pair):
    q, p, mask = pair
    for free in (0.0, 0.1):
        got = divergence(q, p, torch.zeros_like(mask), stage(kl_free_nats=free))
        assert got.mean == got.penalty == 0.0


def test_rows_that_fill_no_patch_do_not_count(rng):
    # 5 rows in patches of 2: the latent's fifth row reaches nothing.
    model = make_model(rng, height=5, width=8, patch=2, polar_row="zonal_mean", window=2)
    x = torch.randn(2, 2, 4, 5, 8, generator=rng)
    clock = torch.rand(2, 3, generator=rng)
    pushed = torch.zeros_like(x)
    pushed[:, :, :, 4] = 100.0
    assert torch.equal(model.predict(x, pushed, clock), model.predict(x, torch.zeros_like(x), clock))
    mask = latent_mask(model, torch.zeros(2, 4, 5, 8))
    assert mask[:, :, :TP, :4].eq(1).all()
    assert mask[:, :, :, 4].eq(0).all()
    assert mask[:, :, TP].eq(0).all()


def test_direction_and_free_bits_reach_the_loss(rng):
    model, batch = make_model(rng), make_batch(rng, 1)
    q, p = distributions_by_hand(model, batch, noise()).values()
    q, p = (DiagonalGaussian(g.mean.unflatten(0, (2, 3))[:, 0], g.logvar.unflatten(0, (2, 3))[:, 0]) for g in (q, p))
    module = make_module(model, kl_direction="p_q", kl_free_nats=1.2)
    terms = module(batch, noise(), 0.5)
    expected = divergence(q, p, latent_mask(model, batch.target_BKCHW[:, 0]), module.stage)
    assert terms.kl.item() == pytest.approx(expected.mean.item(), rel=1e-4)
    assert terms.kl_penalty.item() == pytest.approx(expected.penalty.item(), rel=1e-4)
    assert terms.total.item() == pytest.approx((terms.error + 0.5 * terms.kl_penalty).item(), rel=1e-6)
    assert terms.kl_penalty > terms.kl


def test_a_low_rank_stage_minimizes_the_joint_kl_of_the_elements_that_count(rng):
    model, batch = make_model(rng, latent="low_rank", latent_rank=2), make_batch(rng, 1)
    module = make_module(model, sampled="both")
    terms = module(batch, noise(), 0.5, watch=True)
    distributions = distributions_by_hand(model, batch, noise())
    mask = latent_mask(model, batch.target_BKCHW[:, 0])
    total = 0.0
    for b in range(2):
        keep = mask[b].expand(2, 4, 4, 8).flatten().bool()
        normals = [
            LowRankMultivariateNormal(
                g.mean[3 * b].flatten()[keep].double(),
                g.to_grid(g.pattern_BRLhw[3 * b]).flatten(1).T[keep].double(),
                g.logvar[3 * b].flatten().exp()[keep].double(),
            )
            for g in distributions.values()
        ]
        total += kl_divergence(*normals).item()
    assert terms.kl.item() == pytest.approx(total / (2 * mask.sum().item()), rel=1e-4)
    terms.total.backward()
    heads = [getattr(model, name).patterns.linear.weight for name in ("dist_p", "dist_q")]
    assert all(head.grad.isfinite().all() and head.grad.abs().max() > 0 for head in heads)
    assert set(terms.monitors["kl_channels"]) == set(CHANNELS) - {"tp"}


def test_free_bits_of_a_low_rank_latent_are_one_group(rng):
    model, batch = make_model(rng, latent="low_rank", latent_rank=2), make_batch(rng, 1)
    terms = make_module(model, kl_free_nats=1e3)(batch, noise(), 1.0)
    assert terms.kl_penalty.item() == 1e3
    terms.total.backward()
    assert all(p.grad is None or p.grad.eq(0).all() for p in model.dist_p.parameters())
