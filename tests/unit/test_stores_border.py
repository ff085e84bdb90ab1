"""The border to Zarr stores: whatever the layout on disk, the same values under the same names."""

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from makers import analysis_dataset, make_analysis, make_ensemble, times, write_store

from fuxi_ens.errors import StoreError
from fuxi_ens.stores import names, open_store, orient

WHEN = times("2018-01-01", "2018-01-01T18")


def by_the_rules(stored):
    """What a StoredArray means, step by step; nothing shared with the border or with `Fields`."""
    raw = np.asarray(stored.array[...])
    values = raw.astype(np.float64) * stored.scale + stored.offset
    for number in stored.missing:
        values[raw == number] = np.nan
    if stored.reversed_latitude:
        values = np.flip(values, stored.dims.index("latitude"))
    if stored.longitude_shift:
        values = np.roll(values, -stored.longitude_shift, stored.dims.index("longitude"))
    return xr.DataArray(values, dims=stored.dims)


def assert_same(opened, expected, rtol=0.0, atol=0.0):
    for name, array in expected.data_vars.items():
        got = opened.dataset[name]
        np.testing.assert_allclose(
            got.transpose(*array.dims).values, array.values, rtol=rtol, atol=atol, err_msg=str(name)
        )
        ruled = by_the_rules(opened.arrays[name]).transpose(*array.dims)
        np.testing.assert_allclose(ruled.values, array.values, rtol=rtol, atol=atol, err_msg=str(name))
        assert set(opened.arrays[name].dims) == set(array.dims)


def packed(dataset):
    """Like a CDS file: int16, scale, offset and a number for "no value"."""
    out = dataset.copy()
    encoding = {}
    for name, array in dataset.data_vars.items():
        low, high = float(array.min()), float(array.max())
        scale = (high - low) / 60000 or 1.0
        encoding[name] = {"dtype": "i2", "scale_factor": scale, "add_offset": (high + low) / 2, "_FillValue": -32767}
    return out, encoding


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("longitude_first", [False, True])
@pytest.mark.parametrize("west", [0, 5, 8])
def test_layouts_do_not_matter(tmp_path, zarr_format, ascending, longitude_first, west):
    truth = analysis_dataset(when=WHEN)
    shifted = truth.roll(longitude=west, roll_coords=True)
    degrees = shifted["longitude"].values
    shifted = shifted.assign_coords(longitude=np.where(np.arange(16) < west, degrees - 360.0, degrees))
    path = write_store(
        shifted, tmp_path / "a", ascending=ascending, longitude_first=longitude_first, zarr_format=zarr_format
    )
    opened = open_store(path)
    assert_same(opened, truth)
    for dim in ("latitude", "longitude", "level", "time"):
        np.testing.assert_array_equal(opened.dataset[dim].values, truth[dim].values)
    assert opened.dataset["time"].dtype == "datetime64[ns]"
    assert opened.dataset["level"].dtype == np.int64


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_packed_integers_are_unpacked_and_masked(tmp_path, zarr_format):
    truth = analysis_dataset(when=WHEN)
    dataset, encoding = packed(truth)
    dataset.to_zarr(tmp_path / "a", encoding=encoding, zarr_format=zarr_format, consolidated=zarr_format == 2)
    opened = open_store(str(tmp_path / "a"))
    assert opened.arrays["sea_surface_temperature"].missing == (-32767.0,)
    assert np.isnan(opened.dataset["sea_surface_temperature"]).any()
    for name, array in truth.data_vars.items():
        step = encoding[name]["scale_factor"]
        assert_same(opened, array.to_dataset(), atol=0.51 * step + 1e-6 * abs(float(array.max())))


@pytest.mark.parametrize("dtype", ["f4", "i4"])
def test_zero_is_a_value_even_where_it_fills_absent_chunks(tmp_path, dtype):
    # zarr's own default; xarray alone would turn every zero into NaN.
    group = zarr.open_group(tmp_path / "a", mode="w", zarr_format=2)
    for name, data in (("lat", np.array([10.0, 0.0])), ("lon", np.array([0.0, 10.0, 20.0]))):
        axis = group.create_array(name, shape=data.shape, dtype="f8", fill_value=0.0)
        axis[:] = data
        axis.attrs["_ARRAY_DIMENSIONS"] = [name]
    rain = group.create_array("tp", shape=(2, 3), dtype=dtype, fill_value=0, chunks=(1, 3))
    rain.attrs.update({"_ARRAY_DIMENSIONS": ["lat", "lon"], "units": "m"})
    rain[0] = [0, 3, 0]
    opened = open_store(str(tmp_path / "a"))
    assert opened.arrays["total_precipitation"].missing == ()
    np.testing.assert_array_equal(opened.dataset["total_precipitation"].values, [[0, 3, 0], [0, 0, 0]])
    np.testing.assert_array_equal(opened.dataset["latitude"].values, [10.0, 0.0])


