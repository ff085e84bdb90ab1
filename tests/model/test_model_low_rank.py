"""The low-rank-plus-diagonal perturbation against torch.distributions and against dense matrices."""

import numpy as np
import pytest
import torch
from allocations import Allocations
from model_world import clocks, model_config, physical_frames, random_model
from torch.distributions import LowRankMultivariateNormal, kl_divergence

from fuxi_ens.model import build_model, low_rank
from fuxi_ens.model.block import no_dropout
from fuxi_ens.model.latent import draw, token_weights
from fuxi_ens.model.low_rank import Interpolation, LowRankGaussian, low_rank_kl
from fuxi_ens.model.noise import Noise, Stream

T, C, H, W = 2, 2, 5, 8
LOW_RANK = {"latent": "low_rank", "latent_rank": 3}


def to_grid(height, width, patch, dtype=torch.float64):
    rows = token_weights(height, height // patch, patch, wrap=False)
    return Interpolation(rows.to(dtype), token_weights(width, width // patch, patch, wrap=True).to(dtype))


def gaussian(rng, rank, batch=2, dtype=torch.float64):
    def normal(*shape):
        return torch.randn(shape, generator=rng).to(dtype)

    mean, logvar = normal(batch, T, C, H, W), normal(batch, T, C, H, W)
    return LowRankGaussian(mean, logvar, normal(batch, rank, T * C, 2, 4), to_grid(H, W, 2, dtype))


def dense_patterns(g, b):
    """U of batch element b, [elements, R]."""
    return g.to_grid(g.pattern_BRLhw[b]).flatten(1).T


def outside_library(g, b, keep):
    return LowRankMultivariateNormal(
        g.mean[b].flatten()[keep], dense_patterns(g, b)[keep], g.logvar[b].flatten().exp()[keep]
    )


@pytest.mark.parametrize("rank", [1, 3, 8])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_kl_equals_torch_distributions_over_the_elements_that_count(rng, rank, missing):
    q, p = gaussian(rng, rank), gaussian(rng, rank)
    mask = (torch.rand(2, 1, C, H, W, generator=rng) >= missing).double()
    got, reverse = low_rank_kl(q, p, mask), low_rank_kl(p, q, mask)
    for b in range(2):
        keep = mask[b].expand(T, C, H, W).flatten().bool()
        outside = [outside_library(g, b, keep) for g in (q, p)]
        assert got[b].item() == pytest.approx(kl_divergence(*outside).item(), rel=1e-10)
        assert reverse[b].item() == pytest.approx(kl_divergence(*outside[::-1]).item(), rel=1e-10)


def test_autocast_does_not_reach_the_distribution(rng):
    q, p = gaussian(rng, 4), gaussian(rng, 4)
    single = [
        LowRankGaussian(g.mean.float(), g.logvar.float(), g.pattern_BRLhw.float(), to_grid(H, W, 2, torch.float32))
        for g in (q, p)
    ]
    mask, eps, xi = torch.ones(1, 1, 1, 1, 1), torch.ones(2, T, C, H, W), torch.ones(2, 4)
    single[0].pattern_BRLhw.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        got, drawn, marginal = low_rank_kl(*single, mask), single[0].sample(eps, xi), single[0].marginal().logvar
    assert got.dtype == drawn.dtype == marginal.dtype == torch.float32
    q.pattern_BRLhw.requires_grad_()
    expected = low_rank_kl(q, p, mask.double())
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-4)
    slopes = [torch.autograd.grad(kl.sum(), g.pattern_BRLhw)[0] for kl, g in ((got, single[0]), (expected, q))]
    torch.testing.assert_close(slopes[0].double(), slopes[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(drawn.double(), q.sample(eps.double(), xi.double()), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(marginal.double(), q.marginal().logvar, rtol=1e-5, atol=1e-5)


def test_kl_of_a_distribution_with_itself_is_zero(rng):
    q = gaussian(rng, 3)
    assert low_rank_kl(q, q, torch.ones(1, 1, 1, 1, 1)).abs().max() < 1e-10


def test_how_channels_are_chunked_makes_no_difference_and_gradients_pass_gradcheck(rng, monkeypatch):
    p = gaussian(rng, 2, batch=1)
    mask = (torch.rand(1, 1, C, H, W, generator=rng) < 0.7).double()

    def kl(mean, logvar, pattern):
        return low_rank_kl(LowRankGaussian(mean, logvar, pattern, p.to_grid), p, mask)

    q = gaussian(rng, 2, batch=1)
    inputs = [t.requires_grad_() for t in (q.mean, q.logvar, q.pattern_BRLhw)]
    whole = kl(*inputs)
    monkeypatch.setattr(low_rank, "CHUNK", 2 * H * W * 3)
    torch.testing.assert_close(kl(*inputs), whole, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(kl, inputs)


@pytest.mark.parametrize("backward", [False, True])
def test_memory_of_the_kl_grows_by_one_chunk_of_fields_per_pattern(rng, monkeypatch, backward):
    shape, grid = (1, 2, 8, 32, 64), to_grid(32, 64, 4, torch.float32)
    monkeypatch.setattr(low_rank, "CHUNK", 1)  # One latent channel at a time.
    peaks = []
    for rank in (4, 8, 16):
        q, p = (
            LowRankGaussian(
                torch.zeros(shape), torch.zeros(shape), torch.zeros(1, rank, 16, 8, 16).requires_grad_(backward), grid
            )
            for _ in range(2)
        )
        with Allocations() as memory:
            kl = low_rank_kl(q, p, torch.ones(1, 1, 1, 1, 1))
            if backward:
                kl.sum().backward()
        peaks.append(memory.peak)
    field, per_pattern = 4 * 32 * 64, (peaks[2] - peaks[1]) / 8
    assert per_pattern == pytest.approx((peaks[1] - peaks[0]) / 4, rel=0.2)
    # A handful of fields, where holding all latent channels would take 16 fields or more for every intermediate.
    assert per_pattern < 13 * field


def test_sample_is_mean_plus_sigma_eps_plus_patterns_times_their_amplitudes(rng):
    g = gaussian(rng, 2)
    eps, xi = torch.randn(2, T, C, H, W, generator=rng).double(), torch.randn(2, 2, generator=rng).double()
    got = g.sample(eps, xi)
    for b in range(2):
        diagonal = g.mean[b] + (0.5 * g.logvar[b]).exp() * eps[b]
        torch.testing.assert_close(got[b].flatten(), diagonal.flatten() + dense_patterns(g, b) @ xi[b])


def test_samples_have_the_mean_and_the_covariance(rng):
    count = 100_000
    mean, logvar = torch.randn(2, 1, 1, 1, 4, 4, generator=rng)
    g = LowRankGaussian(mean, logvar, torch.randn(1, 2, 1, 2, 2, generator=rng), to_grid(4, 4, 2, torch.float32))
    noise = Noise([Stream([1], torch.device("cpu"))])
    samples = g.repeat(count).sample(*draw(noise, (count, 1, 1, 4, 4), 2)).flatten(1)
    u = dense_patterns(g, 0)
    expected = torch.diag(logvar.flatten().exp()) + u @ u.T
    assert (torch.cov(samples.T) - expected).abs().max() < 0.02 * expected.abs().max()
    assert (samples.mean(0) - mean.flatten()).abs().max() < 0.02 * expected.abs().max()


def test_marginal_has_the_variance_of_the_diagonal_of_the_covariance(rng):
    g = gaussian(rng, 3)
    expected = g.logvar[1].exp().flatten() + dense_patterns(g, 1).square().sum(1)
    torch.testing.assert_close(g.marginal().logvar[1].flatten().exp(), expected)
    assert torch.equal(g.marginal().mean, g.mean)


@pytest.mark.parametrize(("points", "tokens", "patch"), [(8, 4, 2), (9, 4, 2), (12, 3, 4), (721, 90, 8)])
def test_rows_interpolate_linearly_between_token_centers(points, tokens, patch):
    weights = token_weights(points, tokens, patch, wrap=False)
    centers = (np.arange(tokens) + 0.5) * patch - 0.5
    values = np.cos(np.arange(tokens))
    expected = np.interp(np.arange(points), centers, values)
    np.testing.assert_allclose(weights.numpy() @ values, expected, atol=1e-5)
    torch.testing.assert_close(weights.sum(1), torch.ones(points))


def test_columns_close_at_greenwich():
    weights = token_weights(12, 3, 4, wrap=True)
    torch.testing.assert_close(weights.roll((4, 1), (0, 1)), weights)
    assert weights[0].tolist() == pytest.approx([0.625, 0.0, 0.375])
    assert weights[11].tolist() == pytest.approx([0.375, 0.0, 0.625])


def test_interpolation_agrees_with_torch(rng):
    coarse = torch.randn(3, 4, 6, generator=rng)
    grid = Interpolation(token_weights(8, 4, 2, wrap=False), token_weights(12, 6, 2, wrap=True))
    around = torch.nn.functional.pad(coarse[None], (1, 1, 0, 0), mode="circular")
    expected = torch.nn.functional.interpolate(around, scale_factor=2, mode="bilinear")[0, :, :, 2:-2]
    torch.testing.assert_close(grid(coarse), expected)


def test_a_diagonal_network_has_no_new_weights_and_draws_nothing_new():
    plain, patterned = build_model(model_config()), build_model(model_config(**LOW_RANK))
    new = patterned.state_dict().keys() - plain.state_dict().keys()
    assert new == {f"dist_{d}.patterns.linear.{kind}" for d in "pq" for kind in ("weight", "bias")}
    shape = (2, 2, 9, 8, 16)
    one, other = (Noise([Stream([3], torch.device("cpu"))]) for _ in range(2))
    assert torch.equal(draw(one, shape, 0)[0], other.normal(shape))
    assert draw(one, shape, 0)[1] is None
    assert torch.equal(one.normal((2,)), (other.normal(shape), other.normal((2,)))[1])


def test_prior_and_posterior_start_equal_with_patterns_that_are_not_zero(rng):
    config = model_config(**LOW_RANK)
    model, frames = build_model(config), physical_frames(config, 2, rng)
    x = model.network_input(model.standardize(frames))
    p, q = model.prior(x, clocks(2)), model.posterior(x.flip(1), clocks(2))
    assert low_rank_kl(q, p, torch.ones(1, 1, 1, 1, 1)).abs().max() < 1e-3
    patterns = p.pattern_BRLhw[0, :, :, 0, 0]
    share = patterns.square().sum(0).mean() / np.exp(config.initial_logvar)
    assert share.item() == pytest.approx(0.01, rel=1e-3)
    gram = patterns @ patterns.T
    assert (gram - torch.diag(gram.diagonal())).abs().max() < 1e-6


def test_a_member_does_not_depend_on_its_batch_and_shares_its_amplitudes_over_the_globe(rng):
    config = model_config(**LOW_RANK)
    model, frames = random_model(config, rng), physical_frames(config, 3, rng)

    def noise(*numbers):
        return Noise([Stream([5, n], torch.device("cpu")) for n in numbers])

    eps, xi = draw(noise(0, 1, 2), frames.shape, config.patterns)
    alone_eps, alone_xi = draw(noise(1), (1, *frames.shape[1:]), config.patterns)
    assert torch.equal(alone_eps, eps[1:2])
    assert torch.equal(alone_xi, xi[1:2])
    with torch.no_grad():
        together = model.step(frames, clocks(3), eps, no_dropout, xi)
        alone = model.step(frames[1:2], clocks(3)[1:2], alone_eps, no_dropout, alone_xi)
        other = model.step(frames, clocks(3), eps, no_dropout, xi.flip(0))
    torch.testing.assert_close(alone, together[1:2], rtol=1e-5, atol=1e-5, equal_nan=True)
    assert not torch.allclose(other[:, 1].nan_to_num(), together[:, 1].nan_to_num(), atol=1e-3)


def test_as_many_patterns_as_latent_channels_are_refused():
    with pytest.raises(ValueError, match="latent_rank 18 must be smaller than the number of latent channels, 2 frames"):
        model_config(latent="low_rank", latent_rank=18)
