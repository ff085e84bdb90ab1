"""What xskillscore and scores do that our scores must not. If an assertion about theirs fails, they have changed."""

import numpy as np
import pytest
import xarray as xr

from fuxi_ens.verify import events, scores


@pytest.fixture
def incomplete():
    """Four members of which one is missing, and the truth."""
    forecast = xr.DataArray([[1.0, 2.0, np.nan, 4.0]], dims=("point", "number"))
    return forecast, xr.DataArray([2.5], dims="point")


def test_a_missing_member_is_missing_and_not_left_out_of_the_crps(xskillscore, probability, incomplete):
    forecast, truth = incomplete
    assert float(xskillscore.crps_ensemble(truth, forecast, member_dim="number")) == pytest.approx(1 / 2)
    assert float(probability.crps_for_ensemble(forecast, truth, "number", method="fair")) == pytest.approx(1 / 6)
    for estimator in ("standard", "fair"):
        assert np.isnan(scores.crps(forecast, truth, estimator)).all()


def test_a_missing_member_is_no_member_without_the_event(xskillscore, probability, incomplete):
    forecast, truth = incomplete
    inside = (forecast > 1.5).where(forecast.notnull())
    # Two of four and two of three: neither says that one is missing.
    of_four = xskillscore.brier_score(truth > 1.5, inside, member_dim="number", fair=True)
    of_three = probability.brier_score_for_ensemble(forecast, truth, "number", 1.5)
    assert float(of_four) == pytest.approx(1 / 6)
    assert float(of_three[0]) == pytest.approx(0.0, abs=1e-15)
    assert np.isnan(scores.brier(forecast, truth, 1.5)).all()
    with pytest.raises(ValueError, match="NaN in forecast"):
        events.tables(forecast, truth, 1.5, xr.ones_like(truth))


def test_values_at_the_threshold_are_outside_where_scores_has_them_inside(probability):
    forecast, truth = xr.DataArray([1.0, 1.0, 2.0, 0.0], dims="number"), xr.DataArray(1.0)
    theirs = probability.brier_score_for_ensemble(forecast, truth, "number", 1.0, fair_correction=False)
    assert float(theirs[0]) == (3 / 4 - 1) ** 2
    assert float(scores.brier(forecast, truth, 1.0, fair=False)) == (1 / 4 - 0) ** 2


def test_one_member_has_no_fair_score_where_scores_gives_the_standard_one_or_nan(probability):
    forecast, truth = xr.DataArray([1.0], dims="number"), xr.DataArray(2.5)
    assert float(probability.brier_score_for_ensemble(forecast, truth, "number", 1.5)[0]) == 1.0
    assert np.isnan(probability.crps_for_ensemble(forecast, truth, "number", method="fair"))
    for score in (lambda: scores.brier(forecast, truth, 1.5), lambda: scores.crps(forecast, truth)):
        with pytest.raises(ValueError, match="at least 2 members"):
            score()


def test_ties_are_shared_where_xskillscore_draws_lots(xskillscore):
    forecast = xr.DataArray(np.zeros((40, 3)), dims=("point", "number"))
    truth = xr.DataArray(np.zeros(40), dims="point")
    lots = [xskillscore.rank_histogram(truth, forecast, dim="point", member_dim="number").values for _ in range(5)]
    assert any((lot != lots[0]).any() for lot in lots)
    for _ in range(2):
        assert scores.rank_histogram(forecast, truth).values.tolist() == [10.0] * 4


def test_three_of_ten_members_are_in_the_class_from_three_tenths(xskillscore):
    p = xr.DataArray(np.arange(11) / 10, dims="point")
    theirs = xskillscore.reliability(p > 0.5, p, probability_bin_edges=np.linspace(0, 1, 11))
    # The edge 3 * 0.1 is larger than 3 / 10.
    assert theirs["samples"].values[2:4].tolist() == [2, 0]
    table = events.Tables(xr.DataArray(np.ones(11), dims="count"), xr.DataArray(np.zeros(11), dims="count"))
    np.testing.assert_allclose(events.reliability_curve(table, 10)["weight"] * 11, [1] * 9 + [2], rtol=1e-12)
