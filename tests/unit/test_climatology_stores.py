"""Reading climatologies: WeatherBench 2's own layout, what is looked up, what is refused."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.stores.climatology import array_name, open_climatology

GRID = LatLonGrid(4, 8)
LEVELS = [500, 850]


def weatherbench(days=366):
    """Means only, south to north, longitude first, single-precision axes; a value says where it belongs."""
    hour, day = np.arange(0, 24, 6), np.arange(1, days + 1)
    surface = (
        1000.0 * hour[:, None, None, None] + day[:, None, None] + 0.01 * GRID.latitude + 0 * GRID.longitude[:, None]
    )
    upper = surface[:, :, None] + 1e5 * np.array([0, 1])[:, None, None]
    return xr.Dataset(
        {
            "2m_temperature": (("hour", "dayofyear", "longitude", "latitude"), surface.astype("f4")),
            "10m_wind_speed": (("hour", "dayofyear", "longitude", "latitude"), surface.astype("f4")),
            "geopotential": (("hour", "dayofyear", "level", "longitude", "latitude"), upper.astype("f4")),
        },
        coords={
            "hour": hour,
            "dayofyear": day,
            "level": LEVELS,
            "latitude": GRID.latitude.astype("f4"),
            "longitude": GRID.longitude.astype("f4"),
        },
    ).isel(latitude=slice(None, None, -1))


@pytest.fixture
def theirs(tmp_path):
    weatherbench().to_zarr(tmp_path / "theirs.zarr", zarr_format=2, consolidated=True)
    return open_climatology(str(tmp_path / "theirs.zarr"))


WHEN = np.array(["2020-03-01T06", "2021-03-01T18", "2020-12-31", "2020-03-01T06"], "datetime64[ns]")


@pytest.mark.parametrize(("name", "offset"), [("t2m", 0.0), ("ws10m", 0.0), ("z500", 0.0), ("z850", 1e5)])
def test_the_field_is_that_of_the_day_of_the_year_and_hour(theirs, name, offset):
    fields = theirs.mean(name, WHEN)
    index = pd.DatetimeIndex(WHEN)
    wanted = offset + 1000.0 * index.hour.to_numpy() + index.day_of_year.to_numpy()
    wanted = wanted[:, None, None] + 0.01 * GRID.latitude[:, None] + 0 * GRID.longitude
    assert fields.dtype == np.float32
    np.testing.assert_allclose(fields, wanted, atol=2e-2 if offset else 1e-3)
    assert index.day_of_year.tolist()[:2] == [61, 60]


def test_a_statistic_that_is_not_there_names_itself_and_the_remedy(theirs):
    with pytest.raises(StoreError, match=r"no 2m_temperature_std .*fuxi-ens data climatology"):
        theirs.std("t2m", WHEN)
    with pytest.raises(StoreError, match="no geopotential_quantile"):
        theirs.quantile("z500", 0.9, WHEN)
    with pytest.raises(StoreError, match="no mean_sea_level_pressure"):
        theirs.mean("msl", WHEN)


def test_a_level_that_is_not_there_is_named(theirs):
    with pytest.raises(StoreError, match=r"levels \[500, 850\], not at 700 hPa"):
        theirs.mean("z700", WHEN)


@pytest.mark.parametrize("when", ["2020-03-01T03", "2020-03-01T06:30"])
def test_hours_between_those_of_the_store_are_refused(theirs, when):
    with pytest.raises(StoreError, match=r"is for the hours \[0, 6, 12, 18\], not for 2020-03-01T0"):
        theirs.mean("t2m", np.array([when], "datetime64[ns]"))


def test_a_quantile_between_those_of_the_store_is_refused(tmp_path):
    dataset = weatherbench()
    dataset["2m_temperature_quantile"] = dataset["2m_temperature"].expand_dims(quantile=[0.1, 0.9])
    dataset.to_zarr(tmp_path / "q.zarr", zarr_format=2, consolidated=True)
    opened = open_climatology(str(tmp_path / "q.zarr"))
    np.testing.assert_array_equal(opened.quantile("t2m", 0.9, WHEN), opened.mean("t2m", WHEN))
    with pytest.raises(StoreError, match=r"quantiles \[0.1, 0.9\], not 0.95"):
        opened.quantile("t2m", 0.95, WHEN)


def test_a_damaged_chunk_is_named(tmp_path):
    weatherbench().to_zarr(tmp_path / "damaged.zarr", zarr_format=2, consolidated=True)
    for chunk in (tmp_path / "damaged.zarr" / "2m_temperature").glob("[0-9]*"):
        chunk.write_bytes(chunk.read_bytes()[:40])
    with pytest.raises(StoreError, match=r"damaged.zarr: cannot read 2m_temperature for day 61, 06 UTC"):
        open_climatology(str(tmp_path / "damaged.zarr")).mean("t2m", WHEN[:1])


def test_an_analysis_is_no_climatology(tmp_path):
    weatherbench().rename(dayofyear="time", hour="number").to_zarr(tmp_path / "a.zarr", zarr_format=2)
    with pytest.raises(StoreError, match=r"lacks the dimensions \['dayofyear', 'hour'\]"):
        open_climatology(str(tmp_path / "a.zarr"))


def test_a_year_without_day_366_is_refused(tmp_path):
    weatherbench(365).to_zarr(tmp_path / "short.zarr", zarr_format=2, consolidated=True)
    with pytest.raises(StoreError, match="365 days of the year, expected 1 to 366"):
        open_climatology(str(tmp_path / "short.zarr"))


def test_names_are_those_of_weatherbench():
    assert array_name("z500") == "geopotential"
    assert array_name("tp", "std") == "total_precipitation_6hr_std"
    assert array_name("ws10m", "quantile") == "10m_wind_speed_quantile"
    assert array_name("ws100m") == "100m_wind_speed"
    assert array_name("ws850", "std") == "wind_speed_std"
    assert array_name("tp24") == "total_precipitation_24hr"
    assert array_name("tp24", "dry_fraction") == "total_precipitation_24hr_seeps_dry_fraction"
    assert array_name("tp", "heavy_amount") == "total_precipitation_6hr_seeps_threshold"
