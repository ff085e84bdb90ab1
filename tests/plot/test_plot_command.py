"""`fuxi-ens plot` as a user meets it: pictures from a run or a store, defaults, and what is said about mistakes."""

import sys

import numpy as np
import pytest
import xarray as xr
from makers import WRITTEN, make_analysis, make_ensemble, run_values, set_value, times, write_run_file
from PIL import Image

from fuxi_ens.config import load_config
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.plot import chosen as chosen_module
from fuxi_ens.plot.chosen import Wanted, open_chosen, read_place_text
from fuxi_ens.plot.fields import Place, nearest
from fuxi_ens.times import hours
from pipelines.__main__ import main

LEADS = np.arange(1, 9) * np.timedelta64(6, "h")
INIT = np.datetime64("2018-01-02T12", "ns")


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A run whose forecast is there: two init times, 5 members, 8 lead times, truth at all of them."""
    folder = tmp_path_factory.mktemp("world")
    make_analysis(f"{folder}/analysis.zarr", when=times("2018-01-01", "2018-01-08"))
    init_times = times("2018-01-02", "2018-01-02T12", 12)
    for name, seed in (("forecast", 1), ("baseline", 2)):
        (folder / "run").mkdir(exist_ok=True)
        path = folder / "run" / "forecast.zarr" if name == "forecast" else folder / "baseline.zarr"
        make_ensemble(path, channels=WRITTEN, init_times=init_times, lead_times=LEADS, members=5, seed=seed)
    write_run_file(folder, set_value(run_values(folder), "forecast.steps", 8))
    return folder


@pytest.fixture
def plot(monkeypatch, capsys, tmp_path):
    """Run `fuxi-ens plot`; gives exit code and what was said, with pictures below `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fuxi-ens", "plot", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code or 0, capsys.readouterr().err

    return run


@pytest.fixture
def chosen(world):
    return open_chosen(Wanted(store=str(world / "run" / "forecast.zarr"), truth=str(world / "analysis.zarr")))


KINDS = [
    ("map",),
    ("map", "--stamps", "--no-truth", "--members", "3"),
    ("map", "--channel", "tp", "--region", "tropics"),
    ("map", "--channel", "t2m", "--region", "europe"),
    ("spaghetti",),
    ("spaghetti", "--channel", "msl", "--contour", "1010", "--region", "southern-hemisphere"),
    ("probability", "--channel", "t2m", "--threshold", "0", "--below"),
    ("plume", "--channel", "t2m"),
    ("meteogram",),
    ("meteogram", "--place", "Suva, Fiji,-18.1,178.4", "--no-truth"),
]


@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_every_kind_of_picture_of_a_run(plot, world, tmp_path, kind):
    code, said = plot(kind[0], world / "run.yaml", *kind[1:], "--out", tmp_path / "a.png", "--dpi", "50")
    assert code == 0, said
    width, height = size_of(tmp_path / "a.png")
    assert 250 <= width <= 481
    assert 120 < height < 900


def test_a_store_alone_is_enough(plot, world, tmp_path):
    code, said = plot("map", "--store", world / "run" / "forecast.zarr", "--lead", "24", "--dpi", "40")
    assert code == 0, said
    assert [path.name for path in tmp_path.iterdir()] == ["map_z500_2018010212_24h.png"]


def test_without_out_a_picture_goes_to_the_report_folder_of_the_run(plot, world):
    assert plot("probability", world / "run.yaml", "--threshold", "550", "--lead", "6", "--dpi", "40")[0] == 0
    assert (world / "run" / "report" / "probability_z500_2018010212_6h_above_550.png").exists()


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_vector_formats(plot, world, tmp_path, suffix, start):
    out = tmp_path / f"a.{suffix}"
    assert plot("plume", world / "run.yaml", "--out", out)[0] == 0
    assert out.read_bytes().startswith(start)


def test_dots_per_inch_are_those_asked_for(plot, world, tmp_path):
    for dpi in (50, 100):
        assert plot("meteogram", world / "run.yaml", "--out", tmp_path / f"{dpi}.png", "--dpi", dpi)[0] == 0
    small, large = (size_of(tmp_path / f"{dpi}.png") for dpi in (50, 100))
    assert np.allclose(np.array(large) / small, 2.0, atol=0.01)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("map", "--channel", "t2n"), "has no channel 't2n'; did you mean 't2m'? It has z500, "),
        (("map", "--channel", "q700"), "has no channel 'q700'"),
        (("map", "--init", "2018-01-05"), "it has 2, 2018-01-02T00:00, 2018-01-02T12:00"),
        (("map", "--lead", "7"), "has no lead time of 7 h; it has 6, 12, ... 48 h"),
        (("map", "--members", "9"), "has 5 members, 9 were asked for"),
        (("map", "--members", "1"), "a spread needs two or more"),
        (("map", "--region", "atlantis"), "no region 'atlantis'; it can be one of global, tropics"),
        (("map", "--out", "a.jpg"), "use one of the suffixes .svg, .png, .pdf"),
        (("spaghetti", "--contour", "900"), "no member has a contour at 900 dam: z500 goes from"),
        (("plume", "--place", "Berlin"), "'Berlin' is no place; write NAME,LAT,LON"),
        (("plume", "--place", "Nowhere,95,10"), "is not on Earth"),
        (("meteogram", "--channel", "tpp"), "did you mean 'tp'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_mistakes_are_told_with_the_remedy_and_leave_nothing(plot, world, tmp_path, arguments, told):
    code, said = plot(arguments[0], world / "run.yaml", *arguments[1:])
    assert (code, said.startswith("error: ")) == (1, True), said
    assert told in said
    assert list(tmp_path.iterdir()) == []


def test_nothing_named_at_all(plot, world):
    assert "nothing to draw; name a run's CONFIG" in plot("map")[1]
    code, said = plot("plume", "--store", world / "run" / "forecast.zarr")
    assert (code, "no place given" in said) == (1, True)


def test_wrong_usage(plot, world):
    assert plot("probability", world / "run.yaml")[0] == 2
    assert plot("map", "--set", "run.seed=3", "--store", "x")[0] == 2


def test_a_snapshot_is_what_the_store_holds(chosen, world):
    shown = chosen.snapshot("ws10m", None, 30)
    assert (shown.system, shown.init_time, shown.lead_time) == ("forecast", INIT, hours(30))
    stored = xr.open_zarr(world / "run" / "forecast.zarr").sel(time=INIT, prediction_timedelta=hours(30))
    speed = np.hypot(stored["10m_u_component_of_wind"], stored["10m_v_component_of_wind"])
    speed = speed.sortby("latitude", ascending=False).transpose("number", "latitude", "longitude")
    np.testing.assert_allclose(shown.members, speed, rtol=1e-6)
    truth = xr.open_zarr(world / "analysis.zarr").sel(time=INIT + hours(30))
    speed = np.hypot(truth["10m_u_component_of_wind"], truth["10m_v_component_of_wind"])
    np.testing.assert_allclose(shown.truth, speed, rtol=1e-6)


def test_a_series_is_the_nearest_grid_point_at_all_lead_times(chosen, world):
    case = chosen.forecast.series("t2m", INIT, Place("Suva", -18.1, -181.6))
    stored = xr.open_zarr(world / "run" / "forecast.zarr")["2m_temperature"].sel(time=INIT)
    # 8 rows of 22.5 degrees, 16 columns from 0: the row at -11.25, the column at 180.
    point = stored.sel(latitude=-11.25, longitude=180.0).transpose("prediction_timedelta", "number")
    np.testing.assert_array_equal(case.forecast.squeeze().transpose("lead_time", "number"), point)
    assert case.truth["valid_time"].to_numpy().tolist() == (INIT + LEADS).astype("datetime64[ns]").tolist()
    analysis = xr.open_zarr(world / "analysis.zarr")["2m_temperature"].sel(latitude=-11.25, longitude=180.0)
    np.testing.assert_array_equal(case.truth.squeeze(), analysis.sel(time=INIT + LEADS))


def test_the_first_members_only(chosen):
    fewer = chosen.forecast.with_members(2)
    everything = chosen.forecast.snapshot("z500", INIT, hours(6)).members
    np.testing.assert_array_equal(fewer.snapshot("z500", INIT, hours(6)).members, everything[:2])


@pytest.mark.parametrize("control", [0, 2])
def test_the_control_member_is_read_apart(world, tmp_path, control):
    stored = xr.open_zarr(world / "run" / "forecast.zarr").load().drop_encoding()
    stored.assign_attrs(control_member=control).to_zarr(tmp_path / "c.zarr", zarr_format=2)
    plain = open_chosen(Wanted(store=str(world / "run" / "forecast.zarr"))).forecast
    found = open_chosen(Wanted(store=str(tmp_path / "c.zarr"))).forecast
    others = [number for number in range(plain.store.members) if number != control]
    everything, shown = (one.snapshot("ws10m", INIT, hours(6)) for one in (plain, found))
    np.testing.assert_array_equal(shown.control, everything.members[control])
    np.testing.assert_array_equal(shown.members, everything.members[others])
    assert shown.members["number"].to_numpy().tolist() == others
    place = Place("x", 0, 0)
    everything, series = (one.series("t2m", INIT, place) for one in (plain, found))
    np.testing.assert_array_equal(
        series.control, everything.forecast.isel(number=control).transpose(*series.control.dims)
    )
    np.testing.assert_array_equal(series.forecast, everything.forecast.isel(number=others))
    # The first member means the first besides it.
    fewer = found.with_members(1).snapshot("ws10m", INIT, hours(6))
    np.testing.assert_array_equal(fewer.control, shown.control)
    np.testing.assert_array_equal(fewer.members, shown.members[:1])
    with pytest.raises(UserError, match=f"has {len(others)} members"):
        found.with_members(len(others) + 1)


def test_a_forecast_beyond_the_truth_is_drawn_without_one(world, tmp_path):
    make_analysis(tmp_path / "short.zarr", when=times("2018-01-01", "2018-01-03"))
    chosen = open_chosen(Wanted(store=str(world / "run" / "forecast.zarr"), truth=str(tmp_path / "short.zarr")))
    assert chosen.snapshot("z500", INIT, 12).truth is not None
    assert chosen.snapshot("z500", INIT, 18).truth is None
    assert chosen.forecast.series("z500", INIT, Place("x", 0, 0)).truth.sizes["valid_time"] == 2


def test_a_plume_has_the_baseline_of_the_config_unless_it_is_alone(world):
    config = load_config(world / "run.yaml", [])
    place = Place("x", 0, 0)
    case = open_chosen(Wanted(config, with_baseline=True)).forecast.series("t2m", INIT, place)
    stored = xr.open_zarr(world / "baseline.zarr")["2m_temperature"].sel(time=INIT, latitude=11.25, longitude=0.0)
    np.testing.assert_array_equal(case.baseline.squeeze(), stored.transpose("prediction_timedelta", "number"))
    alone = open_chosen(Wanted(config, with_baseline=True, alone=True)).forecast.series("t2m", INIT, place)
    assert (alone.baseline, alone.truth.sizes["valid_time"]) == (None, 0)


def test_a_truth_on_another_grid_is_refused(world, tmp_path):
    make_analysis(tmp_path / "fine.zarr", when=times("2018-01-01", "2018-01-08"), height=16, width=32)
    chosen = open_chosen(Wanted(store=str(world / "run" / "forecast.zarr"), truth=str(tmp_path / "fine.zarr")))
    with pytest.raises(UserError, match="--no-truth"):
        chosen.snapshot("z500", INIT, 12)


def test_members_that_are_not_written_are_refused(world, tmp_path):
    stored = xr.open_zarr(world / "run" / "forecast.zarr").load()
    stored["geopotential"][{"number": 3, "time": 1}] = np.nan
    stored.drop_encoding().to_zarr(tmp_path / "part.zarr", zarr_format=2)
    chosen = open_chosen(Wanted(store=str(tmp_path / "part.zarr")))
    with pytest.raises(StoreError, match="1 of 5 members of z500 from 2018-01-02T12:00"):
        chosen.snapshot("z500", INIT, 12)
    assert chosen.snapshot("t2m", INIT, 12).members.notnull().all()


def test_a_sea_temperature_may_be_missing_over_land(tmp_path):
    make_ensemble(tmp_path / "sst.zarr", channels=("sst",), init_times=[INIT], lead_times=LEADS[:2])
    chosen = open_chosen(Wanted(store=str(tmp_path / "sst.zarr")))
    assert chosen.snapshot("sst", INIT, 12).members.isnull().any()


def test_places():
    assert read_place_text("Suva, Fiji,-18.1,178.4") == Place("Suva, Fiji", -18.1, 178.4)
    assert Place("Suva, Fiji", -18.1, 178.4).slug == "suva--fiji"
    for text in ("Berlin,52.5", "Berlin,north,13", ""):
        with pytest.raises(UserError, match="is no place"):
            read_place_text(text)


def test_a_place_outside_a_regional_grid(chosen):
    stored = chosen.forecast.store.dataset.isel(latitude=slice(0, 3))
    near, far = Place("near", 30.0, 0.0), Place("far", -50.0, 0.0)
    assert float(nearest(stored, near)["latitude"][0]) == 33.75
    with pytest.raises(UserError, match="far .* lies outside the grid, whose latitude goes from 33.75 to 78.75"):
        nearest(stored, far)


def test_only_one_field_is_read_for_a_map_and_one_point_for_a_series(world, monkeypatch):
    """Values in the arrays that stores give, whatever they read: bounded by a field of all members, or a series."""
    sizes = []
    whole = chosen_module.open_forecast

    def watched(source):
        store = whole(source)
        read = type(store).ensemble

        def ensemble(self, *arguments):
            found = read(self, *arguments)
            sizes.append(found.size)
            return found

        monkeypatch.setattr(type(store), "ensemble", ensemble)
        return store

    monkeypatch.setattr(chosen_module, "open_forecast", watched)
    chosen = open_chosen(Wanted(store=str(world / "run" / "forecast.zarr")))
    chosen.snapshot("z500", INIT, 12)
    chosen.forecast.series("z500", INIT, Place("x", 0, 0))
    assert sizes == [5 * 8 * 16, 5 * 8]
