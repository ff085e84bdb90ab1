"""Means over points equal loops over points; what is missing in the truth takes no part, and nothing else does not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxi_ens.grid import LatLonGrid, area_weights
from fuxi_ens.losses.objective import Weights, channel_means, masked_mean, weighted_error

AREA = torch.tensor(area_weights(LatLonGrid(6, 4).latitude), dtype=torch.float32)


def loop_means(score, valid, area):
    means = []
    for c in range(score.shape[1]):
        total = weight = 0.0
        for b, h, w in np.ndindex(score.shape[0], *score.shape[2:]):
            if valid[b, c, h, w]:
                total += float(score[b, c, h, w]) * float(area[h])
                weight += float(area[h])
        means.append(total / weight if weight else 0.0)
    return means


def test_channel_means_equal_a_loop_over_points(rng):
    score = torch.rand(2, 3, 6, 4, generator=rng)
    score[:, 1, ::2, 1] = torch.nan
    score[0, 2] = torch.nan
    valid = ~score.isnan()
    valid[1, 0, :, 2] = False
    assert channel_means(score, valid, AREA).tolist() == pytest.approx(loop_means(score, valid, AREA), rel=1e-5)


def test_a_channel_without_any_point_scores_zero(rng):
    score = torch.rand(2, 2, 6, 4, generator=rng)
    score[:, 1] = torch.nan
    means = channel_means(score, ~score.isnan(), AREA)
    assert means[0] > 0.0
    assert means[1] == 0.0


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_score_that_is_not_finite_where_there_is_truth_breaks_the_mean_of_its_channel(rng, broken):
    score, valid = torch.rand(2, 3, 6, 4, generator=rng), torch.rand(2, 3, 6, 4, generator=rng) < 0.7
    whole = channel_means(score, valid, AREA)
    score[1, 1][~valid[1, 1]] = broken
    assert torch.equal(channel_means(score, valid, AREA), whole)
    row, column = valid[1, 1].nonzero()[0]
    score[1, 1, row, column] = broken
    got = channel_means(score, valid, AREA)
    assert not got[1].isfinite()
    assert torch.equal(got[[0, 2]], whole[[0, 2]])


@settings(deadline=None, max_examples=30)
@given(st.floats(0.001, 1e4), st.lists(st.booleans(), min_size=24, max_size=24).filter(any))
def test_the_mean_of_a_constant_is_the_constant_whatever_is_missing(value, present):
    valid = torch.tensor(present).view(1, 1, 6, 4)
    assert channel_means(torch.where(valid, value, torch.nan), valid, AREA).item() == pytest.approx(value, rel=1e-5)


def test_rows_count_by_their_area():
    score = torch.zeros(1, 1, 6, 4)
    score[:, :, 2] = 1.0
    edges = np.sin(np.deg2rad([30.0, 0.0]))
    got = channel_means(score, torch.ones_like(score, dtype=torch.bool), AREA).item()
    assert got == pytest.approx((edges[0] - edges[1]) / 2.0, rel=1e-5)


def test_missing_points_send_no_gradient(rng):
    score = torch.rand(1, 2, 6, 4, generator=rng).requires_grad_()
    masked = torch.where(torch.arange(4) == 0, torch.nan, score)
    channel_means(masked, ~masked.isnan(), AREA).sum().backward()
    assert score.grad.isfinite().all()
    assert score.grad[..., 0].eq(0).all()
    assert score.grad[..., 1:].gt(0).all()


def test_channel_weights_multiply_the_error_of_a_channel(rng):
    error, weights = torch.rand(3, generator=rng), torch.tensor([2.0, 0.5, 0.5])
    expected = (2.0 * error[0] + 0.5 * error[1] + 0.5 * error[2]) / 3.0
    torch.testing.assert_close(weighted_error(error, Weights(AREA, weights)), expected)


def test_masked_mean_equals_a_mean_over_the_chosen(rng):
    values, mask = torch.randn(2, 2, 3, 6, 4, generator=rng), torch.rand(2, 1, 3, 6, 4, generator=rng) < 0.4
    chosen = values[mask.expand_as(values)]
    torch.testing.assert_close(masked_mean(values, mask.float()), chosen.mean())
    assert masked_mean(values, torch.zeros_like(mask).float()) == 0.0
