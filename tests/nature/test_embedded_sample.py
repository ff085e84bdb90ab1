"""The stores that ship with the package, opened as a user would open them."""

import numpy as np
import pytest
import xarray as xr

from fuxi_ens.assets import resolve
from fuxi_ens.nature import embedded, layout, sample

TIME_VARYING = (*layout.UPPER_AIR, *layout.SURFACE, layout.SEA_SURFACE)


@pytest.fixture(scope="module")
def shipped() -> xr.Dataset:
    return xr.open_zarr(resolve(f"asset:nature_run/{embedded.SAMPLE_NAME}")).load()


@pytest.fixture(scope="module")
def baseline() -> xr.Dataset:
    return xr.open_zarr(resolve(f"asset:nature_run/{embedded.BASELINE_NAME}")).load()


def area_mean(field: xr.DataArray) -> float:
    return float(field.weighted(np.cos(np.deg2rad(field["latitude"]))).mean())


def check_grid(store: xr.Dataset) -> None:
    assert store["level"].values.tolist() == [500, 850]
    assert np.issubdtype(store["level"].dtype, np.integer)
    np.testing.assert_allclose(store["latitude"], np.arange(-87.1875, 90.0, 5.625))
    np.testing.assert_allclose(store["longitude"], np.arange(0.0, 360.0, 5.625))


def test_layout_is_that_of_weatherbench(shipped: xr.Dataset) -> None:
    check_grid(shipped)
    assert set(shipped.data_vars) == {*TIME_VARYING, *layout.STATIC}
    for name in layout.UPPER_AIR:
        assert shipped[name].dims == ("time", "level", "longitude", "latitude")
    for name in (*layout.SURFACE, layout.SEA_SURFACE):
        assert shipped[name].dims == ("time", "longitude", "latitude")
    for name in layout.STATIC:
        assert shipped[name].dims == ("longitude", "latitude")
    for name, variable in shipped.data_vars.items():
        assert variable.attrs["units"] == layout.ATTRIBUTES[str(name)]["units"]
    assert shipped.attrs["product"] == "nature run"
    assert "Not a reanalysis" in shipped.attrs["comment"]


def test_spans_have_no_gaps(shipped: xr.Dataset) -> None:
    spans = (*embedded.TRAINING, embedded.VALIDATION_AND_TEST)
    expected = [np.arange(s.first, np.datetime64(s.last) + 1, 6, "datetime64[h]") for s in spans]
    np.testing.assert_array_equal(shipped["time"].values.astype("datetime64[h]"), np.concatenate(expected))


def test_values_are_finite_and_only_land_has_no_sea(shipped: xr.Dataset) -> None:
    for name in (*layout.UPPER_AIR, *layout.SURFACE, *layout.STATIC):
        assert np.isfinite(shipped[name]).all(), name
    land = shipped["land_sea_mask"] >= 0.5
    assert (shipped[layout.SEA_SURFACE].isnull() == land).all()
    assert 0.25 < area_mean(land) < 0.4


def test_values_survive_float32(shipped: xr.Dataset) -> None:
    for name in TIME_VARYING:
        kept = shipped[name].astype(np.float32).astype(np.float64)
        xr.testing.assert_equal(kept, shipped[name].astype(np.float64))


def test_rounding_is_small_against_what_a_model_learns(shipped: xr.Dataset) -> None:
    scales = sample.sample_scales(shipped)
    for name in (*layout.UPPER_AIR, *layout.SURFACE):
        # The attribute holds the larger quantum of the two levels.
        ratio = shipped[name].attrs["largest_rounding_error"] / float(scales[name].max())
        assert 0.01 < ratio <= 1.01 * sample.TENDENCY_FRACTION, name


