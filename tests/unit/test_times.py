from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuxi_ens.times import HISTORY, clock, hours, lead_times, time_range

DATES = st.datetimes(datetime.fromisoformat("1959-01-01"), datetime.fromisoformat("2100-01-01")).map(
    lambda d: d.replace(second=0, microsecond=0)
)


@pytest.mark.parametrize(
    ("when", "hour", "day"),
    [
        ("2018-01-01T00", 0.0, 1),
        ("2018-01-01T06", 0.25, 1),
        ("2018-12-31T18", 0.75, 365),
        ("2020-12-30T12", 0.5, 365),
        ("2020-12-31T12", 0.5, 365),
        ("2020-02-29T00", 0.0, 60),
        ("2020-03-01T00", 0.0, 61),
        ("2019-03-01T00", 0.0, 60),
        ("2018-06-01T03:30", 3.5 / 24, 152),
    ],
)
def test_the_clock_tells_hour_and_day_of_year(when, hour, day):
    np.testing.assert_allclose(clock(np.array([when], "datetime64[ns]"), 5), [[5, hour, day / 365]], rtol=1e-6)


@given(DATES, st.integers(0, 59))
def test_the_clock_agrees_with_the_calendar(when, step):
    row = clock(np.array([when], "datetime64[ns]"), step)[0]
    day = min(when.timetuple().tm_yday, 365)
    np.testing.assert_allclose(row, [step, (when.hour + when.minute / 60) / 24, day / 365], rtol=1e-6)
    assert row.dtype == np.float32


def test_the_clock_has_one_row_a_time():
    assert clock(np.array(["2018-01-01", "2018-01-02"], "datetime64[ns]"), 0).shape == (2, 3)
    assert clock(np.array([], "datetime64[ns]"), 0).shape == (0, 3)


@given(st.sampled_from([1, 3, 6, 12, 24]), st.integers(1, 240))
def test_lead_times_are_whole_steps_and_exclude_zero(step_hours, steps):
    leads = lead_times(hours(step_hours), steps)
    assert len(leads) == steps
    assert leads.dtype.kind == "m"
    np.testing.assert_array_equal(leads / np.timedelta64(1, "h"), step_hours * np.arange(1, steps + 1))


def test_fifteen_days_are_sixty_steps():
    assert lead_times(hours(6), 60)[-1] == np.timedelta64(15, "D")


def test_hours_are_nanoseconds_and_may_be_fractions():
    assert hours(6).dtype == "timedelta64[ns]"
    assert hours(0.5) == np.timedelta64(30, "m")


def test_a_range_holds_both_ends_when_they_fit():
    found = time_range(np.datetime64("2018-01-01"), np.datetime64("2018-01-02"), hours(6))
    assert (found[0], found[-1], len(found)) == (np.datetime64("2018-01-01"), np.datetime64("2018-01-02"), 5)
    assert found.dtype == "datetime64[ns]"
    assert len(time_range(np.datetime64("2018-01-01"), np.datetime64("2018-01-01T11"), hours(6))) == 2
    assert len(time_range(np.datetime64("2018-01-02"), np.datetime64("2018-01-01"), hours(6))) == 0


def test_two_frames_of_history():
    assert HISTORY == 2
