"""Files as they come from archives, in excerpts: GRIB, NetCDF and Zarr of ECMWF, NCEP and the Climate Data Store."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from makers import analysis_dataset, times

from fuxi_ens.errors import StoreError
from fuxi_ens.stores import Fields, open_store
from fuxi_ens.stores.valid_time import with_valid_time

eccodes = pytest.importorskip("eccodes", reason="the extra grib is not installed")

REAL = Path(__file__).parents[1] / "data" / "real"


def opened(name, **options):
    return open_store(str(REAL / name), **options).dataset


def messages(name, **wanted):
    """The messages of a GRIB file with these keys as (keys, values [latitude, longitude]), by ecCodes alone."""
    keys = ("cfVarName", "level", "number", "dataDate", "dataTime", "endStep")
    with (REAL / name).open("rb") as file:
        while (handle := eccodes.codes_grib_new_from_file(file)) is not None:
            if all(eccodes.codes_get(handle, key) == value for key, value in wanted.items()):
                shape = (eccodes.codes_get(handle, "Nj"), eccodes.codes_get(handle, "Ni"))
                found = {key: eccodes.codes_get(handle, key) for key in keys if eccodes.codes_is_defined(handle, key)}
                yield found, eccodes.codes_get_values(handle).reshape(shape)
            eccodes.codes_release(handle)


# Area means and extremes are loose bounds of climate; they catch a wrong unit, level or name.
PLAUSIBLE = {
    "geopotential_at_surface": (-2000, 60000, 1000, 6000),
    "land_sea_mask": (0, 1, 0.25, 0.45),
    "2m_temperature": (190, 325, 270, 290),
    "2m_dewpoint_temperature": (210, 300, 240, 275),
    "10m_u_component_of_wind": (-40, 40, -3, 3),
    "10m_v_component_of_wind": (-40, 40, -3, 3),
    "mean_sea_level_pressure": (92000, 107000, 100000, 102000),
    "total_precipitation": (0, 0.2, 1e-4, 3e-3),
}
LEVELS = {
    ("temperature", 500): (215, 280, 245, 260),
    ("temperature", 850): (225, 312, 262, 280),
    ("geopotential", 500): (45000, 60000, 53000, 57000),
    ("geopotential", 850): (8000, 16500, 12000, 15000),
}


@pytest.mark.parametrize(
    "name", sorted(p.name for p in REAL.iterdir() if p.suffix in {".nc", ".grb", ".grib", ".grib2"})
)
def test_real_files_are_plausible_and_oriented(name):
    dataset = opened(name)
    assert np.all(np.diff(dataset["latitude"]) < 0)
    assert np.all(np.diff(dataset["longitude"]) > 0)
    checked = 0
    for short, array in dataset.data_vars.items():
        for level in array["level"].values.tolist() if "level" in array.dims else [None]:
            field = array if level is None else array.sel(level=level)
            bounds = PLAUSIBLE.get(short) if level is None else LEVELS[short, level]
            low, high, least_mean, greatest_mean = bounds
            assert low <= float(field.min()) <= float(field.max()) <= high, (short, level)
            if name not in {"ens_50.grib"}:
                assert least_mean <= float(field.mean()) <= greatest_mean, (short, level)
            checked += 1
    assert checked == sum(a.sizes.get("level", 1) for a in dataset.data_vars.values()) > 0


@pytest.mark.parametrize("name", ["gfs.grb", "gfs.grib2", "era5_tl31.nc", "era5_test4.nc", "era5_eda.grib", "ifs.grib"])
def test_it_is_colder_at_the_poles_and_higher_above(name):
    dataset = opened(name)
    zonal = (
        dataset["temperature"]
        .sel(level=500)
        .mean([d for d in dataset["temperature"].dims if d[:3] not in ("lat", "lev")])
    )
    tropics = np.abs(dataset["latitude"].values) < 20
    assert float(zonal.values[tropics].min()) > float(zonal.values[[0, -1]].max()) + 10
    if "geopotential" in dataset and dataset.sizes["level"] == 2:
        height = dataset["geopotential"].sel(level=[850, 500])
        assert bool((height.diff("level") > 30000).all())


def test_gfs_hypercubes_are_merged_by_what_they_are():
    for name, valid in (("gfs.grb", "2011-10-11T00"), ("gfs.grib2", "2011-01-15T12")):
        dataset = opened(name)
        assert set(dataset.data_vars) == {
            "geopotential", "temperature", "geopotential_at_surface", "2m_temperature", "10m_u_component_of_wind",
            "total_precipitation", "land_sea_mask", "mean_sea_level_pressure",
        }  # fmt: skip
        assert dataset["time"].values == [np.datetime64(valid, "ns")]
        # Temperatures of the tropopause, of the ground and of flight levels lie in the file as well.
        for level in (500, 850):
            ((_, t),) = messages(name, cfVarName="t", level=level, typeOfLevel="isobaricInhPa")
            ((_, gh),) = messages(name, cfVarName="gh", level=level, typeOfLevel="isobaricInhPa")
            np.testing.assert_allclose(dataset["temperature"].sel(level=level).squeeze(), t, rtol=1e-6)
            np.testing.assert_allclose(dataset["geopotential"].sel(level=level).squeeze(), gh * 9.80665, rtol=1e-6)
        ((_, rain),) = messages(name, cfVarName="tp")
        np.testing.assert_allclose(dataset["total_precipitation"].squeeze(), rain / 1000.0, rtol=1e-6)
        ((_, height),) = messages(name, cfVarName="orog")
        np.testing.assert_allclose(dataset["geopotential_at_surface"].squeeze(), height * 9.80665, rtol=1e-5, atol=0.1)


def test_the_ten_members_of_the_data_assimilation():
    dataset = opened("era5_eda.grib")
    assert dataset["number"].values.tolist() == list(range(10))
    np.testing.assert_array_equal(dataset["time"].values, times("2017-01-01", "2017-01-01T12", 12))
    assert "prediction_timedelta" not in dataset.dims
    for keys, values in messages("era5_eda.grib", cfVarName="z"):
        when = np.datetime64("2017-01-01") + np.timedelta64(keys["dataTime"] // 100, "h")
        got = dataset["geopotential"].sel(number=keys["number"], time=when, level=500)
        np.testing.assert_allclose(got.transpose("latitude", "longitude").values, values, rtol=1e-6)
    spread = float(dataset["geopotential"].std("number", ddof=1).mean())
    assert 5.0 < spread < 40.0


def test_steps_of_a_forecast_become_valid_times():
    dataset = opened("ifs.grib")
    np.testing.assert_array_equal(dataset["time"].values, times("2024-06-03", "2024-06-04T18"))
    seen = set()
    for keys, values in messages("ifs.grib", cfVarName="t", level=850):
        start = np.datetime64(f"{str(keys['dataDate'])[:4]}-{str(keys['dataDate'])[4:6]}-{str(keys['dataDate'])[6:]}")
        when = start + np.timedelta64(keys["dataTime"] // 100 + keys["endStep"], "h")
        got = dataset["temperature"].sel(time=when, level=850).transpose("latitude", "longitude")
        np.testing.assert_allclose(got.values, values, rtol=1e-6)
        seen.add(when)
    assert len(seen) == 8
    assert not dataset["temperature"].variable._in_memory


def test_an_ensemble_keeps_init_and_lead_time_and_has_its_control():
    dataset = opened("ens_50.grib")
    assert dataset["number"].values.tolist() == list(range(51))
    assert dataset["prediction_timedelta"].values == [np.timedelta64(78, "h")]
    assert dataset["time"].values == [np.datetime64("2013-10-25", "ns")]
    ((_, control),) = messages("ens_50.grib", number=0)
    np.testing.assert_allclose(dataset["geopotential"].sel(number=0).squeeze().values, control, rtol=1e-6)


def test_grib_and_packed_netcdf_of_one_field_agree():
    grib, netcdf = opened("era5_test4.grib"), opened("era5_test4.nc")
    np.testing.assert_array_equal(grib["time"].values, netcdf["time"].values)
    with xr.open_dataset(REAL / "era5_test4.nc", engine="scipy", decode_cf=False) as raw:
        for name, short in (("geopotential", "z"), ("temperature", "t")):
            for level in (500, 850):
                step = raw[short].attrs["scale_factor"]
                by_hand = raw[short].sel(level=level).squeeze().values * step + raw[short].attrs["add_offset"]
                unpacked = netcdf[name].sel(level=level).squeeze().values
                np.testing.assert_allclose(unpacked, by_hand, rtol=1e-12)
                np.testing.assert_allclose(
                    grib[name].sel(level=level).squeeze().values, unpacked, atol=0.51 * step + 0.01
                )


def test_numbers_in_metadata_give_the_same_field_in_two_archives():
    coarse, fine = opened("constants_5.625deg.nc"), opened("era5_terrain.nc")
    there = (
        fine["geopotential_at_surface"]
        .squeeze()
        .sel(latitude=coarse["latitude"], longitude=coarse["longitude"], method="nearest")
    )
    assert np.corrcoef(coarse["geopotential_at_surface"].values.ravel(), there.values.ravel())[0, 1] > 0.9


def test_a_real_zarr_store_of_format_2_with_packed_integers():
    store = open_store(str(REAL / "ncep_air.zarr"))
    air = store.dataset["air"]
    assert store.arrays["air"].scale == 0.01
    assert (air.sizes["time"], air.sizes["latitude"], air.sizes["longitude"]) == (8, 25, 53)
    np.testing.assert_array_equal(air["time"].values, times("2013-01-01", "2013-01-02T18"))
    # The numbers of xarray's own tutorial, air_temperature.
    assert float(air[0, 0, 0]) == pytest.approx(241.2, abs=1e-4)
    assert float(air[0].mean()) == pytest.approx(274.17, abs=0.05)


def test_metadata_without_chunks_are_all_missing_not_zero():
    store = open_store(str(REAL / "era5_schema.zarr"))
    assert store.dataset["2m_dewpoint_temperature"].shape == (24, 721, 1440)
    assert store.arrays["2m_dewpoint_temperature"].missing == (-32767.0,)
    assert np.isnan(store.dataset["2m_dewpoint_temperature"][0, :4, :4]).all()


def test_fields_read_files_too():
    fields = Fields(open_store(str(REAL / "era5_test4.nc")), ("z500", "t850"))
    ((_, z),) = messages("era5_test4.grib", cfVarName="z", level=500)
    got = fields.read([0])
    np.testing.assert_allclose(got[0, 0], z, atol=1.0)
    assert fields.stored_bytes([0]).tolist() == [[-1, -1]]


def test_nothing_is_written_beside_a_grib_file(tmp_path):
    shutil.copy(REAL / "ifs.grib", tmp_path)
    open_store(str(tmp_path / "ifs.grib")).dataset.load()
    assert [p.name for p in tmp_path.iterdir()] == ["ifs.grib"]


@pytest.mark.parametrize("name", ["ifs.grib", "era5_test4.nc", "era5_hourly.nc", "ncep_air.zarr"])
def test_an_open_store_travels_to_other_processes(name):
    store = open_store(str(REAL / name))
    xr.testing.assert_identical(pickle.loads(pickle.dumps(store)).dataset.load(), store.dataset.load())


class TestSeveralFiles:
    @pytest.fixture
    def whole(self):
        return analysis_dataset(("z500", "t2m", "msl"), times("2018-01-01", "2018-01-03"), static=False)

    @pytest.mark.parametrize("engine", ["scipy", "h5netcdf"])
    def test_a_pattern_joins_times_and_variables(self, tmp_path, whole, engine):
        for number, part in enumerate((slice(0, 4), slice(4, 9))):
            for name, short in (("geopotential", "z"), ("2m_temperature", "t2m"), ("mean_sea_level_pressure", "msl")):
                piece = whole[[name]].isel(time=part).rename({name: short, "time": "valid_time"})
                piece.to_netcdf(tmp_path / f"{short}_{number}.nc", engine=engine)
        dataset = open_store(f"{tmp_path}/*.nc").dataset
        assert set(dataset.data_vars) == set(whole.data_vars)
        for name, array in whole.data_vars.items():
            np.testing.assert_array_equal(dataset[name].transpose(*array.dims).values, array.values)
        assert dataset["geopotential"].chunks is not None

    def test_grids_that_do_not_fit_are_refused(self, tmp_path, whole):
        whole.isel(time=slice(0, 4)).to_netcdf(tmp_path / "a.nc", engine="scipy")
        other = whole.isel(time=slice(2, 9))
        other.to_netcdf(tmp_path / "b.nc", engine="scipy")
        with pytest.raises(StoreError, match="do not fit together"):
            open_store(f"{tmp_path}/*.nc")


class TestValidTime:
    def forecast(self, steps, members=1):
        starts = times("2018-01-01T06", "2018-01-02T18", 12)
        shape = (len(starts), len(steps), members)
        values = np.arange(np.prod(shape)).reshape(shape)
        spans = np.asarray(steps).astype("m8[h]").astype("m8[ns]")
        coords = {"time": starts, "prediction_timedelta": spans, "number": range(members)}
        return xr.Dataset({"tp": (tuple(coords), values)}, coords)

    @pytest.mark.parametrize("steps", [[0], [3], [1, 2, 3], list(range(1, 13))])
    def test_each_valid_time_has_its_field(self, steps):
        forecast = self.forecast(steps)
        joined = with_valid_time(forecast)
        assert joined["tp"].dims == ("time",)
        wanted = {t + s: forecast["tp"].sel(time=t, prediction_timedelta=s).item()
                  for t in forecast["time"].values for s in forecast["prediction_timedelta"].values}  # fmt: skip
        assert joined["time"].values.tolist() == sorted(np.array(list(wanted)).tolist())
        assert [wanted[t] for t in joined["time"].values] == joined["tp"].values.tolist()

    def test_one_run_of_many_steps(self):
        joined = with_valid_time(self.forecast([0, 6, 12]).isel(time=[1]))
        np.testing.assert_array_equal(joined["time"].values, times("2018-01-01T18", "2018-01-02T06"))

    @pytest.mark.parametrize(("steps", "members"), [([0, 12], 1), ([0, 6], 3), ([6], 3)])
    def test_what_overlaps_and_what_is_an_ensemble_stays_a_forecast(self, steps, members):
        assert "prediction_timedelta" in with_valid_time(self.forecast(steps, members)).dims


class TestRefusals:
    def test_a_grib_file_cut_short(self, tmp_path):
        whole = (REAL / "era5_eda.grib").read_bytes()
        (tmp_path / "a.grib").write_bytes(whole[: len(whole) * 2 // 3])
        with pytest.raises(StoreError, match=r"cannot read .*a\.grib.*cut short, fetch it again"):
            open_store(str(tmp_path / "a.grib"))

    @pytest.mark.parametrize("name", ["era5_test4.nc", "era5_hourly.nc"])
    def test_a_netcdf_file_cut_short(self, tmp_path, name):
        (tmp_path / name).write_bytes((REAL / name).read_bytes()[:500])
        with pytest.raises(StoreError, match="cut short, fetch it again"):
            open_store(str(tmp_path / name))

    def test_a_grib_file_without_anything_we_know(self, tmp_path):
        with (REAL / "gfs.grb").open("rb") as file, (tmp_path / "a.grb").open("wb") as out:
            while (handle := eccodes.codes_grib_new_from_file(file)) is not None:
                if eccodes.codes_get(handle, "typeOfLevel") == "tropopause":
                    eccodes.codes_write(handle, out)
                eccodes.codes_release(handle)
        with pytest.raises(StoreError, match="no variable that is known here, only .*t on tropopause"):
            open_store(str(tmp_path / "a.grb"))

    def test_a_zip_archive_of_the_climate_data_store(self, tmp_path):
        (tmp_path / "download.nc").write_bytes(b"PK\x03\x04 and so on")
        with pytest.raises(StoreError, match="zip archive; unpack it"):
            open_store(str(tmp_path / "download.nc"))

    def test_a_pattern_without_files(self, tmp_path):
        with pytest.raises(StoreError, match="no file matches"):
            open_store(f"{tmp_path}/*.nc")

    def test_an_empty_file_in_a_series_is_named(self, tmp_path):
        shutil.copy(REAL / "era5_test4.nc", tmp_path / "a.nc")
        (tmp_path / "b.nc").touch()
        with pytest.raises(StoreError, match=r"b\.nc'\] are neither NetCDF nor GRIB"):
            open_store(f"{tmp_path}/*.nc")

    def test_final_and_preliminary_analysis_apart(self, tmp_path):
        dims = ("expver", "time", "latitude", "longitude")
        data = xr.Dataset({"t2m": (dims, np.ones((2, 1, 2, 2)))}, {"latitude": [1.0, 0.0], "longitude": [0.0, 1.0]})
        data.to_netcdf(tmp_path / "a.nc", engine="scipy")
        with pytest.raises(StoreError, match="ERA5T.*expver"):
            open_store(str(tmp_path / "a.nc"))

    def test_grib_without_its_library_names_the_extra(self, monkeypatch):
        monkeypatch.delitem(sys.modules, "fuxi_ens.stores.grib", raising=False)
        monkeypatch.setitem(sys.modules, "cfgrib", None)
        with pytest.raises(StoreError, match=r"pip install 'fuxi-ens\[grib\]'"):
            open_store(str(REAL / "ifs.grib"))


def test_a_scalar_time_and_level_become_axes(tmp_path):
    grid = {"latitude": [1.0, 0.0], "longitude": [0.0, 1.0], "time": np.datetime64("2018-01-01", "ns"), "plev": 50000.0}
    data = xr.Dataset({name: (("latitude", "longitude"), np.ones((2, 2))) for name in ("z", "t2m")}, grid)
    data["plev"].attrs["units"] = "Pa"
    data.to_netcdf(tmp_path / "a.nc", engine="scipy")
    dataset = open_store(str(tmp_path / "a.nc")).dataset
    assert dataset["geopotential"].sizes == {"time": 1, "level": 1, "latitude": 2, "longitude": 2}
    assert dataset["2m_temperature"].sizes == {"time": 1, "latitude": 2, "longitude": 2}
    assert dataset["level"].values.tolist() == [500]


@pytest.mark.parametrize(
    "harm",
    [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:900]), lambda path: path.write_bytes(b"x" * 99)],
)
def test_a_grib_file_that_changes_after_it_was_opened_is_named(tmp_path, harm):
    path = tmp_path / "a.grib2"
    shutil.copy(REAL / "aifs_ccsds.grib2", path)
    fields = Fields(open_store(str(path)), ("t500",))
    harm(path)
    with pytest.raises(StoreError, match=r"a\.grib2: cannot read temperature at 2026-03-10T12:00"):
        fields.read([0])


def test_maps_can_be_drawn_after_a_store_was_opened():
    """In a fresh process: ecCodes and pyproj each bring a libproj, and only one order of loading them works."""
    code = (
        "import fuxi_ens.stores, xarray; assert 'cfgrib' in xarray.backends.list_engines();"
        "import cartopy.crs as c; print(c.Robinson().transform_point(10, 20, c.PlateCarree()))"
    )
    result = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("(")