def test_it_looks_like_an_atmosphere(shipped: xr.Dataset) -> None:
    mean = shipped.mean("time")
    zonal = mean.mean("longitude")
    tropics = zonal.sel(latitude=slice(-10, 10)).mean("latitude")
    for pole in (slice(-90, -70), slice(70, 90)):
        assert (zonal["temperature"].sel(latitude=pole).mean("latitude") < tropics["temperature"] - 15.0).all()
    z500, z850 = (shipped["geopotential"].sel(level=level) for level in (500, 850))
    assert (z500 > z850).all()
    assert 46_000 < float(z500.min()) < float(z500.max()) < 60_000
    assert 8_000 < float(z850.min()) < float(z850.max()) < 17_000
    assert 285.0 < area_mean(mean["2m_temperature"]) < 291.0
    assert 100_500 < area_mean(mean["mean_sea_level_pressure"]) < 102_000
    rain_mm_per_day = 4000.0 * area_mean(mean["total_precipitation_6hr"])
    assert 2.0 < rain_mm_per_day < 4.0
    assert float(shipped["total_precipitation_6hr"].min()) == 0.0
    assert float(shipped["specific_humidity"].min()) >= 0.0
    westerlies = zonal["u_component_of_wind"].sel(level=500, latitude=slice(30, 55))
    assert float(westerlies.mean()) > 8.0
    assert float(shipped[layout.SEA_SURFACE].max()) < 310.0


def test_orientation_places_land_and_mountains(shipped: xr.Dataset) -> None:
    def at(name: str, latitude: float, longitude: float) -> float:
        return float(shipped[name].sel(latitude=latitude, longitude=longitude, method="nearest"))

    assert at("geopotential_at_surface", 33.0, 88.0) > 35_000  # Tibet
    assert at("land_sea_mask", 60.0, 100.0) > 0.9  # Siberia
    assert at("land_sea_mask", -45.0, 230.0) < 0.1  # South Pacific
    assert at("land_sea_mask", -80.0, 90.0) > 0.9  # Antarctica


def test_layout_of_the_baseline(baseline: xr.Dataset) -> None:
    check_grid(baseline)
    leading = ("time", "number", "prediction_timedelta")
    assert set(baseline.data_vars) == {*sample.BASELINE_LEVEL, *layout.SURFACE}
    for name, variable in baseline.data_vars.items():
        assert variable.dims == layout.dimensions(str(name), leading)
        assert variable.attrs["units"] == layout.ATTRIBUTES[str(name)]["units"]
    assert baseline["number"].values.tolist() == list(range(1, 21))
    assert baseline["prediction_timedelta"].dtype.kind == "m"
    days = baseline["prediction_timedelta"].values / np.timedelta64(1, "D")
    assert days.tolist() == list(embedded.LEAD_DAYS)


def test_only_the_documented_levels_of_the_baseline_are_missing(baseline: xr.Dataset) -> None:
    for name in layout.SURFACE:
        assert np.isfinite(baseline[name]).all(), name
    for name, level in sample.BASELINE_LEVEL.items():
        assert np.isfinite(baseline[name].sel(level=level)).all()
        assert baseline[name].drop_sel(level=level).isnull().all()


def test_every_forecast_can_be_verified(shipped: xr.Dataset, baseline: xr.Dataset) -> None:
    valid = baseline["time"] + baseline["prediction_timedelta"]
    assert np.isin(valid.values, shipped["time"].values).all()


def test_the_ensemble_is_calibrated(shipped: xr.Dataset, baseline: xr.Dataset) -> None:
    members = baseline["geopotential"].sel(level=500)
    truth = shipped["geopotential"].sel(level=500).sel(time=members["time"] + members["prediction_timedelta"])
    weight = np.cos(np.deg2rad(members["latitude"]))
    over = ("time", "longitude", "latitude")
    error = np.sqrt(((members.mean("number") - truth) ** 2).weighted(weight).mean(over))
    spread = np.sqrt(members.var("number", ddof=1).weighted(weight).mean(over))
    # Exchangeable members: error of the mean over spread is sqrt(21 / 20), within sampling noise of
    # a few init times.
    ratio = error / spread / np.sqrt(21 / 20)
    assert 0.85 < float(ratio.mean()) < 1.15
    assert (np.diff(spread) > 0)[:7].all()


def test_size_and_number_of_files() -> None:
    total = 0
    for name in (embedded.SAMPLE_NAME, embedded.BASELINE_NAME):
        files = [f for f in embedded.Path(resolve(f"asset:nature_run/{name}")).rglob("*") if f.is_file()]
        assert len(files) < 50
        assert max(f.stat().st_size for f in files) < 3_000_000
        total += sum(f.stat().st_size for f in files)
    assert total <= embedded.LARGEST_TOTAL_BYTES