@pytest.mark.parametrize("number", [-9999.0, 9.96921e36])
def test_a_number_for_no_value_is_masked_even_beside_another(tmp_path, number):
    values = np.array([[number, 1.0], [-8888.0, 2.0]], dtype="f4")
    data = xr.Dataset({"sst": (("lat", "lon"), values, {"missing_value": -8888.0})}, {"lat": [1, 0], "lon": [0, 1]})
    data.to_zarr(tmp_path / "a", zarr_format=2, encoding={"sst": {"_FillValue": np.float32(number)}})
    opened = open_store(str(tmp_path / "a"))
    assert set(opened.arrays["sea_surface_temperature"].missing) == {float(np.float32(number)), -8888.0}
    np.testing.assert_array_equal(
        opened.dataset["sea_surface_temperature"].values, np.array([[np.nan, 1.0], [np.nan, 2.0]])
    )


@pytest.mark.parametrize(
    ("name", "units", "stored", "wanted"),
    [
        ("z", "gpm", 5500.0, 5500.0 * 9.80665),
        ("t", "degC", 10.0, 283.15),
        ("t2m", "K", 280.0, 280.0),
        ("msl", "hPa", 1013.25, 101325.0),
        ("tp", "kg m**-2", 5.0, 0.005),
        ("q", "g kg-1", 8.0, 0.008),
        ("ssr", "W h m-2", 1.0, 3600.0),
        ("u10", "knots", 10.0, 5.1444444),
        ("orog", "m", 100.0, 980.665),
        ("lsm", "%", 50.0, 0.5),
        ("t2m", "a unit nobody knows", 280.0, 280.0),
        ("something", "hPa", 3.0, 3.0),
    ],
)
def test_units_become_those_of_the_files(tmp_path, name, units, stored, wanted):
    dims = ("level", "lat", "lon") if name in "ztq" else ("lat", "lon")
    values = np.full((2,) * len(dims), stored, dtype="f4")
    data = xr.Dataset({name: (dims, values, {"units": units})}, {"lat": [1.0, 0.0], "lon": [0.0, 1.0]})
    if "level" in dims:
        data = data.assign_coords(level=("level", [50000.0, 85000.0], {"units": "Pa"}))
    data.to_zarr(tmp_path / "a", zarr_format=2)
    opened = open_store(str(tmp_path / "a"))
    (got,) = opened.dataset.data_vars
    np.testing.assert_allclose(opened.dataset[got].values, wanted, rtol=1e-6)
    np.testing.assert_allclose(by_the_rules(opened.arrays[got]).values, wanted, rtol=1e-6)
    if "level" in dims:
        np.testing.assert_array_equal(opened.dataset["level"].values, [500, 850])


@pytest.mark.parametrize(
    "spelled",
    [
        {"time": "init_time", "prediction_timedelta": "lead_time", "number": "realization"},
        {"time": "forecast_reference_time", "prediction_timedelta": "step", "number": "sample"},
        {"number": "member", "latitude": "lat", "longitude": "lon"},
        {"prediction_timedelta": "forecast_period", "number": "ensemble", "level": "plev"},
    ],
)
def test_forecasts_of_other_archives_have_our_names(tmp_path, spelled):
    leads = np.array([6, 12]).astype("m8[h]").astype("m8[ns]")
    truth = make_ensemble(tmp_path / "a", channels=("z500", "t2m"), init_times=WHEN[:2], lead_times=leads, members=3)
    truth.rename(spelled).drop_encoding().to_zarr(tmp_path / "b", zarr_format=2)
    opened = open_store(str(tmp_path / "b"))
    assert_same(opened, truth)
    np.testing.assert_array_equal(opened.dataset["prediction_timedelta"].values, leads)
    assert opened.dataset["prediction_timedelta"].dtype == "timedelta64[ns]"


