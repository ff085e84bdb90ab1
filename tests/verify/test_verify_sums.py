"""24 h sums of precipitation on the card: alignment, lead times without a whole sum, every system, other layouts."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from verify_world import GRID, PROVENANCE, World, hours, make_config, write

from fuxi_ens.errors import StoreError
from fuxi_ens.stores.sums import parts_of, whole
from fuxi_ens.verify.difference_maps import difference_maps
from fuxi_ens.verify.files import read_statistics
from fuxi_ens.verify.open import open_analysis, open_forecast
from fuxi_ens.verify.opened import open_systems
from fuxi_ens.verify.run import verify
from fuxi_ens.verify.scorecard import scorecard

NAME = "total_precipitation_6hr"
INIT_TIMES = pd.date_range("2019-01-10", periods=2, freq="12h")
LEADS = hours(6, 12, 18, 24, 30, 36)


def rain(rng, dims):
    """Amounts in m with ties at zero and small negative ones, as unpacking leaves them."""
    coords = {**dims, "latitude": GRID.latitude, "longitude": GRID.longitude}
    shape = tuple(len(values) for values in coords.values())
    values = np.maximum(rng.gamma(0.4, 4e-3, shape) - 1e-3, -1e-9).astype(np.float32)
    return xr.Dataset({NAME: (tuple(coords), values)}, coords)


def make_world(rng, folder, leads=LEADS, baseline_leads=LEADS, truth=None):
    days = [pd.date_range(f"{year}-01-01", f"{year}-01-31", freq="6h") for year in (2017, 2018, 2019)]
    times = np.concatenate(days) if truth is None else truth
    return World(
        folder,
        rain(rng, {"time": times.astype("datetime64[ns]")}),
        rain(rng, {"time": INIT_TIMES.to_numpy(), "number": np.arange(4), "prediction_timedelta": leads}),
        rain(rng, {"time": INIT_TIMES.to_numpy(), "number": np.arange(3), "prediction_timedelta": baseline_leads}),
    ).save()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(np.random.default_rng(5), tmp_path_factory.mktemp("sums"))


@pytest.fixture(scope="module")
def table(world):
    return scorecard(statistics(world))


def config(world, **verify_section):
    section = {"channels": ["tp", "tp24"], "regions": ["global"], **verify_section}
    plain = make_config(world.folder).model_dump(mode="json")
    plain["model"]["channels"] = plain["forecast"]["channels"] = ["z500", "tp"]
    plain["verify"].update(section)
    return type(make_config(world.folder)).model_validate(plain)


def statistics(world, **section):
    folder = world.folder / "-".join(["scores", *section.get("channels", [])])
    verify(config(world, **section), folder, world.forecast_store, PROVENANCE)
    return read_statistics([folder])


def values(table, system, name, score="rmse"):
    part = table[(table["system"] == system) & (table["name"] == name) & (table["score"] == score)]
    return part.set_index(part["lead_time"].dt.total_seconds() / 3600)["value"]


def sum_24h(data, axis):
    """Without xarray: sums of four neighbors along the axis, of the newest one."""
    values = np.moveaxis(data[NAME].values, data[NAME].dims.index(axis), 0).astype(np.float64)
    sums = [np.maximum(sum(values[k - back] for back in range(4)), 0) for k in range(3, len(values))]
    return dict(zip(data[axis].values[3:], sums, strict=True))


def test_parts_of_a_sum_end_one_step_apart_newest_first():
    assert [int(part[0] / np.timedelta64(1, "h")) for part in parts_of("tp24", hours(30))] == [30, 24, 18, 12]
    assert len(parts_of("tp", hours(30))) == 1


def test_a_sum_is_whole_where_all_its_parts_are():
    assert whole("tp24", hours(18, 24, 30), hours(6, 12, 18, 24)).tolist() == [False, True, False]
    assert whole("tp", hours(18, 24, 30), hours(6, 12, 18, 24)).tolist() == [True, True, False]


def test_truth_is_summed_over_the_24_hours_that_end_at_the_valid_time(world):
    expected = sum_24h(world.truth, "time")
    times = world.truth["time"].values[3:9]
    got = open_analysis(f"{world.folder}/truth.zarr").fields("tp24", times)
    np.testing.assert_array_equal(got["valid_time"], times)
    # Four float32 additions.
    np.testing.assert_allclose(got, [expected[time] for time in times], rtol=1e-6, atol=1e-12)


def test_negative_amounts_are_part_of_the_sum_and_none_is_left(world):
    dry = world.truth.copy(deep=True)
    dry[NAME][:] = np.float32(-1e-9)
    write(dry, world.folder / "dry.zarr")
    got = open_analysis(f"{world.folder}/dry.zarr").fields("tp24", dry["time"].values[3:5])
    assert (got == 0).all()


def test_sums_of_fluxes_keep_their_sign(tmp_path, rng):
    data = rain(rng, {"time": pd.date_range("2019-01-01", periods=4, freq="6h").to_numpy()})
    data = (-data).rename({NAME: "top_net_thermal_radiation_6hr"})
    write(data, tmp_path / "radiation.zarr")
    got = open_analysis(str(tmp_path / "radiation.zarr")).fields("ttr24", data["time"].values[3:])
    assert float(got.min()) < 0


@pytest.mark.parametrize("store", ["forecast", "baseline"], ids=["chunks decoded directly", "WeatherBench 2's order"])
def test_members_are_summed_alike_field_by_field_and_all_at_once(world, store):
    opened = open_forecast(f"{world.folder}/{store}.zarr")
    leads = hours(24, 36)
    together = opened.ensemble("tp24", INIT_TIMES[1].to_datetime64(), leads)
    np.testing.assert_array_equal(together["lead_time"], leads)
    for lead, expected in zip(leads, together.to_numpy(), strict=True):
        out = np.empty((opened.members, GRID.height, GRID.width), np.float32)
        opened.ensemble_into("tp24", INIT_TIMES[1].to_datetime64(), lead, out)
        np.testing.assert_array_equal(out, expected)
    expected = sum_24h(getattr(world, store).sel(time=INIT_TIMES[1]), "prediction_timedelta")
    # Four float32 additions.
    np.testing.assert_allclose(together, [expected[lead] for lead in leads], rtol=1e-6, atol=1e-12)


def test_scores_are_those_of_sums_made_by_hand(world, table):
    truth = sum_24h(world.truth, "time")
    edges = np.sin(np.deg2rad(np.linspace(90, -90, GRID.height + 1)))
    weight = np.broadcast_to((edges[:-1] - edges[1:])[:, None], (GRID.height, GRID.width))
    for system, data in (("ours", world.forecast), ("theirs", world.baseline)):
        for lead in hours(24, 30, 36):
            squared = [
                (sum_24h(data.sel(time=[init]), "prediction_timedelta")[lead][0].mean(axis=0) - truth[init + lead]) ** 2
                for init in INIT_TIMES.to_numpy()
            ]
            expected = np.sqrt(np.average(squared, weights=np.stack([weight] * 2)))
            got = values(table, system, "tp24")[lead / np.timedelta64(1, "h")]
            assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("system", ["ours", "theirs", "climatology", "persistence"])
def test_lead_times_without_a_whole_sum_are_absent_for_all_systems(table, system):
    assert values(table, system, "tp").index.tolist() == [6, 12, 18, 24, 30, 36]
    assert values(table, system, "tp24").index.tolist() == [24, 30, 36]
    assert (table["members"] > 0).all()
    assert (table.loc[table["system"] == "ours", "members"] == 4).all()


def test_a_card_of_sums_alone_begins_with_the_first_whole_one(world):
    data = statistics(world, channels=["tp24"])["ours"]
    np.testing.assert_array_equal(data["lead_time"], hours(24, 30, 36))
    assert (data["members"] == 4).all()


def test_maps_of_a_sum_are_empty_where_it_is_not_whole(world):
    settings = {"scores": ["ensemble", "maps"], "map_lead_hours": [12, 24], "map_degrees": 45.0}
    data = statistics(world, channels=["tp24", "tp"], **settings)
    found = difference_maps([world.folder / "scores-tp24-tp"], data, config(world).verify.significance)[
        "ours", "theirs"
    ]
    known = np.isfinite(found["difference"]).any(["latitude", "longitude"])
    assert known.sel(name="tp24").values.tolist() == [False, True]
    assert known.sel(name="tp").values.tolist() == [True, True]


def test_other_names_do_not_change_beside_a_sum(world):
    alone = statistics(world, channels=["tp"])["ours"]
    beside = statistics(world)["ours"].sel(name=["tp"])
    for sums in alone.data_vars:
        np.testing.assert_array_equal(alone[sums], beside[sums])


def test_a_baseline_with_longer_steps_has_no_sums_and_says_so(rng, tmp_path):
    world = make_world(rng, tmp_path, baseline_leads=hours(12, 24, 36))
    with pytest.raises(StoreError, match=r"no four lead times 6 h apart, of which tp24.*take tp24 out"):
        statistics(world)


def test_a_gap_in_the_lead_times_of_a_baseline_leaves_the_sums_that_are_whole(rng, tmp_path):
    world = make_world(rng, tmp_path, baseline_leads=hours(0, 6, 12, 18, 24, 36))
    table = scorecard(statistics(world))
    assert values(table, "theirs", "tp24").index.tolist() == [24]
    assert values(table, "ours", "tp24").index.tolist() == [24, 30, 36]


def test_lead_time_zero_is_no_part_of_a_sum(rng, tmp_path):
    world = make_world(rng, tmp_path, leads=hours(0, 6, 12, 18, 24))
    assert values(scorecard(statistics(world)), "ours", "tp24").index.tolist() == [24]


def test_a_truth_without_all_parts_drops_the_sum_and_no_other_name(rng, tmp_path):
    times = np.concatenate([pd.date_range(f"{year}-01-01", f"{year}-01-31", freq="6h") for year in (2017, 2018, 2019)])
    gap = np.datetime64("2019-01-10T18", "ns")
    world = make_world(rng, tmp_path, truth=times[times != gap])
    weight = statistics(world)["ours"]["weight"].sel(region="global").fillna(0)
    # The gap is at 18 h of the first and 6 h of the second init time.
    has = {name: (weight.sel(name=name) > 0).to_numpy().tolist() for name in ("tp", "tp24")}
    assert has["tp"] == [[True, True, False, True, True, True], [False, True, True, True, True, True]]
    assert has["tp24"] == [[False] * 6, [False, False, False, False, True, True]]


def test_persistence_without_the_day_before_takes_the_pair_from_all_systems(rng, tmp_path):
    times = np.concatenate([pd.date_range(f"{year}-01-01", f"{year}-01-31", freq="6h") for year in (2017, 2018, 2019)])
    gap = np.datetime64("2019-01-09T12", "ns")
    world = make_world(rng, tmp_path, truth=times[times != gap])
    table = scorecard(statistics(world))
    part = table[(table["score"] == "rmse") & (table["system"] == "ours")]
    assert part.loc[part["name"] == "tp24", "n_init"].unique().tolist() == [1]
    assert part.loc[part["name"] == "tp", "n_init"].unique().tolist() == [2]


def test_no_part_of_a_climatological_sum_is_a_verified_time(world):
    systems, sample = open_systems(config(world), world.forecast_store)
    climatology = systems[2]
    for valid_time in sample.valid_times:
        members = climatology.member_times("tp24", valid_time)
        parts = np.concatenate(parts_of("tp24", members))
        assert not np.isin(parts, sample.valid_times).any()
        assert np.isin(parts, climatology.available.to_numpy()).all()


@pytest.mark.parametrize("changes", [{"steps": 3}, {"steps": 4, "lead_every_hours": 12}])
def test_forecasts_that_cannot_be_summed_are_refused_when_the_run_file_is_read(world, changes):
    plain = config(world).model_dump(mode="json")
    plain["forecast"].update(changes)
    with pytest.raises(ValueError, match=r"tp24.*sums of four lead times 6 h apart"):
        type(make_config(world.folder)).model_validate(plain)


def test_names_that_cannot_be_scored_are_refused_with_those_that_can():
    with pytest.raises(ValueError, match=r"cannot verify \['tp12'\].*ws850.*tp24"):
        make_config("/nowhere", channels=["tp12"])
