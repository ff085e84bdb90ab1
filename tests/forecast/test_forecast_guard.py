"""Members that leave physics are found, named and stopped, and nobody else is."""

import numpy as np
import pytest
import torch

from fuxi_ens.channels import channel
from fuxi_ens.errors import UserError
from fuxi_ens.forecast.guard import Guard
from fuxi_ens.grid import LatLonGrid

CHANNELS = ("t850", "sst", "tp")
GRID = LatLonGrid(4, 8)
INIT_TIME = np.datetime64("2018-01-02T12:00", "ns")
LEAD = np.timedelta64(18, "h")
NUMBERS = np.array([0, 1, 2])
MISSING = np.zeros((3, 4, 8), bool)
MISSING[1, 1, :4] = True


@pytest.fixture
def frames():
    """Plausible fields of three members, [M, C, H, W]."""
    fields = np.empty((3, 3, 4, 8), np.float32)
    fields[:] = np.array([280.0, 290.0, 1.0], np.float32)[:, None, None]
    fields[:, MISSING] = np.nan
    return fields


def inspect(frames, factor=2.0, *, proceed=True, guard=None):
    guard = guard or Guard(CHANNELS, GRID, factor, proceed=proceed)
    extremes = guard.extremes(torch.from_numpy(frames), torch.from_numpy(MISSING)).numpy()
    guard.inspect(INIT_TIME, LEAD, NUMBERS, extremes, frames, MISSING)
    return guard


def test_extremes_are_those_of_each_field_without_missing_points(frames):
    frames[1, 0, 2, 3], frames[1, 0, 1, 1], frames[2, 1, 3, 0] = 300, 200, 301
    extremes = Guard(CHANNELS, GRID, 1.0, proceed=True).extremes(torch.from_numpy(frames), torch.from_numpy(MISSING))
    for member, c in np.ndindex(3, 3):
        if c == 1:
            continue
        expected = [np.nanmin(frames[member, c]), np.nanmax(frames[member, c])]
        assert extremes[member, :, c].tolist() == expected
    # The middle of the limits stands at missing points.
    assert extremes[:, 1, 1].tolist() == [290, 290, 301]


def test_plausible_members_pass_untouched(frames):
    before = frames.copy()
    assert inspect(frames, 1.0).failures == []
    assert np.array_equal(frames, before, equal_nan=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, 440.0, 60.0])
def test_a_bad_value_stops_its_member_alone(frames, value):
    frames[1, 0, 2, 3] = value
    before = frames.copy()
    guard = inspect(frames)
    (failure,) = guard.failures
    assert (failure.number, failure.channel, failure.lead_time) == (1, "t850", LEAD)
    assert (failure.latitude, failure.longitude) == (GRID.latitude[2], GRID.longitude[3])
    assert np.array_equal(failure.value, np.float32(value), equal_nan=True)
    assert np.isnan(frames[1]).all()
    assert np.array_equal(frames[[0, 2]], before[[0, 2]], equal_nan=True)


def test_the_message_names_all(frames):
    frames[2, 0, 0, 2] = 512.25
    guard = inspect(frames)
    assert str(guard.failures[0]) == (
        "member 2 of the forecast from 2018-01-02T12:00: t850 is 512.25 K at lead time 18 h, 67.5N 90E; plausible are "
        "70 to 430"
    )


def test_the_worst_point_is_named(frames):
    frames[0, 2, 1, 1], frames[0, 2, 3, 5], frames[0, 2, 2, 2] = 9e3, -2e4, 1e4
    (failure,) = inspect(frames).failures
    assert failure.value == -2e4
    assert (failure.latitude, failure.longitude) == (GRID.latitude[3], GRID.longitude[5])


def test_a_missing_point_is_not_the_worst(frames):
    frames[0, 1, 3, 3] = 500.0
    (failure,) = inspect(frames).failures
    assert (failure.channel, failure.value) == ("sst", 500.0)


def test_values_at_missing_points_do_not_count(frames):
    frames[0, 1, 1, 0] = 1e6
    assert inspect(frames).failures == []


def test_a_sea_point_that_loses_its_value_fails(frames):
    frames[0, 1, 3, 3] = np.nan
    assert [failure.channel for failure in inspect(frames).failures] == ["sst"]


def test_the_range_widens_about_its_middle(frames):
    low, high = channel("t850").variable.limits
    for factor, value, fails in [(1.0, high + 1, 1), (1.2, high + 1, 0), (1.2, low - 19, 1), (1.5, low - 19, 0)]:
        fields = frames.copy()
        fields[0, 0, 0, 0] = value
        assert len(inspect(fields, factor).failures) == fails, (factor, value)


def test_without_a_range_only_values_that_are_not_finite_count(frames):
    frames[0, 0, 0, 0], frames[1, 0, 0, 0], frames[2, 0, 0, 0] = 1e30, np.inf, np.nan
    guard = inspect(frames, None)
    assert [failure.number for failure in guard.failures] == [1, 2]
    assert "plausible are" not in str(guard.failures[0])


def test_a_member_stays_stopped_and_is_named_once(frames):
    bad = frames.copy()
    bad[1, 0, 0, 0] = np.inf
    guard = inspect(bad)
    inspect(frames, guard=guard)
    assert [failure.number for failure in guard.failures] == [1]
    assert np.isnan(frames[1]).all()
    assert np.isfinite(frames[0, 0]).all()


def test_the_first_failure_stops_everything_if_nothing_else_is_asked_for(frames):
    frames[1:, 0, 0, 0] = np.inf
    with pytest.raises(
        UserError, match=r"member 1 .* t850 is inf K .*nothing .*marked.* forecast.on_failure: continue"
    ):
        inspect(frames, proceed=False)