def test_short_names_become_long_ones(tmp_path):
    truth = analysis_dataset(("z500", "t2m", "u10m", "sst", "msl"), WHEN)
    short = {"geopotential": "z", "2m_temperature": "t2m", "10m_u_component_of_wind": "u10"}
    short |= {"sea_surface_temperature": "sst", "mean_sea_level_pressure": "msl", "land_sea_mask": "lsm"}
    truth.drop_vars("geopotential_at_surface").rename(short).to_zarr(tmp_path / "a", zarr_format=2)
    assert_same(open_store(str(tmp_path / "a")), truth.drop_vars("geopotential_at_surface"))


def test_z_without_a_level_is_the_orography_and_t_without_one_is_nothing(tmp_path):
    grid = {"lat": [1.0, 0.0], "lon": [0.0, 1.0]}
    data = xr.Dataset({name: (("lat", "lon"), np.ones((2, 2))) for name in ("z", "t")}, grid)
    data.to_zarr(tmp_path / "a", zarr_format=2)
    assert set(open_store(str(tmp_path / "a")).dataset.data_vars) == {"geopotential_at_surface", "t"}


def test_a_name_of_ours_is_not_given_twice():
    data = xr.Dataset({n: ("level", [1.0]) for n in ("geopotential", "z", "t")})
    assert names.variables_of(data) == {"t": "temperature"}


def test_seconds_are_a_span_only_on_the_axis(tmp_path):
    data = xr.Dataset({"mean_wave_period": ("latitude", [8.0, 9.5], {"units": "s"})}, {"latitude": [1.0, 0.0]})
    data.to_zarr(tmp_path / "a", zarr_format=2)
    np.testing.assert_array_equal(open_store(str(tmp_path / "a")).dataset["mean_wave_period"].values, [8.0, 9.5])


def test_nothing_is_read(tmp_path):
    make_analysis(tmp_path / "a.zarr", when=WHEN, ascending=True)
    dataset = open_store(str(tmp_path / "a.zarr")).dataset
    assert dataset.chunks == {}
    assert not any(array.variable._in_memory for array in dataset.data_vars.values())


class TestOrientation:
    @given(st.integers(2, 48), st.integers(0, 47), st.sampled_from([0.0, -180.0, 180.0]), st.booleans())
    def test_rows_and_columns_are_found_again(self, width, start, west, flip):
        grid = np.arange(width) * 360.0 / width
        stored = np.sort((np.roll(grid, start % width) - west) % 360.0 + west)
        latitude = np.linspace(80, -80, 5)[:: -1 if flip else 1]
        place = xr.Dataset(
            {"x": (("latitude", "longitude"), 1000 * np.round(latitude)[:, None] + (stored % 360.0)[None])},
            {"latitude": latitude, "longitude": stored},
        )
        got, how = orient.orient(place, "here")
        np.testing.assert_allclose(got["longitude"].values, grid, atol=1e-9)
        np.testing.assert_array_equal(got["latitude"].values, np.linspace(80, -80, 5))
        np.testing.assert_allclose(got["x"].values, 1000 * np.linspace(80, -80, 5)[:, None] + grid[None], atol=1e-6)
        assert how.reversed_latitude is flip
        by_hand = np.roll(place["x"].values[:: -1 if flip else 1], -how.longitude_shift, axis=1)
        np.testing.assert_array_equal(by_hand, got["x"].values)

    @pytest.mark.parametrize(
        ("stored", "wanted"),
        [
            ([350.0, 355.0, 0.0, 5.0], [-10.0, -5.0, 0.0, 5.0]),
            ([-10.0, -5.0, 0.0, 5.0], [-10.0, -5.0, 0.0, 5.0]),
            ([-108.0, -107.0], [252.0, 253.0]),
            ([200.0, 330.0], [200.0, 330.0]),
            ([0.0, 90.0, 180.0, 270.0, 360.0], [0.0, 90.0, 180.0, 270.0, 360.0]),
            ([7.0], [7.0]),
        ],
    )
    def test_a_region_keeps_its_extent(self, stored, wanted):
        data = xr.Dataset({"x": ("longitude", np.arange(len(stored)))}, {"longitude": stored})
        got, how = orient.orient(data, "here")
        np.testing.assert_allclose(got["longitude"].values, wanted)
        np.testing.assert_array_equal(got["x"].values, data["x"].values)
        assert how.longitude_shift == 0

    @pytest.mark.parametrize("stored", [[30.0, 20.0, 10.0], [0.0, 10.0, 10.0], [0.0, 200.0, 100.0]])
    def test_longitudes_that_do_not_run_east_are_refused(self, stored):
        with pytest.raises(StoreError, match="here: longitude.*eastward"):
            orient.orient(xr.Dataset(coords={"longitude": stored}), "here")

    def test_latitudes_in_disorder_are_refused(self):
        with pytest.raises(StoreError, match="here: latitude.*neither up nor down"):
            orient.orient(xr.Dataset(coords={"latitude": [10.0, 30.0, 20.0]}), "here")


