"""Track error differences: storms are the sample, not their cases."""

import numpy as np
import pandas as pd
import pytest

from fuxi_ens.config import CycloneConfig, SignificanceConfig
from fuxi_ens.verify.cyclones.differences import FEWEST_STORMS, storm_differences

RULES, SETTINGS = CycloneConfig(), SignificanceConfig()


def cases_of(differences, repeats=1, followed=1.0):
    """Cases of two systems at one lead time; one storm per difference, `repeats` init times each."""
    rows = []
    for storm, difference in enumerate(differences):
        for repeat in range(repeats):
            case = {"init_time": np.datetime64("2018-09-01", "ns") + np.timedelta64(12 * repeat, "h")}
            case |= {"storm": f"S{storm}", "lead_hours": 24.0, "alive": 10, "followed": followed}
            for system, error in (("ours", 100.0 + difference), ("theirs", 100.0)):
                role = "forecast" if system == "ours" else "baseline"
                rows.append(case | {"system": system, "role": role, "member_error": error, "mean_error": error / 2})
    return pd.DataFrame(rows)


def row_of(cases, score="member_error_km"):
    return storm_differences(cases, RULES, SETTINGS).set_index("score").loc[score]


def test_many_storms_have_the_interval_of_their_mean():
    differences = np.random.default_rng(1).normal(-3, 20, 200)
    row = row_of(cases_of(differences))
    assert row["difference"] == pytest.approx(differences.mean())
    half = 1.96 * differences.std() / np.sqrt(200)
    assert row["ci_low"] == pytest.approx(differences.mean() - half, abs=0.15 * half)
    assert row["ci_high"] == pytest.approx(differences.mean() + half, abs=0.15 * half)
    half_row = row_of(cases_of(differences), "mean_error_km")
    assert half_row["difference"] == pytest.approx(differences.mean() / 2)


def test_more_cases_of_the_same_storms_make_nothing_surer():
    differences = np.random.default_rng(2).normal(-5, 20, 30)
    once, often = (row_of(cases_of(differences, repeats)) for repeats in (1, 8))
    assert (once["cases"], often["cases"], often["storms"]) == (30, 240, 30)
    for column in ("difference", "ci_low", "ci_high", "p"):
        assert often[column] == pytest.approx(once[column])


def test_equal_systems_are_rejected_in_one_of_twenty_trials():
    rng = np.random.default_rng(3)
    rejected = [row_of(cases_of(rng.normal(0, 20, 40)))["p"] < 0.05 for _ in range(150)]
    assert np.mean(rejected) < 0.12


@pytest.mark.parametrize("storms", [1, FEWEST_STORMS - 1])
def test_few_storms_have_no_interval(storms):
    row = row_of(cases_of(np.arange(storms) - 2.0, repeats=20))
    assert np.isnan([row["ci_low"], row["ci_high"], row["p"]]).all()
    assert row["difference"] == pytest.approx(np.mean(np.arange(storms) - 2.0))


def test_without_a_common_case_there_is_no_row():
    assert storm_differences(cases_of([1.0, 2.0], followed=0.1), RULES, SETTINGS).empty


def test_cases_that_too_few_members_follow_do_not_count():
    table = storm_differences(
        pd.concat([cases_of(np.full(9, -4.0)), cases_of([90.0], followed=0.2).replace("S0", "lost")]), RULES, SETTINGS
    )
    assert set(table["difference"]) == {-4.0, -2.0}
    assert set(table["storms"]) == {9}
