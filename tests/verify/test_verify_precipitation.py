"""SEEPS: values by hand, theorems of the matrix, values that lie on a bound."""

import numpy as np
import pytest
import xarray as xr

from fuxi_ens.channels import DRY_MM
from fuxi_ens.verify.precipitation import seeps


def field(*values):
    return xr.DataArray(np.array(values, float), dims="case")


def score(forecast, truth, p=0.4, heavy=5.0):
    one = np.ones(len(truth))
    return seeps(field(*forecast), field(*truth), field(*(p * one)), field(*(heavy * one)), DRY_MM["tp24"])


DRY, LIGHT, HEAVY = 0.0, 2.0, 9.0


@pytest.mark.parametrize("p", [0.1, 0.4, 0.85])
@pytest.mark.parametrize("constant", [DRY, LIGHT, HEAVY])
def test_every_constant_forecast_scores_one(p, constant):
    frequency = np.array([p, 2 * (1 - p) / 3, (1 - p) / 3])
    assert float(score([constant] * 3, [DRY, LIGHT, HEAVY], p).values @ frequency) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize(
    ("forecast", "truth", "expected"),
    [
        (DRY, LIGHT, 0.5 / 0.6),
        (DRY, HEAVY, 2.0 / 0.6),
        (LIGHT, DRY, 0.5 / 0.4),
        (LIGHT, HEAVY, 1.5 / 0.6),
        (HEAVY, DRY, 0.5 * (1 / 0.4 + 3 / 2.4)),
        (HEAVY, LIGHT, 1.5 / 2.4),
    ],
)
def test_penalties_are_those_of_the_matrix(forecast, truth, expected):
    assert score([forecast], [truth]).item() == pytest.approx(expected, rel=1e-12)


def test_the_right_category_costs_nothing():
    assert score([0.1, 3.0, 7.0], [DRY, LIGHT, HEAVY]).values.tolist() == [0.0, 0.0, 0.0]


def test_values_on_a_bound_have_a_category():
    # With < and > alone, exactly 0.25 mm and exactly the heavy amount belong to none and would score 0.
    result = score([DRY_MM["tp24"], 5.0, HEAVY, LIGHT], [LIGHT, LIGHT, DRY_MM["tp24"], 5.0])
    expected = score([DRY, HEAVY, HEAVY, LIGHT], [LIGHT, LIGHT, DRY, HEAVY])
    assert (result > 0).all()
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("p", [0.05, 0.9, np.nan])
def test_places_without_three_categories_are_masked(p):
    assert np.isnan(score([DRY], [HEAVY], p)).all()
    assert np.isnan(score([DRY], [HEAVY], heavy=0.2)).all()


def test_nan_in_forecast_or_truth_is_nan():
    assert np.isnan(score([np.nan, DRY, DRY], [DRY, np.nan, DRY])).values.tolist() == [True, True, False]


def test_members_are_scored_one_by_one_and_their_mean_drizzles(rng):
    members = xr.DataArray([[0.0, 0.0], [0.0, 0.0], [3.0, 0.0]], dims=("number", "case"))
    truth, p, heavy = field(DRY, DRY), field(0.4, 0.4), field(5.0, 5.0)
    each = seeps(members, truth, p, heavy, DRY_MM["tp24"])
    assert each.dims == ("number", "case")
    of_mean = seeps(members.mean("number"), truth, p, heavy, DRY_MM["tp24"])
    assert float(of_mean[0]) > float(each.mean("number")[0]) > 0


def test_unequal_coordinates_are_refused():
    one, other = field(1.0).assign_coords(case=[0]), field(1.0).assign_coords(case=[1])
    with pytest.raises(ValueError, match="case"):
        seeps(one, other, one, one, 0.1)


def test_seeps_stays_lazy():
    cases = field(DRY, LIGHT, HEAVY)
    p, heavy = field(0.4, 0.4, 0.4), field(5.0, 5.0, 5.0)
    lazy = seeps(cases.chunk(case=1), cases[::-1].drop_vars("case", errors="ignore"), p, heavy, DRY_MM["tp24"])
    assert lazy.chunks is not None
    np.testing.assert_array_equal(lazy.compute(), seeps(cases, cases[::-1], p, heavy, DRY_MM["tp24"]))