class TestRefusals:
    @pytest.mark.parametrize("store", ["/nowhere/a.zarr", "relative/a.zarr", ""])
    def test_a_store_that_is_not_there_is_one_clear_error(self, store):
        with pytest.raises(StoreError, match=f"cannot open {store} as a Zarr store.*check the path"):
            open_store(store)

    def test_a_folder_that_is_no_store(self, tmp_path):
        (tmp_path / "notes.txt").write_text("nothing")
        with pytest.raises(StoreError, match="as a Zarr store"):
            open_store(str(tmp_path))

    def test_an_empty_group(self, tmp_path):
        zarr.open_group(tmp_path / "a", mode="w", zarr_format=3)
        with pytest.raises(StoreError, match="without arrays; check the path"):
            open_store(str(tmp_path / "a"))

    def test_an_unfinished_training_store_says_how_to_go_on(self, tmp_path):
        make_analysis(tmp_path / "a", when=WHEN)
        zarr.open_group(tmp_path / "a").attrs["fuxi_ens_prepare"] = "unfinished"
        zarr.consolidate_metadata(str(tmp_path / "a"))
        with pytest.raises(StoreError, match="isn't finished; run `fuxi-ens data prepare CONFIG` again"):
            open_store(str(tmp_path / "a"))

    def test_a_unit_of_time_that_is_none(self, tmp_path):
        data = xr.Dataset({"x": ("time", [1.0])}, {"time": ("time", [3], {"units": "fortnights since yesterday"})})
        data.to_zarr(tmp_path / "a.zarr", zarr_format=2)
        with pytest.raises(StoreError, match="times cannot be read"):
            open_store(str(tmp_path / "a.zarr"))

    def test_damaged_metadata(self, tmp_path):
        make_analysis(tmp_path / "a", when=WHEN)
        (tmp_path / "a" / ".zmetadata").write_text('{"metadata": {')
        with pytest.raises(StoreError, match="cannot open"):
            open_store(str(tmp_path / "a"))


def test_forty_years_of_hours_and_273_variables_open_without_a_chunk_being_read(tmp_path):
    hours, grid = 350_640, {"latitude": np.linspace(90, -90, 721), "longitude": np.arange(1440) * 0.25}
    axes = {"time": np.arange(hours), "level": np.arange(1, 38), **grid}
    group = zarr.open_group(tmp_path / "a", mode="w", zarr_format=2)
    for name, values in axes.items():
        array = group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=values.shape)
        array[:] = values
        array.attrs["_ARRAY_DIMENSIONS"] = [name]
    group["time"].attrs["units"] = "hours since 1940-01-01"
    for number in range(273):
        dims = ["time", "level", *grid] if number < 10 else ["time", *grid]
        shape = tuple(len(axes[dim]) for dim in dims)
        array = group.create_array(f"v{number}", shape=shape, dtype="f4", chunks=(1, *shape[1:]))
        array.attrs.update({"_ARRAY_DIMENSIONS": dims, "units": "K"})
    zarr.consolidate_metadata(str(tmp_path / "a"))
    # No field has a chunk, so that reading one would give fill values; the axes are all that is there.
    opened = open_store(str(tmp_path / "a"))
    assert not any(array.variable._in_memory for array in opened.dataset.data_vars.values())
    assert opened.dataset["time"].values[-1] == np.datetime64("1979-12-31T23", "ns")
    assert len(opened.arrays) == 277
