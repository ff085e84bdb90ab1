"""What a run and an ensemble cover, and what of them counts as complete."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from fuxi_ens.nature import ensemble_plan, layout, plan


def make_states(directory: Path, first: str, count: int) -> list[np.datetime64]:
    states = plan.states_directory(directory)
    states.mkdir(parents=True)
    times = [np.datetime64(first, "h") + i * plan.BLOCK for i in range(count)]
    for time in times:
        plan.state_path(states, time).touch()
    return times


@pytest.mark.parametrize(("end", "spinup"), [("1994-01-04", 90), ("1993-12-31", 90), ("1994-01-06", 89)])
def test_spans_of_broken_blocks_are_refused(end: str, spinup: int) -> None:
    with pytest.raises(ValueError, match="multiple of 5 days"):
        plan.Plan("1994-01-01", end, spinup)


def test_times_end_with_the_run_and_begin_after_its_start() -> None:
    times = plan.Plan("1994-01-01", "1994-01-06", 90).times
    assert times[0] == np.datetime64("1994-01-01T06")
    assert times[-1] == np.datetime64("1994-01-06T00")
    assert len(times) == plan.BLOCK_WINDOWS


def test_a_directory_keeps_one_plan(tmp_path: Path) -> None:
    first = plan.Plan("1994-01-01", "1994-01-06", 90, (500, 850))
    first.record(tmp_path)
    first.record(tmp_path)
    assert plan.read_plan(tmp_path) == first
    with pytest.raises(ValueError, match="holds another run"):
        plan.Plan("1994-01-01", "1994-01-11", 90, (500, 850)).record(tmp_path)


def test_only_completed_blocks_are_opened(tmp_path: Path) -> None:
    made = plan.Plan("1994-01-01", "1994-01-16", 5, (500,))
    made.record(tmp_path)
    coordinates = {"time": made.times} | layout.grid_coordinates((500,))
    empty, encoding = layout.empty_store(coordinates, ("2m_temperature",), {"time": 20})
    with layout.consolidating():
        empty.to_zarr(plan.store_path(tmp_path), encoding=encoding, zarr_format=3, consolidated=True)
    with pytest.raises(ValueError, match="spinning up"):
        plan.open_completed(tmp_path)
    times = make_states(tmp_path, "1993-12-27", 3)
    # A state that was being written when the process died does not count.
    plan.state_path(plan.states_directory(tmp_path), times[-1] + plan.BLOCK).with_suffix(".part").touch()
    assert made.blocks_left(tmp_path) == 2
    opened = plan.open_completed(tmp_path)
    assert opened.time.values[-1] == np.datetime64("1994-01-06T00")
    assert xr.open_zarr(plan.store_path(tmp_path)).sizes["time"] == 60


def test_perturbations_come_from_the_season_in_earlier_winters(tmp_path: Path) -> None:
    states = make_states(tmp_path, "1993-08-31", 256)
    init_time = np.datetime64("1997-01-02", "h")
    pool = ensemble_plan.season_pool(states, init_time, np.datetime64("1993-11-29"))
    assert {str(time)[:4] for time in pool} == {"1993", "1994", "1995", "1996"}
    assert max(pool) < np.datetime64("1996-03-01")
    assert {time.item().month for time in pool} <= {12, 1}
    pairs = {ensemble_plan.draw_pair(pool, ensemble_plan.Forecast(init_time, n)) for n in range(21)}
    assert len(pairs) > 15
    for plus, minus in pairs:
        assert abs(plus - minus) >= np.timedelta64(ensemble_plan.INDEPENDENT_DAYS, "D")


def test_a_members_perturbation_depends_on_init_time_and_number_alone() -> None:
    pool = [np.datetime64(f"{year}-01-{day:02d}", "h") for year in (1994, 1995) for day in (1, 11, 21)]
    member = ensemble_plan.Forecast(np.datetime64("1997-01-02", "h"), 3)
    assert ensemble_plan.draw_pair(pool, member) == ensemble_plan.draw_pair(pool, member)
    draws = {ensemble_plan.draw_pair(pool, member._replace(number=n)) for n in range(20)}
    assert len(draws) > 5


def test_no_earlier_winter_no_perturbation() -> None:
    with pytest.raises(ValueError, match="earlier winter"):
        ensemble_plan.draw_pair([], ensemble_plan.Forecast(np.datetime64("1997-01-02", "h"), 1))


def test_init_times_without_a_state_are_refused(tmp_path: Path) -> None:
    make_states(tmp_path, "1996-12-28", 3)
    good = (np.datetime64("1997-01-02", "h"),)
    assert len(ensemble_plan.EnsemblePlan(tmp_path, good, members=2).forecasts) == 2
    with pytest.raises(ValueError, match="no restart state"):
        ensemble_plan.EnsemblePlan(tmp_path, (np.datetime64("1997-01-03", "h"),))
    with pytest.raises(ValueError, match="multiple of 20"):
        ensemble_plan.EnsemblePlan(tmp_path, good, windows=30)


def test_an_ensemble_with_missing_members_is_not_opened(tmp_path: Path) -> None:
    coordinates = {
        "time": np.array(["1997-01-02"], "datetime64[ns]"),
        "number": np.arange(1, 3, dtype=np.int32),
        "prediction_timedelta": np.array([6], "timedelta64[h]").astype("timedelta64[ns]"),
    } | layout.grid_coordinates((500,))
    empty, _ = layout.empty_store(coordinates, ("2m_temperature",), {})
    with layout.consolidating():
        empty.to_zarr(tmp_path / ensemble_plan.STORE_NAME, zarr_format=3, consolidated=True)
    mark = ensemble_plan.mark_path(tmp_path, ensemble_plan.Forecast(np.datetime64("1997-01-02", "h"), 1))
    mark.parent.mkdir()
    mark.touch()
    with pytest.raises(ValueError, match="1 of 2 forecasts"):
        ensemble_plan.open_completed(tmp_path)
